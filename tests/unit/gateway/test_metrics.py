"""Counters, their sum over processes, and their text."""

from __future__ import annotations

import json
import math

from prometheus_client.parser import text_string_to_metric_families

from undercroft.gateway.histogram import INTER_TOKEN_BOUNDS, Histogram
from undercroft.gateway.metrics import Counters, Families, merge, render
from undercroft.gateway.trace import Trace


def trace(status: int = 200, deployment: str = "bot", **others: object) -> Trace:
    """A request that is over."""
    made = Trace()
    made.status, made.deployment, made.route, made.replica = status, deployment, "/v1/chat/completions", "rep_1"
    for name, value in others.items():
        setattr(made, name, value)
    return made


def samples(families: Families) -> dict[str, float]:
    """Name and labels → value, as Prometheus reads them."""
    text = render(families).decode()
    return {
        sample.name + json.dumps(dict(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def label(**labels: str) -> str:
    """Labels as in the keys of `samples`."""
    return json.dumps(dict(sorted({"deployment": "bot", "route": "/v1/chat/completions", **labels}.items())))


def test_a_request_is_counted_everywhere() -> None:
    """Status, tokens, latencies, replica, and who failed."""
    counters = Counters()
    latency = Histogram(INTER_TOKEN_BOUNDS)
    latency.observe(0.02, 3)
    done = trace(prompt_tokens=7, completion_tokens=3, queue_seconds=0.2, first_token_at=10.5, inter_token=latency)
    counters.record(done, total_seconds=1.5, received_at=10.0)
    counters.record(trace(502, error_source="engine"), total_seconds=0.1, received_at=11.0)
    found = samples(counters.families([("bot", 2, 5)]))
    assert found["undercroft_requests_total" + label(status="200")] == 1
    assert found["undercroft_requests_total" + label(status="502")] == 1
    assert found["undercroft_request_errors_total" + label(source="engine")] == 1
    assert found["undercroft_prompt_tokens_total" + label()] == 7
    assert found["undercroft_completion_tokens_total" + label()] == 3
    assert found["undercroft_request_duration_seconds_count" + label()] == 2
    assert math.isclose(found["undercroft_request_duration_seconds_sum" + label()], 1.6)
    assert found["undercroft_request_duration_seconds_bucket" + label(le="0.1")] == 1
    assert found["undercroft_request_duration_seconds_bucket" + label(le="2.5")] == 2
    assert found["undercroft_request_duration_seconds_bucket" + label(le="+Inf")] == 2
    assert math.isclose(found["undercroft_time_to_first_token_seconds_sum" + label()], 0.5)
    assert found["undercroft_inter_token_latency_seconds_count" + label()] == 3
    assert found['undercroft_requests_in_flight{"deployment": "bot"}'] == 2
    assert found['undercroft_queue_depth{"deployment": "bot"}'] == 5
    assert found['undercroft_replica_requests_total{"deployment": "bot", "replica": "rep_1"}'] == 2


def test_processes_add_up() -> None:
    """Counters, gauges and histograms of several doors are summed, after a way through JSON."""
    one, other = Counters(), Counters()
    one.record(trace(completion_tokens=2), 0.5, 1.0)
    other.record(trace(completion_tokens=3), 0.7, 1.0)
    other.record(trace(deployment="more"), 0.7, 1.0)
    sent = [json.loads(json.dumps(c.families([("bot", 1, 1)]))) for c in (one, other)]
    found = samples(merge(sent))
    assert found["undercroft_requests_total" + label(status="200")] == 2
    assert found["undercroft_requests_total" + label(status="200", deployment="more")] == 1
    assert found["undercroft_completion_tokens_total" + label()] == 5
    assert math.isclose(found["undercroft_request_duration_seconds_sum" + label()], 1.2)
    assert found['undercroft_requests_in_flight{"deployment": "bot"}'] == 2


def test_merging_changes_nothing_that_was_given() -> None:
    """The same families may be merged again and again."""
    counters = Counters()
    counters.record(trace(), 0.5, 1.0)
    families = counters.families([])
    before = json.dumps(families)
    merge([families, families])
    assert json.dumps(families) == before


def test_nothing_counted_is_still_text() -> None:
    """A door that has just begun can be scraped."""
    assert b"undercroft_door_events_dropped_total 0.0" in render(Counters().families([]))
    assert merge([]) == {}


def test_replicas_that_are_gone_are_forgotten() -> None:
    """Their names never come back, and would pile up."""
    counters = Counters()
    counters.record(trace(), 0.5, 1.0)
    counters.forget_replicas({"rep_2"})
    assert counters.families([])["undercroft_replica_requests"]["samples"] == []


def test_buckets_have_their_upper_bound_in_them() -> None:
    """An observation of exactly a bound counts as not more than it, as Prometheus asks."""
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 2.5):
        histogram.observe(value)
    assert histogram.counts == [2, 1, 1]

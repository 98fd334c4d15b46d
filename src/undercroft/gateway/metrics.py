"""Counters of a door, as cheap as integers in lists, and their text for Prometheus.

Families are plain data, so that doors can send them to control as JSON:

    {name: {"type": "counter" | "gauge" | "histogram", "help": text, "labels": [names], "bounds": [seconds],
            "samples": [[[label values], value]]}}

A counter's or gauge's value is a number; a histogram's is ``{"counts": [one per bound and one above], "sum": seconds}``
with counts that are not cumulated. `merge` adds the families of several processes, `render` writes them for Prometheus.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from undercroft.gateway.histogram import INTER_TOKEN_BOUNDS, Histogram
from undercroft.gateway.trace import Trace

Families = dict[str, dict[str, Any]]

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"

_LATENCY_BOUNDS = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0,
)  # fmt: skip


class _RouteSeries:
    """What is counted for one deployment and route."""

    __slots__ = (
        "completion_tokens",
        "errors",
        "first_token",
        "inter_token",
        "prompt_tokens",
        "queue",
        "statuses",
        "total",
    )

    def __init__(self) -> None:
        self.statuses: dict[int, int] = {}
        self.errors: dict[str, int] = {}
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self.queue = Histogram(_LATENCY_BOUNDS)
        self.first_token = Histogram(_LATENCY_BOUNDS)
        self.inter_token = Histogram(INTER_TOKEN_BOUNDS)
        self.total = Histogram(_LATENCY_BOUNDS)


class Counters:
    """Everything that one door counts."""

    def __init__(self) -> None:
        self._routes: dict[tuple[str, str], _RouteSeries] = {}
        self._replicas: dict[tuple[str, str], list[int]] = {}
        self.dropped_events = 0

    def record(self, trace: Trace, total_seconds: float, received_at: float) -> None:
        """Adds one request that is over.

        Args:
            trace: What is known of it.
            total_seconds: From its headers to its end.
            received_at: When its headers were there; `time.monotonic`.
        """
        key = (trace.deployment, trace.route)
        series = self._routes.get(key)
        if series is None:
            series = self._routes[key] = _RouteSeries()
        series.statuses[trace.status] = series.statuses.get(trace.status, 0) + 1
        if trace.error_source is not None:
            series.errors[trace.error_source] = series.errors.get(trace.error_source, 0) + 1
        series.total.observe(total_seconds)
        if not trace.replica:
            return
        series.queue.observe(trace.queue_seconds)
        series.prompt_tokens += trace.prompt_tokens or 0
        series.completion_tokens += trace.completion_tokens or 0
        if trace.first_token_at:
            series.first_token.observe(trace.first_token_at - received_at)
        if trace.inter_token is not None:
            series.inter_token.add(trace.inter_token)
        replica = self._replicas.setdefault((trace.deployment, trace.replica), [0, 0])
        replica[0] += 1
        replica[1] += trace.completion_tokens or 0

    def families(self, depths: Iterable[tuple[str, int, int]]) -> Families:
        """All of it as plain data.

        Args:
            depths: Deployment, requests in flight, requests waiting.
        """
        routes = list(self._routes.items())

        def tokens(field: str) -> list[Any]:
            return [[[d, r], getattr(s, field)] for (d, r), s in routes if s.total.sum and d]

        def histogram(field: str) -> list[Any]:
            found = ((key, getattr(series, field)) for key, series in routes)
            return [[list(key), {"counts": list(h.counts), "sum": h.sum}] for key, h in found if any(h.counts)]

        depths = list(depths)
        by_route = ["deployment", "route"]
        return {
            "undercroft_requests": counter(
                "Requests that ended, by HTTP status; 499 is a client that went away.",
                [*by_route, "status"],
                [[[d, r, str(status)], n] for (d, r), s in routes for status, n in s.statuses.items()],
            ),
            "undercroft_request_errors": counter(
                "Requests that failed, by who failed: client, door or engine.",
                [*by_route, "source"],
                [[[d, r, source], n] for (d, r), s in routes for source, n in s.errors.items()],
            ),
            "undercroft_prompt_tokens": counter("Tokens of prompts.", by_route, tokens("prompt_tokens")),
            "undercroft_completion_tokens": counter("Tokens of answers.", by_route, tokens("completion_tokens")),
            "undercroft_request_duration_seconds": _latency(
                "From a request's headers to the end of its answer.", histogram("total")
            ),
            "undercroft_queue_duration_seconds": _latency("Waiting for a replica.", histogram("queue")),
            "undercroft_time_to_first_token_seconds": _latency(
                "From a request's headers to the first piece of its streamed answer.", histogram("first_token")
            ),
            "undercroft_inter_token_latency_seconds": {
                **_latency("Between pieces of a streamed answer.", histogram("inter_token")),
                "bounds": list(INTER_TOKEN_BOUNDS),
            },
            "undercroft_requests_in_flight": gauge(
                "Requests at the engines.", ["deployment"], [[[d], n] for d, n, _ in depths]
            ),
            "undercroft_queue_depth": gauge(
                "Requests that wait for a replica.", ["deployment"], [[[d], n] for d, _, n in depths]
            ),
            "undercroft_replica_requests": counter(
                "Requests that a replica was given and that ended.",
                ["deployment", "replica"],
                [[list(key), n[0]] for key, n in self._replicas.items()],
            ),
            "undercroft_replica_completion_tokens": counter(
                "Tokens that a replica answered with.",
                ["deployment", "replica"],
                [[list(key), n[1]] for key, n in self._replicas.items()],
            ),
            "undercroft_door_events_dropped": counter(
                "Events for control that the door dropped because control was away for long.",
                [],
                [[[], self.dropped_events]],
            ),
        }

    def forget_replicas(self, kept: set[str]) -> None:
        """Drops the counters of replicas that are gone, whose names never come back."""
        for key in [key for key in self._replicas if key[1] not in kept]:
            del self._replicas[key]


def counter(about: str, labels: list[str], samples: list[Any]) -> dict[str, Any]:
    """A family of counters; Prometheus adds ``_total`` to its name."""
    return {"type": "counter", "help": about, "labels": labels, "samples": samples}


def gauge(about: str, labels: list[str], samples: list[Any]) -> dict[str, Any]:
    """A family of gauges."""
    return {"type": "gauge", "help": about, "labels": labels, "samples": samples}


def merge(many: Iterable[Families]) -> Families:
    """The sum of several processes' families."""
    merged: Families = {}
    sums: dict[str, dict[tuple[str, ...], Any]] = {}
    for families in many:
        for name, family in families.items():
            merged.setdefault(name, {**family, "samples": []})
            into = sums.setdefault(name, {})
            for labels, value in family["samples"]:
                key = tuple(labels)
                into[key] = _added(into[key], value) if key in into else value
    for name, samples in sums.items():
        merged[name]["samples"] = [[list(labels), value] for labels, value in samples.items()]
    return merged


def render(families: Families) -> bytes:
    """Text for Prometheus."""
    registry = CollectorRegistry()
    registry.register(_Families(families))
    return generate_latest(registry)


class _Families(Collector):
    def __init__(self, families: Families) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        for name, family in self._families.items():
            yield _metric(name, family)


def _metric(name: str, family: dict[str, Any]) -> Metric:
    about, labels = family["help"], family["labels"]
    if family["type"] == "histogram":
        histogram = HistogramMetricFamily(name, about, labels=labels)
        for values, value in family["samples"]:
            histogram.add_metric(values, _cumulated(family["bounds"], value["counts"]), value["sum"])
        return histogram
    kind = CounterMetricFamily if family["type"] == "counter" else GaugeMetricFamily
    metric = kind(name, about, labels=labels)
    for values, value in family["samples"]:
        metric.add_metric(values, value)
    return metric


def _cumulated(bounds: list[float], counts: list[int]) -> list[tuple[str, float]]:
    total = 0
    buckets = []
    for bound, count in zip([*map(str, bounds), "+Inf"], counts, strict=True):
        total += count
        buckets.append((bound, float(total)))
    return buckets


def _latency(about: str, samples: list[Any]) -> dict[str, Any]:
    return {
        "type": "histogram",
        "help": about,
        "labels": ["deployment", "route"],
        "bounds": list(_LATENCY_BOUNDS),
        "samples": samples,
    }


def _added(first: Any, second: Any) -> Any:
    if isinstance(first, dict):
        counts = [a + b for a, b in zip(first["counts"], second["counts"], strict=True)]
        return {"counts": counts, "sum": first["sum"] + second["sum"]}
    return first + second

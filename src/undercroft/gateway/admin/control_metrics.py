"""What control adds to ``/metrics``: replicas, their memory, restarts, load times; incidents. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from undercroft.engines.contract import ReplicaState
from undercroft.gateway.metrics import Families, counter, gauge
from undercroft.serving.courses import Course
from undercroft.serving.replica import ReplicaView
from undercroft.watch.findings import Kind, Severity

_BY_REPLICA = ["deployment", "replica"]
# Field of `undercroft.engines.contract.EngineFigures` → what it is, and whether it is a counter.
_FIGURES = {
    "running": ("Requests that an engine computes now, as it says itself.", False),
    "waiting": ("Requests that wait in an engine.", False),
    "cache_ratio": ("Share of an engine's cache of keys and values that is in use.", False),
    "prompt_tokens": ("Tokens of all prompts that an engine computed.", True),
    "answer_tokens": ("Tokens that an engine generated.", True),
    "prefix_asked_tokens": ("Prompt tokens that an engine looked for in its cache of earlier prompts.", True),
    "prefix_found_tokens": ("Prompt tokens that an engine found there and did not compute again.", True),
    "preemptions": ("Requests that gave up their cache in an engine and began again.", True),
}


def control_families(views: Sequence[ReplicaView], courses: Mapping[str, Course]) -> Families:
    """Families in the form of `undercroft.gateway.metrics`."""

    def of_each(value: Any) -> list[Any]:
        found = ((view, value(view)) for view in views)
        return [[[view.spec.name, view.spec.replica_id], number] for view, number in found if number is not None]

    return {
        "undercroft_replica_up": gauge(
            "1 where a replica is ready.", _BY_REPLICA, of_each(lambda v: int(v.state is ReplicaState.READY))
        ),
        "undercroft_replica_sealed": gauge(
            "1 where a replica has an empty network of its own.",
            _BY_REPLICA,
            of_each(lambda v: int(v.record.is_sealed) if v.record else None),
        ),
        "undercroft_replica_private_memory_bytes": gauge(
            "Anonymous memory of an engine: cache, buffers.",
            _BY_REPLICA,
            of_each(lambda v: v.memory.private_bytes if v.memory else None),
        ),
        "undercroft_replica_file_memory_bytes": gauge(
            "Mapped file pages of an engine, mostly weights; the kernel may drop them.",
            _BY_REPLICA,
            of_each(lambda v: v.memory.file_bytes if v.memory else None),
        ),
        "undercroft_replica_load_seconds": gauge(
            "From a replica's start until it answered.", _BY_REPLICA, of_each(lambda v: v.load_seconds)
        ),
        **{
            f"undercroft_engine_{name}": (counter if is_counter else gauge)(
                about, _BY_REPLICA, of_each(lambda v, name=name: getattr(v.figures, name) if v.figures else None)
            )
            for name, (about, is_counter) in _FIGURES.items()
        },
        "undercroft_replica_restarts": counter(
            "Replicas started in place of failed ones, since control started.",
            ["deployment"],
            [[[name], course.restarts] for name, course in courses.items()],
        ),
    }


def incident_families(counts: Mapping[tuple[Kind, Severity], int]) -> Families:
    """What is wrong now, as numbers.

    Args:
        counts: Kind and severity → open incidents.
    """
    samples = [[[kind.value, severity.value], count] for (kind, severity), count in counts.items()]
    about = "Incidents that are open; 0 where one was and is resolved."
    return {"undercroft_incidents_open": gauge(about, ["kind", "severity"], samples)}

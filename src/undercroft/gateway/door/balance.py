"""Which replica takes a request, whether it may wait, and for how long. Decisions only: no clock, no network.

deployment  room   answer
──────────  ─────  ────────────────────────────────────────────────────────────────────────────────────
ready       yes    the least loaded replica
ready       no     wait at most queue_wait_seconds; 429 at once where the queue is full
unloaded    -      ask for it, and wait as for loading
loading     -      wait at most load_wait_seconds; 503 at once where it is known to take longer
replacing   -      the same with replace_wait_seconds, however many wait: who asked for a change wants no request lost
failed      -      503 with the reason
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from undercroft.core.settings import LimitSettings
from undercroft.gateway.errors import DoorError
from undercroft.serving.snapshot import DeploymentEntry

_RETRY_LIMIT_SECONDS = 60.0


@dataclass(slots=True)
class Load:
    """What is known of a replica when a request looks for one.

    Args:
        id: The replica.
        capacity: Requests that it may have at the same time.
        in_flight: Requests that it has.
        served: Requests that it was ever given; breaks ties.
        suspect_until: It broke a connection and is left alone until then; on the clock of ``now``.
    """

    id: str
    capacity: int
    in_flight: int = 0
    served: int = 0
    suspect_until: float = 0.0


def capacity_of(slots: int, concurrency_per_slot: float) -> int:
    """Requests that a replica may have at the same time; at least one."""
    return max(1, round(slots * concurrency_per_slot))


def choose(loads: Iterable[Load], now: float) -> Load | None:
    """The least loaded replica that has room and is not suspect; of equals the one that was given less so far."""
    best: Load | None = None
    for load in loads:
        if load.in_flight >= load.capacity or load.suspect_until > now:
            continue
        if best is None or _rank(load) < _rank(best):
            best = load
    return best


def wait_limit_seconds(
    entry: DeploymentEntry, *, waiting: int, limits: LimitSettings, loading_seconds: float, service_seconds: float
) -> float:
    """How long a request that found no replica may wait.

    Args:
        entry: The deployment.
        waiting: Requests that wait already.
        limits: The settings.
        loading_seconds: How long it has been loading, as far as this door knows.
        service_seconds: Mean time between two requests that leave; for ``Retry-After``.

    Raises:
        DoorError: It may not: 429 where the queue is full, 503 where it failed or takes too long to load.
    """
    if entry.state == "failed":
        raise DoorError(
            503, "deployment-failed", f"the model '{entry.name}' is not served: {entry.note}", source="engine"
        )
    if waiting >= limits.queue_requests and not is_patient(entry):
        left = 0.0 if entry.state == "ready" else _left_seconds(entry, loading_seconds) or 0.0
        raise DoorError(
            429,
            "queue-full",
            f"the model '{entry.name}' has {waiting} requests waiting, and {limits.queue_requests} may wait",
            source="door",
            retry_after_seconds=left + retry_after_seconds(waiting, service_seconds),
        )
    if entry.state == "ready":
        return limits.queue_wait_seconds
    limit = limits.replace_wait_seconds if entry.is_replacing else limits.load_wait_seconds
    if (_left_seconds(entry, loading_seconds) or 0.0) > limit:
        raise loading(entry, loading_seconds)
    return limit


def is_patient(entry: DeploymentEntry) -> bool:
    """Whether requests wait for it however many they are: it takes the place of what answered until now.

    Each has a connection of its own, whose number ``gateway.connections_limit`` bounds.
    """
    return entry.is_replacing and entry.state != "ready"


def _left_seconds(entry: DeploymentEntry, loading_seconds: float) -> float | None:
    """Until it is loaded; None where it is not known, as of one that takes longer than the last time."""
    if entry.load_seconds is None or entry.load_seconds <= loading_seconds:
        return None
    return entry.load_seconds - loading_seconds


def loading(entry: DeploymentEntry, loading_seconds: float) -> DoorError:
    """HTTP 503 for a model that is not loaded in time."""
    left = _left_seconds(entry, loading_seconds)
    if left is not None:
        about = f"that takes about {left:.0f} s more"
    elif entry.load_seconds is not None:
        about = f"that takes longer than the {entry.load_seconds:.0f} s of the last time"
    else:
        about = "it is not known how long that takes"
    return DoorError(
        503,
        "model-loading",
        f"the model '{entry.name}' is being loaded; {about}. Try again then",
        source="door",
        retry_after_seconds=left or 10.0,
    )


def waited_too_long(
    entry: DeploymentEntry, *, waited_seconds: float, waiting: int, service_seconds: float
) -> DoorError:
    """HTTP 503 for a request whose turn did not come."""
    return DoorError(
        503,
        "queue-timeout",
        f"no replica of the model '{entry.name}' was free within {waited_seconds:.0f} s. Try again later",
        source="door",
        retry_after_seconds=retry_after_seconds(waiting, service_seconds),
    )


def retry_after_seconds(waiting: int, service_seconds: float) -> float:
    """When a queue of that length will have emptied, within 1 s and a minute."""
    return min(_RETRY_LIMIT_SECONDS, max(1.0, waiting * service_seconds))


def _rank(load: Load) -> tuple[float, int]:
    return (load.in_flight / load.capacity, load.served)

"""What to start and what to stop: a pure function of what is wanted and what is seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from undercroft.engines.contract import ReplicaState

_ALIVE = (ReplicaState.STARTING, ReplicaState.WARMING, ReplicaState.READY)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a deployment should have.

    Args:
        deployment: Its name.
        spec_digest: Digest of what its replicas must have been started with.
        replicas: How many; 0 where it is stopped or idle.
        not_before: Monotonic seconds before which no replica may be started (back-off).
    """

    deployment: str
    spec_digest: str
    replicas: int
    not_before: float = 0.0


@dataclass(frozen=True, slots=True)
class Seen:
    """A replica that there is."""

    replica_id: str
    deployment: str
    spec_digest: str
    state: ReplicaState


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do now.

    Args:
        start: Deployment names, once for each replica to start.
        stop: Ids of replicas to drain and stop.
    """

    start: list[str] = field(default_factory=list)
    stop: list[str] = field(default_factory=list)


def decide(wanted: Mapping[str, Wanted], seen: Sequence[Seen], *, now: float) -> Decision:
    """Compares the two.

    A replica started with other settings is stopped only when enough of the new ones are ready, so that a change
    never leaves a moment without an answer. Too many: those that are not ready go first.

    Args:
        wanted: By deployment name.
        seen: In the order in which they were started.
        now: Monotonic seconds.
    """
    decision = Decision()
    for name in sorted({replica.deployment for replica in seen} - set(wanted)):
        decision.stop.extend(r.replica_id for r in seen if r.deployment == name and r.state in _ALIVE)
    for name, want in wanted.items():
        alive = [r for r in seen if r.deployment == name and r.state in _ALIVE]
        current = [r for r in alive if r.spec_digest == want.spec_digest]
        stale = [r for r in alive if r.spec_digest != want.spec_digest]
        ready = sum(r.state is ReplicaState.READY for r in current)
        if ready >= want.replicas:
            decision.stop.extend(r.replica_id for r in stale)
        missing = want.replicas - len(current)
        if missing > 0 and now >= want.not_before:
            decision.start.extend([name] * missing)
        elif missing < 0:
            by_worth = sorted(current, key=lambda r: r.state is ReplicaState.READY)
            decision.stop.extend(r.replica_id for r in by_worth[:-missing])
    return decision


def backoff_seconds(failures: int, *, limit: float) -> float:
    """Pause before the next start after so many failures in a row: 0 after the first, then 0.5, 1, 2, 4 … seconds."""
    return 0.0 if failures <= 1 else min(limit, 0.5 * 2 ** min(failures - 2, 20))

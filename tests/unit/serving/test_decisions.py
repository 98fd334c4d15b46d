"""What is started and stopped, from what is wanted and seen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from undercroft.engines.contract import ReplicaState
from undercroft.serving.decisions import Decision, Seen, Wanted, backoff_seconds, decide

READY, STARTING, STOPPING = ReplicaState.READY, ReplicaState.STARTING, ReplicaState.STOPPING


def want(count: int, digest: str = "new", not_before: float = 0.0) -> dict[str, Wanted]:
    return {"bot": Wanted("bot", digest, count, not_before)}


def seen(*replicas: tuple[str, str, ReplicaState]) -> list[Seen]:
    return [Seen(id_, "bot", digest, state) for id_, digest, state in replicas]


def test_nothing_there_means_start_all() -> None:
    """Two wanted, none there: two starts."""
    assert decide(want(2), [], now=1) == Decision(start=["bot", "bot"])


def test_enough_there_means_nothing_to_do() -> None:
    """One wanted, one starting: patience."""
    assert decide(want(1), seen(("a", "new", STARTING)), now=1) == Decision()


def test_back_off_holds_a_start_back() -> None:
    """Before its time no replica is started; after it, one is."""
    assert decide(want(1, not_before=5), [], now=4.9) == Decision()
    assert decide(want(1, not_before=5), [], now=5) == Decision(start=["bot"])


def test_a_change_starts_the_new_before_it_stops_the_old() -> None:
    """Old replicas go only when enough new ones are ready."""
    old = ("a", "old", READY)
    assert decide(want(1), seen(old), now=1) == Decision(start=["bot"])
    assert decide(want(1), seen(old, ("b", "new", STARTING)), now=1) == Decision()
    assert decide(want(1), seen(old, ("b", "new", READY)), now=1) == Decision(stop=["a"])


def test_too_many_means_the_least_useful_goes() -> None:
    """Of a ready and a starting one, the starting one is stopped."""
    assert decide(want(1), seen(("a", "new", READY), ("b", "new", STARTING)), now=1) == Decision(stop=["b"])


def test_a_stopped_deployment_loses_all() -> None:
    """None wanted: all alive ones are stopped, also those with other settings."""
    there = seen(("a", "new", READY), ("b", "old", READY), ("c", "new", STOPPING))
    assert sorted(decide(want(0), there, now=1).stop) == ["a", "b"]


def test_a_forgotten_deployment_loses_all() -> None:
    """Replicas whose deployment is not there any more are stopped."""
    assert decide({}, seen(("a", "x", READY)), now=1) == Decision(stop=["a"])


@given(
    count=st.integers(0, 3),
    states=st.lists(st.tuples(st.sampled_from(["new", "old"]), st.sampled_from(list(ReplicaState))), max_size=6),
)
def test_it_converges(count: int, states: list[tuple[str, ReplicaState]]) -> None:
    """Whatever there is, carrying decisions out leads to exactly what is wanted, and never stops the last ready one
    of a deployment that is wanted before another is ready."""
    there = [Seen(f"r{i}", "bot", digest, state) for i, (digest, state) in enumerate(states)]
    for step in range(20):
        decision = decide(want(count), there, now=step)
        left = [r for r in there if r.replica_id not in decision.stop]
        had_ready = any(r.state is READY for r in there)
        if count and had_ready:
            assert any(r.state is READY for r in left)
        # The world moves on: stops end, starts become ready.
        alive = [r for r in left if r.state in {READY, STARTING, ReplicaState.WARMING}]
        there = [Seen(r.replica_id, "bot", r.spec_digest, READY) for r in alive]
        there += [Seen(f"s{step}-{i}", "bot", "new", READY) for i, _ in enumerate(decision.start)]
    assert [r.spec_digest for r in there] == ["new"] * count


@pytest.mark.parametrize(("failures", "seconds"), [(0, 0), (1, 0), (2, 0.5), (3, 1), (4, 2), (50, 60)])
def test_back_off_grows_to_its_limit(failures: int, seconds: float) -> None:
    """The first restart is at once, later ones wait longer and longer, never longer than the limit."""
    assert backoff_seconds(failures, limit=60) == seconds

"""Which replica, whether to wait, how long."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from undercroft.core.settings import LimitSettings
from undercroft.gateway.door.balance import Load, capacity_of, choose, loading, retry_after_seconds, wait_limit_seconds
from undercroft.gateway.errors import DoorError
from undercroft.serving.snapshot import DeploymentEntry

_LIMITS = LimitSettings(queue_requests=4, queue_wait_seconds=60, load_wait_seconds=30)


def entry(state: Any, load_seconds: float | None = None) -> DeploymentEntry:
    """A deployment in a state."""
    return DeploymentEntry("bot", state, "out of memory", ("chat",), False, 512, load_seconds, 1)


def wait(state: str, *, waiting: int = 0, load_seconds: float | None = None, loading_seconds: float = 0) -> float:
    """How long a request may wait."""
    return wait_limit_seconds(
        entry(state, load_seconds),
        waiting=waiting,
        limits=_LIMITS,
        loading_seconds=loading_seconds,
        service_seconds=2.0,
    )


@pytest.mark.parametrize(("slots", "factor", "expected"), [(4, 1.0, 4), (1, 0.1, 1), (4, 1.5, 6), (3, 0.5, 2)])
def test_capacity_is_slots_times_concurrency(slots: int, factor: float, expected: int) -> None:
    """Rounded, and at least one."""
    assert capacity_of(slots, factor) == expected


def test_the_least_loaded_takes_it() -> None:
    """By the share of its capacity that is taken, not by the count."""
    loads = [Load("a", 2, in_flight=1), Load("b", 8, in_flight=2), Load("c", 1, in_flight=1)]
    assert choose(loads, 0) is loads[1]


def test_of_equals_the_one_that_served_less() -> None:
    """So that the first one does not get everything."""
    loads = [Load("a", 2, served=5), Load("b", 2, served=4)]
    assert choose(loads, 0) is loads[1]


def test_a_suspect_is_left_alone_for_its_time() -> None:
    """A replica that broke a connection gets nothing until its time is over."""
    load = Load("a", 2, suspect_until=10.0)
    assert choose([load], 9.99) is None
    assert choose([load], 10.0) is load


@given(st.lists(st.tuples(st.integers(1, 8), st.integers(0, 8), st.booleans()), max_size=6))
def test_nobody_gets_more_than_it_has_room_for(found: list[tuple[int, int, bool]]) -> None:
    """The choice always has room, and is None only where nobody has."""
    loads = [Load(str(i), cap, flight, suspect_until=5.0 if bad else 0.0) for i, (cap, flight, bad) in enumerate(found)]
    usable = [load for load in loads if load.in_flight < load.capacity and load.suspect_until <= 1.0]
    chosen = choose(loads, 1.0)
    if chosen is None:
        assert usable == []
    else:
        assert chosen in usable
        assert all(chosen.in_flight / chosen.capacity <= load.in_flight / load.capacity for load in usable)


def test_waiting_for_a_turn_and_for_loading() -> None:
    """Ready waits as the queue allows, loading and unloaded as loading allows."""
    assert wait("ready") == 60
    assert wait("loading") == 30
    assert wait("unloaded", load_seconds=29.0) == 30


def test_a_full_queue_is_429() -> None:
    """With Retry-After from how fast the queue moves."""
    with pytest.raises(DoorError) as caught:
        wait("ready", waiting=4)
    assert caught.value.status == 429
    assert caught.value.retry_after_seconds == 8.0


def test_loading_that_takes_too_long_is_503() -> None:
    """With the time that is left; what is nearly loaded is waited for."""
    with pytest.raises(DoorError) as caught:
        wait("loading", load_seconds=100.0, loading_seconds=20.0)
    assert (caught.value.status, caught.value.retry_after_seconds) == (503, 80.0)
    assert wait("loading", load_seconds=100.0, loading_seconds=75.0) == 30


def replacing(state: Any, load_seconds: float | None = None, **others: Any) -> float:
    """How long a request may wait for what takes the place of another, with a full queue."""
    found = replace(entry(state, load_seconds), is_replacing=True)
    limits = LimitSettings(queue_requests=4, queue_wait_seconds=60, load_wait_seconds=30, replace_wait_seconds=600)
    known = {"waiting": 4000, "limits": limits, "loading_seconds": 0.0, "service_seconds": 2.0}
    return wait_limit_seconds(found, **{**known, **others})


def test_a_replacement_is_waited_for_by_all() -> None:
    """However many wait and longer than for any other load; once it is ready the ordinary queue is kept."""
    assert replacing("loading") == 600
    assert replacing("unloaded", load_seconds=599.0) == 600
    assert replacing("ready", waiting=3) == 60
    with pytest.raises(DoorError) as caught:
        replacing("ready")
    assert caught.value.status == 429


def test_a_replacement_that_is_known_to_take_longer_is_503() -> None:
    """With the time that is left."""
    with pytest.raises(DoorError, match="about 880 s more") as caught:
        replacing("loading", load_seconds=900.0, loading_seconds=20.0)
    assert (caught.value.status, caught.value.retry_after_seconds) == (503, 880.0)


def test_a_full_queue_of_what_is_loading_is_told_when_it_is_loaded() -> None:
    """And has emptied: who comes back before that finds the same queue."""
    with pytest.raises(DoorError) as caught:
        wait("loading", waiting=4, load_seconds=25.0, loading_seconds=5.0)
    assert (caught.value.status, caught.value.retry_after_seconds) == (429, 28.0)


def test_a_load_that_takes_longer_than_the_last_one_promises_nothing() -> None:
    """It would be a second more for ever."""
    error = loading(entry("loading", 20.0), 31.0)
    assert "longer than the 20 s of the last time" in error.message
    assert error.retry_after_seconds == 10.0
    assert "not known" in loading(entry("loading"), 31.0).message


def test_failed_is_503_with_the_reason() -> None:
    """The note of the deployment is in the message."""
    with pytest.raises(DoorError, match="out of memory"):
        wait("failed")


@given(st.integers(0, 100_000), st.floats(0, 1e6))
def test_retry_after_stays_sensible(waiting: int, service_seconds: float) -> None:
    """Between a second and a minute."""
    assert 1.0 <= retry_after_seconds(waiting, service_seconds) <= 60.0

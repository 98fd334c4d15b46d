"""Memory of replicas: which grows, since when, and what is only its warm-up or another replica."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest

from undercroft.watch.blame.change_points import Change, Point
from undercroft.watch.blame.growth import Growth, Life, find_growth

MIB = 1024**2
HOUR = 3600.0


def is_worse(change: Change) -> bool:
    """By 15 %."""
    return change.before > 0 and change.after / change.before >= 1.15


def life(
    replica: str, begin: float, end: float, held_mib: Callable[[float], float], *, born: float | None = None
) -> Life:
    """A replica that is looked at each minute from one hour to another; ``held_mib`` is given its age in hours."""
    rng = random.Random(replica)
    first = begin if born is None else born
    points = tuple(
        Point(minute * 60.0, MIB * (held_mib(minute / 60 - first) + rng.gauss(0, 1)))
        for minute in range(round(begin * 60), round(end * 60))
    )
    return Life(replica, first * HOUR, points)


def warm(age: float) -> float:
    """400 MiB, and 60 more within some hours."""
    return 400 + 60 * (1 - math.exp(-age))


def found(*lives: Life) -> tuple[list[Change], list[Growth]]:
    """Steps that somebody notices, and what grows."""
    steps, growth = find_growth(lives, is_worse)
    return [step for step in steps if is_worse(step)], growth


@pytest.mark.parametrize(("per_hour", "hours"), [(30.0, 6), (30.0, 20), (300.0, 2), (5.0, 60)])
def test_a_leak_is_found_from_where_it_begins(per_hour: float, hours: int) -> None:
    """A day after the replica was loaded: by its pace, which no step of it would tell."""
    steps, (growth,) = found(life("a", 0, 24 + hours, lambda age: warm(age) + per_hour * max(0.0, age - 24)))
    assert steps == []
    assert growth.climb.change.at == pytest.approx(24 * HOUR, abs=0.5 * HOUR)
    assert growth.climb.per_hour == pytest.approx(per_hour * MIB, rel=0.1)
    assert not growth.is_older
    assert not growth.climb.is_over


def test_a_slow_leak_of_a_large_replica_is_found() -> None:
    """Of 8 GiB it takes 4 %, which is less than a change of level has to be; the detector of leaks tells of it."""
    steps, (growth,) = found(life("a", 0, 100, lambda age: 8000 + warm(age) + 5 * max(0.0, age - 30)))
    assert steps == []
    assert growth.climb.per_hour == pytest.approx(5 * MIB, rel=0.1)


def test_of_two_replicas_the_one_that_leaks_is_named() -> None:
    """The other stands still beside it."""
    steps, (growth,) = found(
        life("well", 0, 20, lambda age: warm(age) + 200),
        life("ill", 0, 20, lambda age: warm(age) + 30 * max(0, age - 9)),
    )
    assert steps == []
    assert growth.life.replica == "ill"


def test_the_same_leak_after_each_restart_is_told_once() -> None:
    """It is the first that began, and how many followed is said."""
    steps, (growth,) = found(
        *(life(f"r{number}", 5 * number, 5 * number + 5, lambda age: warm(age) + 50 * age) for number in range(4))
    )
    assert steps == []
    assert (growth.life.replica, growth.times) == ("r0", 4)


def test_a_replica_that_leaks_from_its_first_minute_began_then() -> None:
    """Not later, and not before: the one before it stood still."""
    _, (growth,) = found(life("old", 0, 10, warm), life("new", 9.9, 16, lambda age: warm(age) + 40 * age))
    assert growth.life.replica == "new"
    assert growth.climb.change.at == pytest.approx(9.9 * HOUR, abs=0.3 * HOUR)
    assert not growth.is_older


def test_a_leak_that_is_older_than_what_is_looked_at_is_said_to_be() -> None:
    """Its cause lies further back."""
    _, (growth,) = found(life("a", 5, 20, lambda age: warm(age) + 30 * age, born=0))
    assert growth.is_older


def test_restarts_and_their_warm_up_are_no_trouble() -> None:
    """Memory that comes back after each start, and stays."""
    assert found(*(life(f"r{number}", 5 * number, 5 * number + 5, warm) for number in range(5))) == ([], [])


def test_a_larger_model_is_a_step_at_its_first_minute() -> None:
    """The old one goes when the new one is there; its warm-up hides nothing."""
    (step,), growth = found(life("old", 0, 10, warm), life("new", 9.9, 20, lambda age: 2 * warm(age)))
    assert growth == []
    assert step.at == pytest.approx(10 * HOUR, abs=0.2 * HOUR)


def test_a_step_and_a_leak_of_one_replica_are_two() -> None:
    """The step keeps its own moment and its own size."""
    (step,), (growth,) = found(
        life("a", 0, 30, lambda age: warm(age) + (200 if age > 8 else 0) + 30 * max(0.0, age - 16))
    )
    assert step.at == pytest.approx(8 * HOUR, abs=0.2 * HOUR)
    assert step.after - step.before == pytest.approx(200 * MIB, rel=0.1)
    assert growth.climb.change.at == pytest.approx(16 * HOUR, abs=0.5 * HOUR)


def test_memory_that_wanders_is_no_leak() -> None:
    """Up and down, each time from where it was."""
    for seed in range(20):
        rng, held = random.Random(seed), [1000.0]
        for _ in range(3000):
            held.append(1000 + 0.98 * (held[-1] - 1000) + rng.gauss(0, 4))
        points = tuple(Point(60.0 * minute, MIB * value) for minute, value in enumerate(held))
        assert found(Life("a", 0.0, points)) == ([], [])


def test_an_hour_is_enough_for_a_fast_leak() -> None:
    """And nothing is said of an hour in which nothing grew."""
    steps, (growth,) = found(life("a", 0, 1, lambda age: 400 + 300 * max(0.0, age - 0.5)))
    assert steps == []
    assert growth.climb.change.at == pytest.approx(0.5 * HOUR, abs=300)
    assert found(life("a", 0, 1, lambda _: 400.0)) == ([], [])

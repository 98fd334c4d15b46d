"""Rises without a jump: taken together, dated, and kept apart from jumps."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from undercroft.watch.blame.change_points import Change, Point, find_changes
from undercroft.watch.blame.climbs import Climb, find_climbs


def is_worse(change: Change) -> bool:
    """By 15 %."""
    return change.before > 0 and change.after / change.before >= 1.15


def series(level: Callable[[float], float], *, count: int = 600, noise: float = 0.02, seed: int = 1) -> list[Point]:
    """A value a minute; ``level`` is given how much of the time has gone, 0.0 to 1.0."""
    rng = random.Random(seed)
    return [Point(60.0 * at, level(at / count) * rng.lognormvariate(0, noise)) for at in range(count)]


def found(points: list[Point]) -> tuple[list[Change], list[Climb]]:
    """Steps and climbs that somebody notices."""
    steps, climbs = find_climbs(points, find_changes(points), is_worse)
    return [step for step in steps if is_worse(step)], [climb for climb in climbs if is_worse(climb.change)]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("begin", "pace"), [(0.2, 1.0), (0.5, 0.6), (0.8, 4.0)])
def test_a_slope_is_one_climb_from_where_it_begins(begin: float, pace: float, seed: int) -> None:
    """However many steps it was cut into: its moment lies within its bounds, its pace is right within a tenth."""
    steps, climbs = found(series(lambda gone: 1 + pace * max(0.0, gone - begin), seed=seed))
    assert steps == []
    (climb,) = climbs
    assert climb.change.earliest <= begin * 36_000 <= climb.change.latest
    assert abs(climb.change.at - begin * 36_000) < 1800
    assert climb.per_hour == pytest.approx(pace / 10, rel=0.1)
    assert climb.change.before == pytest.approx(1, rel=0.02)
    assert not climb.is_over
    assert not climb.is_from_start


def test_a_slope_that_ends_is_over_then() -> None:
    """What stands still afterwards is told with its end."""
    _, (climb,) = found(series(lambda gone: 1 + min(0.5, max(0.0, gone - 0.3) * 2)))
    assert climb.is_over
    assert climb.end == pytest.approx(0.55 * 36_000, abs=900)
    assert climb.change.after == pytest.approx(1.5, rel=0.02)


def test_what_rose_from_the_first_value_on_may_have_begun_before() -> None:
    """Nobody can say when."""
    _, (climb,) = found(series(lambda gone: 1 + gone))
    assert climb.is_from_start


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("noise", [0.02, 0.3])
def test_jumps_are_no_slope(noise: float, seed: int) -> None:
    """Two of them stay two, each with its moment."""
    steps, climbs = found(
        series(lambda gone: 1.0 if gone < 0.35 else 1.6 if gone < 0.7 else 2.5, noise=noise, seed=seed)
    )
    assert climbs == []
    assert [step.at / 36_000 for step in steps] == pytest.approx([0.35, 0.7], abs=0.04)


def test_a_jump_and_a_slope_after_it_are_two() -> None:
    """Two things that happened at two times."""
    steps, climbs = found(series(lambda gone: 1.0 if gone < 0.3 else 2.0 + 2 * max(0.0, gone - 0.6)))
    assert [step.at / 36_000 for step in steps] == pytest.approx([0.3], abs=0.02)
    assert [climb.change.at / 36_000 for climb in climbs] == pytest.approx([0.6], abs=0.03)


def test_noise_climbs_nowhere() -> None:
    """Of a hundred series without a change at most one has one."""
    several = [found(series(lambda _: 1.0, count=200, noise=0.3, seed=seed)) for seed in range(100)]
    assert sum(bool(steps or climbs) for steps, climbs in several) <= 1


def test_a_fall_is_no_climb() -> None:
    """Slow or sudden: it stays what it was."""
    points = series(lambda gone: 2 - gone)
    changes = find_changes(points)
    assert find_climbs(points, changes, is_worse) == (changes, [])


def test_a_gap_changes_no_pace() -> None:
    """Hours without a value are hours all the same."""
    points = [point for point in series(lambda gone: 1 + 2 * max(0.0, gone - 0.3)) if not 0.5 < point.at / 36_000 < 0.8]
    _, (climb,) = found(points)
    assert climb.per_hour == pytest.approx(0.2, rel=0.1)
    assert climb.change.earliest <= 0.3 * 36_000 <= climb.change.latest


@given(
    st.lists(
        st.tuples(st.integers(0, 20), st.sampled_from([0.0, 1.0, 1.0, 5.0, 1e12]) | st.floats(0, 1e15)),
        min_size=0,
        max_size=120,
    )
)
def test_any_series_is_read(values: list[tuple[int, float]]) -> None:
    """Many values of one moment, hours without any, wild ones: what comes out is in order, and within the series."""
    points = [Point(float(at), value) for at, value in sorted(values)]
    changes = find_changes(points)
    steps, climbs = find_climbs(points, changes, is_worse)
    assert len(steps) + len(climbs) <= len(changes)
    for climb in climbs:
        assert points[0].at <= climb.change.earliest <= climb.change.latest <= points[-1].at
        assert climb.change.at <= climb.end

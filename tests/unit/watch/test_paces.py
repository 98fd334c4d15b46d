"""Whether more requests came than before."""

from __future__ import annotations

import pytest

from undercroft.watch.blame.paces import paces, typical

_HOUR, _DAY = 3600.0, 86_400.0


def office(day: int, *, every: float = 600.0, hours: tuple[float, float] = (8, 18)) -> list[float]:
    """Requests of one day, evenly between two hours; unix seconds from a Thursday, 0:00 UTC on."""
    begin, end = (day * _DAY + hour * _HOUR for hour in hours)
    return [begin + every * number for number in range(int((end - begin) / every))]


def test_the_hours_of_a_working_day_are_no_rush() -> None:
    """After a night and at work there are more than on the average of all hours, and not more than each morning."""
    before = [at for day in range(3) for at in office(day)]
    after = office(3, hours=(8, 12))
    seen = paces(before, after, begin=0.0, at=3 * _DAY + 8 * _HOUR, end=3 * _DAY + 12 * _HOUR)
    assert seen == pytest.approx((0.1, 0.1))


def test_more_than_in_the_same_hours_is_told() -> None:
    """Three times as many as on other mornings."""
    before = [at for day in range(3) for at in office(day)]
    after = office(3, every=200, hours=(8, 12))
    seen = paces(before, after, begin=0.0, at=3 * _DAY + 8 * _HOUR, end=3 * _DAY + 12 * _HOUR)
    assert seen == pytest.approx((0.1, 0.3))


def test_the_day_of_the_week_counts_where_a_week_was_seen() -> None:
    """A Monday after a quiet Sunday is as busy as the Monday before."""
    before = [at for day in range(11) if day % 7 not in (2, 3) for at in office(day)]
    seen = paces(before, office(11), begin=0.0, at=11 * _DAY, end=12 * _DAY)
    assert seen[0] == pytest.approx(seen[1])


def test_a_few_more_may_be_chance() -> None:
    """Six where four were to be expected say nothing; eighty where forty were say it."""
    few = paces([60.0 * n for n in range(4)], [300.0 + 40.0 * n for n in range(6)], begin=0.0, at=240.0, end=480.0)
    many = paces([6.0 * n for n in range(40)], [240.0 + 3.0 * n for n in range(80)], begin=0.0, at=240.0, end=480.0)
    assert few == (1.5, 1.5)
    assert many == (10.0, 20.0)


def test_what_was_not_there_before_is_told() -> None:
    """Another name that began to be asked; two requests of it are not yet a load."""
    assert paces([], [500.0 + n for n in range(5)], begin=0.0, at=500.0, end=800.0) == (0.0, 1.0)
    assert paces([], [500.0, 501.0], begin=0.0, at=500.0, end=620.0) == (1.0, 1.0)


def test_sizes_differ_only_where_chance_hardly_makes_them() -> None:
    """Six requests say nothing of sixty; sixty do, and an empty side has none."""
    usual = [20.0 + n % 17 for n in range(60)]
    assert typical(usual, [30.0, 22.0, 35.0, 33.0, 25.0, 34.0]) == (31.5, 31.5)
    assert typical(usual, [2 * one for one in usual]) == (27.0, 54.0)
    assert typical([], [5.0]) == (0.0, 5.0)
    assert typical([5.0], []) == (5.0, 0.0)

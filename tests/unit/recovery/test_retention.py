"""Which backups stay: decided on dates alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from undercroft.core.errors import InvalidError
from undercroft.recovery.retention import Candidate, Policy, keep

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def every(hours: int, count: int, *, counts: tuple[int, ...] = ()) -> list[Candidate]:
    """Backups, the newest is number 0."""
    return [
        Candidate(f"b{number}", NOON - number * timedelta(hours=hours), "here", number in counts)
        for number in range(count)
    ]


def test_the_newest_of_each_period_stay() -> None:
    """Of backups every six hours for sixty days: two newest, three days, two weeks, two months."""
    kept = keep(every(6, 240), Policy(last=2, daily=3, weekly=2, monthly=2))
    moments = sorted(NOON - int(one[1:]) * timedelta(hours=6) for one in kept)
    assert [f"{moment:%d.%m. %H}" for moment in moments] == [
        "31.10. 18",  # the newest of October
        "15.11. 18",  # the newest of the week before, which ends on a Sunday
        "18.11. 18",
        "19.11. 18",
        "20.11. 06",
        "20.11. 12",
    ]


def test_days_without_a_backup_do_not_count() -> None:
    """A machine that was off for a year keeps the days that it has."""
    old = Candidate("old", NOON - timedelta(days=365), "here", False)
    assert set(keep([old, *every(1, 3)], Policy(0, 2, 0, 0))) == {"old", "b0"}


def test_the_newest_that_counts_stays_always() -> None:
    """Newer ones that nobody tried may turn out to be none."""
    assert keep(every(24, 9, counts=(5, 7)), Policy(1, 0, 0, 0)) == {
        "b0": "one of the newest",
        "b5": "the newest that counts",
    }


def test_each_origin_keeps_its_own() -> None:
    """A home that makes many backups does not push out those of another one in the same store."""
    other = Candidate("other", NOON - timedelta(days=30), "there", False)
    assert set(keep([other, *every(1, 50)], Policy(2, 0, 0, 0))) == {"other", "b0", "b1"}


def test_rules_that_keep_nothing_are_refused() -> None:
    """All at 0 is a mistake, with the options named."""
    with pytest.raises(InvalidError, match=r"keeps-nothing.*--keep-last"):
        keep(every(1, 3), Policy(0, 0, 0, 0))


@given(
    st.lists(st.tuples(st.integers(0, 3000), st.sampled_from("ab"), st.booleans()), max_size=40),
    st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 4), st.integers(1, 4)),
)
def test_pruning_twice_removes_nothing_more(rows: list[tuple[int, str, bool]], counts: tuple[int, ...]) -> None:
    """What stays once stays, and the newest of each origin is always among it."""
    candidates = [
        Candidate(f"b{number}", NOON - timedelta(hours=hours), origin, is_good)
        for number, (hours, origin, is_good) in enumerate(rows)
    ]
    policy = Policy(*counts)
    once = set(keep(candidates, policy))
    assert set(keep([one for one in candidates if one.id in once], policy)) == once
    for origin in {one.origin for one in candidates}:
        newest = max((one for one in candidates if one.origin == origin), key=lambda one: (one.at, one.id))
        assert newest.id in once

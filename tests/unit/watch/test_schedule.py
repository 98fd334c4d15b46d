"""When a probe is due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from undercroft.watch.probes.schedule import check_schedule, check_time_zone, missed_due, next_due, spread

_ZONES = ("UTC", "Asia/Bangkok", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe")
_SCHEDULES = ("0 7 * * *", "*/15 * * * *", "30 2 * * *", "0 0 1 * *", "5 4 * * sun", "0 9-17/4 * * mon-fri")
_MOMENTS = st.datetimes(datetime(2025, 1, 1), datetime(2027, 12, 31)).map(lambda moment: moment.replace(tzinfo=UTC))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_a_time_is_that_of_the_zone() -> None:
    """Seven in Bangkok is midnight in UTC, in summer and in winter."""
    assert next_due("0 7 * * *", "Asia/Bangkok", at("2026-03-01T01:00:00+00:00")) == at("2026-03-02T00:00:00+00:00")
    assert next_due("0 7 * * *", "Europe/Berlin", at("2026-01-01T00:00:00+00:00")) == at("2026-01-01T06:00:00+00:00")
    assert next_due("0 7 * * *", "Europe/Berlin", at("2026-07-01T00:00:00+00:00")) == at("2026-07-01T05:00:00+00:00")


def test_the_clock_change_neither_loses_nor_doubles_a_run() -> None:
    """Half past two comes once on the day that has none, and once on the day that has two."""
    for day, following in (("2026-03-29", "2026-03-30"), ("2026-10-25", "2026-10-26")):
        times = []
        moment = at(f"{day}T00:00:00+02:00") - timedelta(hours=1)
        while moment < at(f"{following}T00:00:00+01:00"):
            moment = next_due("30 2 * * *", "Europe/Berlin", moment)
            times.append(moment)
        assert len([moment for moment in times if moment < at(f"{following}T00:00:00+01:00")]) == 1


def test_one_run_is_owed_however_many_were_missed() -> None:
    """For the last time that passed; none before the first one comes."""
    known = at("2026-03-01T00:30:00+00:00")
    assert missed_due("0 7 * * *", "UTC", known, at("2026-03-01T06:59:59+00:00")) is None
    assert missed_due("0 7 * * *", "UTC", known, at("2026-03-01T07:00:00+00:00")) == at("2026-03-01T07:00:00+00:00")
    assert missed_due("0 7 * * *", "UTC", known, at("2026-03-09T12:00:00+00:00")) == at("2026-03-09T07:00:00+00:00")
    done = at("2026-03-09T07:00:00+00:00")
    assert missed_due("0 7 * * *", "UTC", done, at("2026-03-09T12:00:00+00:00")) is None


@given(st.sampled_from(_SCHEDULES), st.sampled_from(_ZONES), _MOMENTS, st.integers(0, 400 * 24 * 60))
def test_what_is_owed_lies_between_the_last_run_and_now(
    schedule: str, zone: str, since: datetime, minutes: int
) -> None:
    """And once it is done, nothing is owed until the next time."""
    now = since + timedelta(minutes=minutes)
    due = missed_due(schedule, zone, since, now)
    upcoming = next_due(schedule, zone, since)
    assert upcoming > since
    if due is None:
        assert upcoming > now
    else:
        assert since < upcoming <= due <= now
        assert missed_due(schedule, zone, due, due) is None


def test_runs_are_spread_and_stay_where_they_are() -> None:
    """Each probe later by an amount of its own, at most what was said, and the same after a restart."""
    due = at("2026-03-01T07:00:00+00:00")
    delays = [spread(f"bot-{number}", due, 10) for number in range(50)]
    assert all(timedelta() <= delay < timedelta(minutes=10) for delay in delays)
    assert len(set(delays)) == 50
    assert spread("bot-1", due, 10) == delays[1]
    assert spread("bot-1", due, 0) == timedelta()


@pytest.mark.parametrize("schedule", ["", "* * * *", "0 0 0 * * *", "0 25 * * *", "x * * * *", "0 0 31 2 *", "@daily"])
def test_a_schedule_that_never_comes_is_refused(schedule: str) -> None:
    """Wrong fields, wrong numbers, a day that no month has."""
    with pytest.raises(ValueError, match="expected"):
        check_schedule(schedule)


def test_a_zone_that_is_not_known_is_refused() -> None:
    """So that nobody is asked at the wrong hour."""
    assert check_time_zone("Asia/Ho_Chi_Minh") == "Asia/Ho_Chi_Minh"
    with pytest.raises(ValueError, match="time zone"):
        check_time_zone("Bangkok")

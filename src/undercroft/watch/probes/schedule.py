"""When a probe is due: cron's own words, in a time zone, a little spread, and missed times caught up once. Pure."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError


def check_schedule(schedule: str) -> str:
    """Returns a schedule of five fields, as in ``0 7 * * mon-fri``, if it is one that ever comes.

    Raises:
        ValueError: It is not.
    """
    if len(schedule.split()) != 5:
        raise ValueError(
            "expected five fields, minute hour day month weekday, such as '0 7 * * *', got "
            f"{len(schedule.split())} in {schedule[:60]!r}"
        )
    try:
        next(CronSim(schedule, datetime(2026, 1, 1, tzinfo=UTC)))
    except CronSimError as error:
        raise ValueError(f"expected cron syntax such as '0 7 * * *', got {schedule[:60]!r}: {error}") from error
    except StopIteration:
        raise ValueError(f"expected a time that comes, got {schedule[:60]!r}, which never does") from None
    return schedule


def check_time_zone(name: str) -> str:
    """Returns the name of a time zone if it is known here.

    Raises:
        ValueError: It is not.
    """
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"expected a time zone such as Asia/Bangkok or UTC, got {name[:60]!r}") from None
    return name


def next_due(schedule: str, time_zone: str, after: datetime) -> datetime:
    """The first time of a schedule that is later than a moment.

    A time that the clocks jump over in spring comes when they have jumped; one that comes twice in autumn counts once.

    Args:
        schedule: As `check_schedule` takes it.
        time_zone: Whose clocks it is read on.
        after: With its zone.

    Returns:
        In UTC.

    Source:
        cronsim, which does as Debian's cron does.
    """
    times = (moment.astimezone(UTC) for moment in CronSim(schedule, after.astimezone(ZoneInfo(time_zone))))
    # In the hour that comes twice, the clock's next time may be one that has been.
    return next(moment for moment in times if moment > after)


def missed_due(schedule: str, time_zone: str, since: datetime, now: datetime) -> datetime | None:
    """The time that a run is owed for; None where none is.

    However many times have passed since, one run is owed, for the last of them.

    Args:
        schedule: As `check_schedule` takes it.
        time_zone: Whose clocks it is read on.
        since: The time that the last run was for, or since when the probe is known.
        now: The current time.
    """
    first = next_due(schedule, time_zone, since)
    if first > now:
        return None
    # Backwards from now: a server that was away for a year need not go through every minute of it.
    later = (now + timedelta(seconds=1)).astimezone(ZoneInfo(time_zone))
    last = next(CronSim(schedule, later, reverse=True)).astimezone(UTC)
    return last if first <= last <= now else first


def spread(probe: str, due: datetime, jitter_minutes: float) -> timedelta:
    """How much later than due a run begins, so that not all probes begin at once.

    Args:
        probe: Its name.
        due: When it is due.
        jitter_minutes: Longest delay; 0 is none.

    Returns:
        0 up to the longest; the same each time it is asked, so that a restart in between changes nothing.
    """
    digest = hashlib.sha256(f"{probe} {due.isoformat()}".encode()).digest()
    return timedelta(minutes=jitter_minutes * int.from_bytes(digest[:4]) / 2**32)

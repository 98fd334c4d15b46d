"""Time: UTC only, and replaceable in tests."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_PERIOD = re.compile(r"(\d{1,6})([smhdw])")
_UNITS = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}


def utc_now() -> datetime:
    """The current time, with its zone."""
    return datetime.now(UTC)


def to_iso(moment: datetime) -> str:
    """ISO 8601 in UTC with milliseconds and ``Z``: ``2026-11-20T11:03:00.125Z``."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def from_iso(text: str) -> datetime:
    """Reads what `to_iso` wrote.

    Raises:
        ValueError: ``text`` is no ISO 8601 time, or has no zone.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return moment.astimezone(UTC)


def parse_period(text: str) -> timedelta | None:
    """``30m``, ``12h``, ``90d``, ``4w``; None for any other text."""
    match = _PERIOD.fullmatch(text.strip())
    return int(match[1]) * _UNITS[match[2]] if match else None


def parse_moment(text: str, now: datetime) -> datetime | None:
    """A moment in the past as people write it; None for any other text.

    Args:
        text: A period before now (``7d``), a day (``2026-11-20``, from its beginning in UTC), or an ISO 8601 time; one
            without a zone is UTC.
        now: Whence a period counts back.
    """
    period = parse_period(text)
    try:
        if period is not None:
            return now - period
        moment = datetime.fromisoformat(text.strip())
    except (ValueError, OverflowError):
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)

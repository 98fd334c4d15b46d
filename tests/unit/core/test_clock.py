"""Moments as people write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from undercroft.core.clock import parse_moment, parse_period

NOW = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7d", datetime(2026, 11, 13, 9, 30, tzinfo=UTC)),
        (" 90m ", datetime(2026, 11, 20, 8, 0, tzinfo=UTC)),
        ("0s", NOW),
        ("2026-11-02", datetime(2026, 11, 2, tzinfo=UTC)),
        ("2026-11-02T08:00:00+07:00", datetime(2026, 11, 2, 1, tzinfo=UTC)),
        ("2026-11-02 08:00", datetime(2026, 11, 2, 8, tzinfo=UTC)),
        ("soon", None),
        ("", None),
        ("7 days", None),
        ("-7d", None),
        ("999999w", None),
        ("2026-13-01", None),
    ],
)
def test_a_moment_in_the_past(text: str, expected: datetime | None) -> None:
    """A period, a day, a time with or without its zone; anything else, or before the year 1, is none."""
    assert parse_moment(text, NOW) == expected


def test_a_period() -> None:
    """A number and a unit."""
    assert parse_period("4w") == timedelta(weeks=4)
    assert parse_period("4 w") is None

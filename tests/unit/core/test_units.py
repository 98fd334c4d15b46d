"""Numbers as people read them."""

from __future__ import annotations

import pytest

from undercroft.core.units import format_bytes, format_count, format_duration


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (10_522_669_875, "9.8 GiB"), (2**50 * 3000, "3000.0 PiB")],
)
def test_bytes(count: int, text: str) -> None:
    """Binary units, one decimal from KiB on."""
    assert format_bytes(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.25, "250 ms"),
        (4.21, "4.2 s"),
        (60, "1 m"),
        (200, "3 m 20 s"),
        (3600, "1 h"),
        (3660, "1 h 1 m"),
        (187_200, "2 d 4 h"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    """The two largest units that matter."""
    assert format_duration(seconds) == text


@pytest.mark.parametrize(("count", "text"), [(999, "999"), (3_200_000, "3.2 M"), (7_000_000_000, "7.0 B")])
def test_counts(count: int, text: str) -> None:
    """Thousands, millions, billions."""
    assert format_count(count) == text

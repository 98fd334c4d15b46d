"""What a bar of a long import says."""

from __future__ import annotations

import pytest

from undercroft.cli.model_progress import how_far, how_fast

MEBIBYTE = 1024 * 1024


@pytest.mark.parametrize(
    ("done", "total", "text"),
    [
        (0, 21, "0 of 21 B"),
        (21, 21, "21 B"),
        (10.4 * MEBIBYTE, 36.7 * MEBIBYTE, "10.4 of 36.7 MiB"),
        (0.5 * MEBIBYTE, 36.7 * MEBIBYTE, "512.0 KiB of 36.7 MiB"),
    ],
)
def test_bytes_of_bytes(done: float, total: float, text: str) -> None:
    """In the units of everything else that is printed."""
    assert how_far(done, total) == text


@pytest.mark.parametrize(
    ("speed", "left", "text"),
    [
        (None, None, ""),
        (0.0, 8.0, ""),
        (3.1 * MEBIBYTE, None, "3.1 MiB/s"),
        (3.1 * MEBIBYTE, 0, "3.1 MiB/s"),
        (3.1 * MEBIBYTE, 8.2, "3.1 MiB/s, 8.2 s left"),
    ],
)
def test_speed_and_time_left(speed: float | None, left: float | None, text: str) -> None:
    """What is not known is not said."""
    assert how_fast(speed, left) == text

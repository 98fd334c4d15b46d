"""Two models are timed in turns."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.optimize.measures.conftest import BIRDS
from undercroft.core.errors import InvalidError
from undercroft.optimize.measures.reading import Reading
from undercroft.optimize.measures.speed import compare_speed


def test_both_are_timed_in_every_round(models: dict[str, Path]) -> None:
    """Each round gives one ratio; speeds are tokens a second, and reading is told apart from writing."""
    rounds: list[tuple[int, int]] = []
    found = compare_speed(
        models["chat"],
        models["other"],
        [BIRDS],
        Reading(threads=1, window_tokens=128),
        report=lambda done, total: rounds.append((done, total)),
    )
    assert len(found.written_ratios) == rounds[-1][1] == 5
    assert min(found.written_ratios) <= found.written_ratio <= max(found.written_ratios)
    for speed in (found.model, found.parent):
        assert speed.read_tokens_per_second > 0
        assert speed.written_tokens_per_second > 0


def test_a_text_of_nothing_is_refused(models: dict[str, Path]) -> None:
    """Fewer than 16 tokens say nothing of speed."""
    with pytest.raises(InvalidError, match="text-too-short"):
        compare_speed(models["chat"], models["chat"], ["a bird"], Reading(threads=1))

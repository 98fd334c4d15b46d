from __future__ import annotations

import pytest
from benchmarks.serving import undisturbed


def test_the_faster_half_counts() -> None:
    """A round that somebody else's work slowed down does not lower the figure; an odd one in the middle counts."""
    assert undisturbed([100.0, 10.0, 98.0, 11.0]) == 99.0
    assert undisturbed([100.0, 1.0, 70.0]) == 85.0
    assert undisturbed([7.0]) == 7.0


def test_a_cost_in_every_round_is_seen() -> None:
    """What slows each round by two in a hundred shows as exactly that."""
    engine = [100.0, 50.0, 99.0, 97.0]
    assert undisturbed([0.98 * speed for speed in engine]) / undisturbed(engine) == pytest.approx(0.98)

"""One vector of many, and scores of outputs."""

from __future__ import annotations

import numpy as np
import pytest

from undercroft.engines.encoder.pooling import activated, normalized, pooled

HIDDEN = np.array([[[1.0, -4.0], [3.0, 2.0], [99.0, 99.0]], [[2.0, 0.0], [4.0, 6.0], [6.0, 0.0]]], np.float32)
MASK = np.array([[1, 1, 0], [1, 1, 1]], np.int64)


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [("mean", [[2, -1], [4, 2]]), ("first", [[1, -4], [2, 0]]), ("max", [[3, 2], [6, 6]])],
)
def test_padding_counts_for_nothing(pooling: str, expected: list[list[float]]) -> None:
    """Whatever stands where an input has no tokens, its vector is made of its tokens."""
    found = pooled(HIDDEN, MASK, pooling)  # type: ignore[arg-type]
    assert found == pytest.approx(np.array(expected, np.float32))


def test_length_one() -> None:
    """Vectors get length 1, and one of zeros stays."""
    found = normalized(np.array([[3.0, 4.0], [0.0, 0.0]], np.float32))
    assert found == pytest.approx(np.array([[0.6, 0.8], [0.0, 0.0]]))


def test_scores() -> None:
    """Probabilities that exclude each other add up to 1, others are each between 0 and 1, none stay as they are."""
    outputs = np.array([[1000.0, 0.0], [0.0, 0.0]], np.float32)
    assert activated(outputs, "softmax") == pytest.approx(np.array([[1.0, 0.0], [0.5, 0.5]]))
    assert activated(outputs[1:], "sigmoid") == pytest.approx(np.array([[0.5, 0.5]]))
    assert activated(outputs, "none") is outputs

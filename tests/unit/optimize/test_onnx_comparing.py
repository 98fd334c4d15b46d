"""When an encoder counts as the same as its source."""

from __future__ import annotations

import pytest

from undercroft.optimize.onnx.comparing import compare_scores, compare_vectors, cosine


def test_the_same_vectors_hold() -> None:
    """Vectors of the same direction are the same, whatever their length."""
    found = compare_vectors([[1.0, 2.0]], [[2.0, 4.0]], "f32")
    assert found.holds
    assert found.largest_difference == pytest.approx(0.0, abs=1e-9)


def test_a_little_rounding_is_allowed_in_8_bits_only() -> None:
    """What 8 bits may cost is too much for a model whose weights were only written down again."""
    source, made = [[1.0, 0.0]], [[1.0, 0.2]]
    assert cosine(source[0], made[0]) == pytest.approx(0.98, abs=0.001)
    assert compare_vectors(source, made, "int8").holds
    assert not compare_vectors(source, made, "f32").holds


def test_one_wrong_vector_among_many_is_found() -> None:
    """A mean that is good enough does not hide one that is wrong."""
    source = [[1.0, 0.0]] * 100
    found = compare_vectors(source, [*source[:-1], [0.0, 1.0]], "int8")
    assert found.mean_difference < found.tolerance
    assert (found.same, found.holds) == (99, False)


def test_a_vector_without_length_is_not_the_same() -> None:
    """Zeros, which a broken network gives, are like nothing."""
    assert not compare_vectors([[1.0, 0.0]], [[0.0, 0.0]], "int8").holds


def test_scores_by_their_difference() -> None:
    """Probabilities differ by as much as they differ; scores that are none are measured by the largest."""
    assert compare_scores([[0.9, 0.1]], [[0.89995, 0.10005]], "f32").holds
    assert not compare_scores([[0.9, 0.1]], [[0.8, 0.2]], "int8").holds
    assert compare_scores([[-10.0], [4.0]], [[-9.8], [4.1]], "int8").holds

"""From logits to log-probabilities and divergences."""

from __future__ import annotations

import math

import numpy as np
import pytest

from undercroft.optimize.llama_library import log_softmax


def plainly(logits: list[float]) -> list[float]:
    """Probabilities of one row, as a schoolbook has them."""
    whole = math.fsum(math.exp(value) for value in logits)
    return [math.exp(value) / whole for value in logits]


def test_log_probabilities_are_those_of_the_tokens_that_came() -> None:
    """Each row gives the logarithm of the softmax at its target."""
    logits = np.asarray([[1.0, 2.0, 3.0], [0.5, -1.0, 0.0]], np.float32)
    found = log_softmax.chosen_log_probabilities(logits, np.asarray([2, 1], np.int32))
    assert found == pytest.approx([math.log(plainly([1, 2, 3])[2]), math.log(plainly([0.5, -1, 0])[1])], abs=1e-6)


def test_divergence_is_that_of_the_model_from_its_parent() -> None:
    """The parent's probabilities weigh the difference of the logarithms."""
    ours, theirs = [1.0, 2.0, 3.0], [3.0, 1.0, 2.0]
    expected = math.fsum(p * math.log(p / q) for p, q in zip(plainly(theirs), plainly(ours), strict=True))
    found = log_softmax.compare(np.asarray([ours], np.float32), np.asarray([theirs], np.float32), np.asarray([0]))
    assert found.divergences == pytest.approx([expected], abs=1e-6)
    assert found.is_same_top.tolist() == [False]
    assert found.parent_log_probabilities == pytest.approx([math.log(plainly(theirs)[0])], abs=1e-6)


def test_equal_models_have_no_divergence() -> None:
    """Exactly 0, with large logits, too, and the same top token everywhere."""
    logits = (np.random.default_rng(0).standard_normal((700, 900)) * 50).astype(np.float32)
    found = log_softmax.compare(logits, logits.copy(), np.zeros(700, np.int32))
    assert (found.divergences == 0).all()
    assert found.is_same_top.all()


def test_rows_are_the_same_in_blocks() -> None:
    """A vocabulary so large that each row is a block of its own gives what single rows give."""
    logits = np.random.default_rng(1).standard_normal((3, 300_000)).astype(np.float32)
    targets = np.asarray([5, 299_999, 0], np.int32)
    single = [log_softmax.chosen_log_probabilities(logits[n : n + 1], targets[n : n + 1])[0] for n in range(3)]
    assert log_softmax.chosen_log_probabilities(logits, targets).tolist() == single


def test_a_token_that_the_parent_excludes_adds_nothing() -> None:
    """A logit of minus infinity in the parent is a probability of 0, not an error."""
    theirs = np.asarray([[1.0, -np.inf, 1.0]], np.float32)
    found = log_softmax.compare(np.asarray([[1.0, 0.0, 1.0]], np.float32), theirs, np.asarray([0]))
    assert found.divergences == pytest.approx([math.log((2 * math.e + 1) / (2 * math.e))], abs=1e-6)


def test_what_is_no_number_stays_none() -> None:
    """Logits that are no numbers come out as such, for the caller to refuse."""
    logits = np.asarray([[np.nan, 1.0], [np.inf, 1.0]], np.float32)
    assert not np.isfinite(log_softmax.chosen_log_probabilities(logits, np.asarray([1, 1]))).any()

"""From logits to log-probabilities and divergences, in double precision and in blocks that fit a cache. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_BLOCK_VALUES = 1 << 18

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two models over the same tokens; every array has one value a token.

    Args:
        log_probabilities: Natural logarithm of what the model gave to the token that came.
        parent_log_probabilities: The same of its parent.
        divergences: Kullback-Leibler divergence of the model's distribution from the parent's, over the whole
            vocabulary; nats, at least 0.
        is_same_top: Both find the same token most likely.
    """

    log_probabilities: Doubles
    parent_log_probabilities: Doubles
    divergences: Doubles
    is_same_top: NDArray[np.bool_]


def chosen_log_probabilities(logits: Floats, targets: NDArray[np.int32]) -> Doubles:
    """What a model gave to the tokens that came.

    Args:
        logits: Shape ``(tokens, vocabulary)``.
        targets: The token that came after each row; shape ``(tokens,)``.

    Returns:
        Natural logarithms, shape ``(tokens,)``; not finite where the logits are not.
    """
    found = np.empty(len(targets), np.float64)
    for rows in _blocks(logits):
        found[rows] = _log_softmax(logits[rows])[_each(targets[rows]), targets[rows]]
    return found


def compare(logits: Floats, parent_logits: Floats, targets: NDArray[np.int32]) -> Comparison:
    """A model against its parent, token by token.

    Args:
        logits: Of the model; shape ``(tokens, vocabulary)``.
        parent_logits: Of its parent; the same shape.
        targets: The token that came after each row; shape ``(tokens,)``.

    Returns:
        Arrays of shape ``(tokens,)``; not finite where the logits are not. A token that the parent excludes (its logit
        is minus infinity) adds nothing to the divergence.
    """
    count = len(targets)
    own, parents, divergences = (np.empty(count, np.float64) for _ in range(3))
    is_same = np.empty(count, np.bool_)
    for rows in _blocks(logits):
        ours, theirs = _log_softmax(logits[rows]), _log_softmax(parent_logits[rows])
        each = _each(targets[rows])
        own[rows], parents[rows] = ours[each, targets[rows]], theirs[each, targets[rows]]
        is_same[rows] = ours.argmax(axis=1) == theirs.argmax(axis=1)
        weights = np.exp(theirs)
        difference = np.subtract(theirs, ours, out=np.zeros_like(ours), where=weights > 0)
        divergences[rows] = np.maximum((weights * difference).sum(axis=1), 0.0)
    return Comparison(own, parents, divergences, is_same)


def _log_softmax(logits: Floats) -> Doubles:
    with np.errstate(invalid="ignore"):  # what is not finite is told by who asked
        shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
        normalizers: Doubles = np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        return np.asarray(shifted - normalizers)


def _blocks(logits: Floats) -> list[slice]:
    rows, vocabulary = logits.shape
    step = max(1, _BLOCK_VALUES // vocabulary)
    return [slice(first, min(first + step, rows)) for first in range(0, rows, step)]


def _each(targets: NDArray[Any]) -> NDArray[np.intp]:
    return np.arange(len(targets))

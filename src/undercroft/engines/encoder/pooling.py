"""Vectors and scores of what a network gives. Pure."""

from __future__ import annotations

from typing import Any

import numpy as np

from undercroft.engines.encoder.folder import Activation, Pooling

Floats = np.ndarray[Any, np.dtype[np.float32]]
Mask = np.ndarray[Any, np.dtype[np.int64]]


def pooled(hidden: Floats, mask: Mask, pooling: Pooling) -> Floats:
    """One vector of those of all tokens.

    Args:
        hidden: Shape ``(inputs, tokens, width)``.
        mask: Shape ``(inputs, tokens)``: 1 for a token, 0 for padding.
        pooling: How.

    Returns:
        Shape ``(inputs, width)``.
    """
    if pooling == "first":
        return hidden[:, 0]
    if pooling == "max":
        lowest = np.finfo(np.float32).min
        return np.asarray(np.where(mask[:, :, None] == 1, hidden, lowest).max(axis=1), np.float32)
    shares = mask / mask.sum(axis=1, keepdims=True)
    return np.asarray(np.matmul(shares[:, None, :].astype(np.float32), hidden)[:, 0], np.float32)


def normalized(vectors: Floats) -> Floats:
    """Vectors of length 1; those of length 0 stay."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), np.float32)


def activated(outputs: Floats, activation: Activation) -> Floats:
    """Scores of outputs, shape ``(inputs, classes)``."""
    if activation == "none":
        return outputs
    if activation == "sigmoid":
        return np.asarray(1.0 / (1.0 + np.exp(-outputs)), np.float32)
    risen = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    return np.asarray(risen / risen.sum(axis=1, keepdims=True), np.float32)

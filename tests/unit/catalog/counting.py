"""Counts the parameters of a shape by hand: every matrix, norm and bias of the architectures in the catalogue."""

from __future__ import annotations

from undercroft.catalog.shapes import ModelShape

_NORMS_OF_A_BLOCK = {"gemma2": 4, "gemma3": 4, "glm4": 4}


def count_parameters(shape: ModelShape) -> int:
    """Elements of all tensors of a checkpoint as its publisher stores it."""
    return _encoder(shape) if shape.is_encoder else _decoder(shape)


def _encoder(shape: ModelShape) -> int:
    width, inner = shape.width, shape.feed_forward
    rows = shape.vocabulary + shape.position_rows + int(shape.extra["token_type_count"])
    attention, norms = 4 * (width * width + width), 2 * 2 * width
    feed_forward = 2 * width * inner + inner + width
    pooler = int(shape.extra.get("pooler", 0)) * (width * width + width)
    labels = int(shape.extra.get("labels", 0))
    head = width * width + width + labels * (width + 1) if labels else 0
    return rows * width + 2 * width + shape.layers * (attention + feed_forward + norms) + pooler + head


def _decoder(shape: ModelShape) -> int:
    width = shape.width
    total = shape.vocabulary * width * (1 if shape.is_tied else 2) + width
    for kv_heads in shape.kv_heads:
        query, key = shape.heads * shape.head_dim, kv_heads * shape.head_dim
        total += 2 * width * query + 2 * width * key
        total += query + 2 * key if shape.has_attention_bias else 0
        total += 2 * shape.head_dim if shape.has_query_key_norm else 0
        total += _NORMS_OF_A_BLOCK.get(shape.architecture, 2) * width
        if shape.experts is None:
            total += 3 * width * shape.feed_forward
        else:
            total += width * shape.experts.count * (1 + 3 * shape.experts.feed_forward)
    return total

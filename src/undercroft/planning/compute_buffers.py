"""Bytes that llama.cpp writes while it computes one piece of a prompt. Pure.

Activations are single precision; attention is fused (flash attention, llama.cpp's choice where it can), so no table of
scores is kept. Alive at the same time is what one block needs, because blocks take turns.

Source: graphs of ``src/models`` and ``llama-graph.cpp``, reuse of buffers in ``ggml-alloc.c``, work buffer of
``ggml-cpu.c`` in llama.cpp, 2026-10; checked against the engine in ``benchmarks/sizing.py``.
"""

from __future__ import annotations

from dataclasses import dataclass

from undercroft.catalog.shapes import ModelShape

_FLOAT_BYTES, _MASK_BYTES = 4, 2
# A matrix product first writes its input in the blocks that the weights' type is multiplied with; Q8_K is the widest.
_WORK_BYTES = 292 / 256


@dataclass(frozen=True, slots=True)
class Batch:
    """One piece.

    Args:
        tokens: Computed together.
        slots: That give one output each.
        cells: Of the cache, all slots together, that the mask spans.
        window_cells: The same of blocks with a sliding window; 0 for none.
        has_logits: The output layer is computed here.
        threads: That compute.
    """

    tokens: int
    slots: int
    cells: int
    window_cells: int
    has_logits: bool
    threads: int


def compute_buffer_bytes(model: ModelShape, batch: Batch) -> int:
    """Bytes written at most.

    Args:
        model: Its shape.
        batch: The piece.
    """
    widest = max(_attention_width(model), _feed_forward_width(model))
    activations = _FLOAT_BYTES * batch.tokens * widest
    mask = _MASK_BYTES * batch.tokens * (batch.cells + batch.window_cells)
    logits = _FLOAT_BYTES * model.vocabulary * batch.slots if batch.has_logits else 0
    work = int(_WORK_BYTES * batch.tokens * _longest_row(model))
    return activations + mask + logits + work


def _attention_width(model: ModelShape) -> int:
    """Floats of a token alive in the attention of one block."""
    query = model.heads * model.head_dim
    heads = max(model.kv_heads, default=0)
    key, value = heads * model.head_dim, heads * model.value_head_dim
    return 2 * model.width + 2 * query + key + value


def _feed_forward_width(model: ModelShape) -> int:
    """Floats of a token alive in the feed-forward part of one block."""
    inner = (3 if model.is_gated else 2) * model.feed_forward
    experts = model.experts
    if experts is None:
        return 2 * model.width + inner
    routed = experts.used * 3 * experts.feed_forward
    down = experts.used * (experts.feed_forward + 2 * model.width)
    return 2 * model.width + max(routed, down, 3 * experts.shared_feed_forward, inner) + experts.count


def _longest_row(model: ModelShape) -> int:
    experts = model.experts
    routed = experts.feed_forward * experts.used if experts is not None else 0
    return max(model.feed_forward, routed, model.width, model.heads * model.head_dim)

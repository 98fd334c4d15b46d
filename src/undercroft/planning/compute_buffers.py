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
# A matrix product first writes its input in the type that the weights' type is multiplied with: bytes of a value.
_WORK_BYTES = {"F32": 0.0, "F16": 2.0, "BF16": 2.0}
# Which token goes to which expert, for each expert as if all came to it.
_ROUTE_BYTES = 8
_WORK_BYTES_LEGACY, _WORK_BYTES_K = 34 / 32, 292 / 256


@dataclass(frozen=True, slots=True)
class Batch:
    """One piece.

    Args:
        tokens: Computed together.
        outputs: Tokens whose logits are computed here; count.
        cells: Of one slot's cache, which the mask spans.
        window_cells: The same of blocks with a sliding window; 0 for none.
        weight_type: Of most matrices: ``Q4_K`` …
    """

    tokens: int
    outputs: int
    cells: int
    window_cells: int
    weight_type: str


def compute_buffer_bytes(model: ModelShape, batch: Batch) -> int:
    """Bytes written at most.

    Args:
        model: Its shape.
        batch: The piece.
    """
    widest = max(_attention_width(model), _feed_forward_width(model))
    activations = _FLOAT_BYTES * batch.tokens * widest
    mask = _MASK_BYTES * batch.tokens * (batch.cells + batch.window_cells)
    logits = _FLOAT_BYTES * model.vocabulary * batch.outputs
    work = int(_work_bytes(batch.weight_type) * batch.tokens * _longest_row(model))
    if model.experts is not None:
        work += _ROUTE_BYTES * batch.tokens * model.experts.used * model.experts.count
    return activations + mask + logits + work


def _work_bytes(weight_type: str) -> float:
    is_wide = weight_type.endswith("_K") or weight_type.startswith(("IQ1", "IQ2", "IQ3", "IQ4_XS", "TQ"))
    return _WORK_BYTES.get(weight_type, _WORK_BYTES_K if is_wide else _WORK_BYTES_LEGACY)


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
        return 3 * model.width + inner
    routed = experts.used * 3 * experts.feed_forward
    down = experts.used * (experts.feed_forward + model.width)
    return 3 * model.width + max(routed, down, 3 * experts.shared_feed_forward, inner)


def _longest_row(model: ModelShape) -> int:
    experts = model.experts
    routed = experts.feed_forward * experts.used if experts is not None else 0
    return max(model.feed_forward, routed, model.width, model.heads * model.head_dim)

"""Bytes of a key-value cache as llama.cpp allocates it. Pure.

Source: ``llama_context``, ``llama_kv_cache`` and ``llama_kv_cache_iswa`` of llama.cpp, 2026-10: cells are padded to
256, each slot has cells of its own (``kv_unified`` is off), a block with a sliding window keeps the window and one
micro-batch. Recurrent blocks: ``llama_memory_recurrent``.
"""

from __future__ import annotations

from dataclasses import dataclass

from undercroft.catalog.shapes import ModelShape
from undercroft.core.errors import InvalidError
from undercroft.planning.quantization import BLOCKS, tensor_bytes

_CELL_PADDING = 256
_STATE_BYTES = 4
# Where llama.cpp keeps a window's cells only; elsewhere it keeps all of the context, whatever a file says of a window.
_WINDOWED = frozenset(
    {"gemma2", "gemma3", "gemma3n", "gemma4", "gemma-embedding", "cohere2", "cohere2moe", "llama4", "gpt-oss"}
    | {"exaone4", "exaone-moe", "olmo2", "smallthinker", "lfm2", "plamo3", "afmoe", "mellum", "mimo2", "step35"}
    | {"granite-swa", "laguna", "openai-moe"}
)


@dataclass(frozen=True, slots=True)
class Cells:
    """Tokens that a cache has room for.

    Args:
        slots: Each with cells of its own; count.
        full: Cells of one slot in a block that sees everything.
        window: Cells of one slot in a block with a sliding window.
    """

    slots: int
    full: int
    window: int


def cells(model: ModelShape, *, context_tokens: int, slots: int, micro_batch_tokens: int) -> Cells:
    """Cells of each slot.

    Args:
        model: Its shape.
        context_tokens: Of one slot.
        slots: Count.
        micro_batch_tokens: Prompt tokens computed in one piece.

    Raises:
        InvalidError: ``bad-workload``: a count is below 1.
    """
    if min(context_tokens, slots, micro_batch_tokens) < 1:
        raise InvalidError(
            "bad-workload",
            f"expected at least 1 context token, slot and micro-batch token, "
            f"got {context_tokens}, {slots} and {micro_batch_tokens}",
        )
    full = _padded(_padded(context_tokens * slots) // slots)
    window = min(full, model.window_tokens + min(micro_batch_tokens, full * slots)) if has_window(model) else full
    return Cells(slots, full, _padded(window))


def has_window(model: ModelShape) -> bool:
    """Whether llama.cpp keeps fewer cells in some blocks."""
    return bool(model.window_layers) and model.window_tokens > 0 and model.architecture in _WINDOWED


def layer_cache_bytes(model: ModelShape, cache_type: str, room: Cells) -> tuple[int, ...]:
    """Bytes of keys and values of every block, all slots together; 0 for a block without a cache.

    Args:
        model: Its shape.
        cache_type: Of keys and values: ``f16``, ``q8_0`` …
        room: From `cells`.

    Returns:
        One entry a block; bytes. A block's logical shape is ``(slots, cells, key width + value width)``.
    """
    if model.is_encoder:
        return (0,) * model.layers
    is_windowed = has_window(model)
    rows: dict[int, int] = {}
    found = []
    for layer, heads in enumerate(model.kv_heads):
        if heads not in rows:
            rows[heads] = row_bytes(model, heads, cache_type)
        count = room.window if is_windowed and layer in model.window_layers else room.full
        found.append(rows[heads] * count * room.slots)
    return tuple(found)


def layer_state_bytes(model: ModelShape, slots: int) -> tuple[int, ...]:
    """Bytes of the state that recurrent blocks keep, the same however long a text is; 0 for every other block.

    Args:
        model: Its shape.
        slots: Count.

    Returns:
        One entry a block; bytes. A block's logical shape is ``(slots, values)``, single precision.
    """
    size = slots * model.recurrent_values * _STATE_BYTES
    return tuple(size if layer in model.recurrent_layers else 0 for layer in range(model.layers))


def row_bytes(model: ModelShape, kv_heads: int, cache_type: str) -> int:
    """Bytes of one token in one block.

    Args:
        model: Its shape; with latent attention one compressed row stands for all heads, keys and values.
        kv_heads: Of the block.
        cache_type: ``f16``, ``q8_0`` …
    """
    type_name = _stored_as(cache_type)
    if model.latent is not None:
        return tensor_bytes(type_name, (model.latent.kv_rank + model.latent.rope_dim,)) if kv_heads else 0
    if not kv_heads:
        return 0
    keys = tensor_bytes(type_name, (kv_heads * model.head_dim,))
    return keys + tensor_bytes(type_name, (kv_heads * model.value_head_dim,))


def is_quantized_cache(cache_type: str) -> bool:
    """Whether keys and values are kept in blocks of few bits: ``q8_0``, ``q4_0`` …

    Args:
        cache_type: Of keys and values.
    """
    return BLOCKS[_stored_as(cache_type)][0] > 1


def cache_bytes_per_token(model: ModelShape, cache_type: str = "f16") -> int:
    """Bytes that one more token takes where no window ends it; the figure that model cards and articles give.

    Args:
        model: Its shape.
        cache_type: ``f16``, ``q8_0`` …
    """
    return sum(row_bytes(model, heads, cache_type) for heads in model.kv_heads)


def _stored_as(cache_type: str) -> str:
    name = cache_type.upper()
    if name == "FP8":
        return "I8"
    if name not in BLOCKS:
        raise InvalidError("bad-workload", f"expected a cache type such as f16, q8_0 or q4_0, got {cache_type[:40]!r}")
    return name


def _padded(count: int) -> int:
    return -(-count // _CELL_PADDING) * _CELL_PADDING

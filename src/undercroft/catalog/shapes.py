"""The shape of a network: all that a forecast of memory and speed needs to know of a model.

Made from a catalogue entry, a ``config.json`` or the header of a GGUF or safetensors file; the same for all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

_EXPERTS_LIMIT = 4096


@dataclass(frozen=True, slots=True)
class Experts:
    """A mixture of experts in the feed-forward part.

    Args:
        count: Experts of a block.
        used: Experts that a token passes through, without the shared ones.
        feed_forward: Inner width of one expert; values.
        shared: Experts that every token passes through.
        shared_feed_forward: Inner width of all shared experts together; values; 0 where there are none.
        dense_layers: First blocks that have an ordinary feed-forward part instead.
    """

    count: int
    used: int
    feed_forward: int
    shared: int = 0
    shared_feed_forward: int = 0
    dense_layers: int = 0


def problem_of_experts(count: int, used: int) -> str | None:
    """What is wrong with a mixture that a file tells of; None where nothing is.

    Args:
        count: Experts of a block.
        used: Experts that a token passes through.
    """
    if count > _EXPERTS_LIMIT:
        return f"it says to have {count:,} experts in a block, expected at most {_EXPERTS_LIMIT:,}"
    if used > count:
        return f"a token cannot pass through {used:,} of {count:,} experts"
    return None


@dataclass(frozen=True, slots=True)
class LatentAttention:
    """Multi-head latent attention (DeepSeek): one compressed key/value row a token and layer.

    Args:
        kv_rank: Width of the compressed row; values.
        rope_dim: Width of the rotary part kept beside it; values.
        query_rank: Width of the compressed query; 0 where it is not compressed.
        nope_dim: Width of a head's part without rotation; values.
        value_dim: Width of a value head; values.
    """

    kv_rank: int
    rope_dim: int
    query_rank: int = 0
    nope_dim: int = 128
    value_dim: int = 128


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor as a file stores it.

    Args:
        name: As llama.cpp calls it: ``blk.0.attn_q.weight``.
        shape: Elements per axis, the row (contiguous) axis first.
        type_name: ``F16``, ``Q4_K`` …
        size_bytes: In the file.
    """

    name: str
    shape: tuple[int, ...]
    type_name: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class ModelShape:
    """A network's sizes; counts of values unless named otherwise.

    Args:
        architecture: As llama.cpp calls it: ``llama``, ``qwen2``, ``qwen3moe``, ``gemma3``, ``bert``.
        layers: Blocks; count.
        width: Between the blocks.
        heads: Query heads; count.
        kv_heads: Key/value heads of each block, one entry a block; 0 for a block without a growing cache.
        head_dim: Of a key head.
        value_head_dim: Of a value head; mostly the same.
        feed_forward: Inner width of the feed-forward part; 0 where all blocks have experts.
        vocabulary: Tokens; rows of the embedding table.
        context_tokens: Longest context that it was made for.
        is_tied: The output layer is the embedding table.
        is_gated: The feed-forward part has a gate (SwiGLU, GeGLU): three matrices, not two.
        has_attention_bias: Query, key and value have biases (Qwen 2).
        has_query_key_norm: Query and key heads are normalised (Qwen 3, Gemma 3).
        window_tokens: Sliding window of blocks that have one; 0 for none.
        window_layers: Which blocks have the window.
        experts: Mixture of experts; None for a dense network.
        latent: Latent attention; None for ordinary attention.
        is_encoder: Reads all tokens at once and keeps no cache (BERT).
        position_rows: Rows of a table of learned positions; 0 for rotary ones.
        recurrent_layers: Blocks that keep one state of a text, however long it is (Mamba, short convolutions).
        recurrent_values: Values of such a state in one block.
        is_guessed: Its kind is not known; read as Llama's.
        parameters: Elements of all tensors where a file or its publisher says it; 0 is to be computed.
        tensors: As a file stores them; empty for a shape from a catalogue or a ``config.json``.
        extra: What an architecture needs beyond this, by llama.cpp's key without the architecture's prefix.
    """

    architecture: str
    layers: int
    width: int
    heads: int
    kv_heads: tuple[int, ...]
    head_dim: int
    value_head_dim: int
    feed_forward: int
    vocabulary: int
    context_tokens: int
    is_tied: bool = False
    is_gated: bool = True
    has_attention_bias: bool = False
    has_query_key_norm: bool = False
    window_tokens: int = 0
    window_layers: frozenset[int] = frozenset()
    experts: Experts | None = None
    latent: LatentAttention | None = None
    is_encoder: bool = False
    position_rows: int = 0
    recurrent_layers: frozenset[int] = frozenset()
    recurrent_values: int = 0
    is_guessed: bool = False
    parameters: int = 0
    tensors: tuple[StoredTensor, ...] = ()
    extra: Mapping[str, float] = field(default_factory=dict)


CacheType = Literal["f16", "bf16", "f32", "q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "fp8"]

"""The tensors of a network, by its shape: names as llama.cpp has them, elements per axis, the row axis first.

Used where no file says it: for a catalogue entry or a ``config.json``. Pure.

Source: ``create_tensor`` calls in ``src/models/*.cpp`` of llama.cpp, 2026-10; sums are checked against the parameter
counts that the makers publish (``tests/unit/planning/test_weights.py``).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from undercroft.catalog.shapes import LatentAttention, ModelShape

_BLOCK = re.compile(r"blk\.(\d+)\.")
# Blocks of these have no separate query, key and value matrices.
FUSED_QKV = frozenset({"phi3", "chatglm", "nomic-bert"})
# The gate and the up projection of these are one matrix of twice the width.
FUSED_GATE = frozenset({"phi3", "chatglm", "glm4"})
# The outputs of attention and feed-forward of these are normalised, too.
_POST_NORMS = frozenset({"gemma2", "gemma3", "gemma3n", "glm4", "olmo2", "exaone4"})
_NO_INPUT_NORMS = frozenset({"olmo2", "exaone4"})
# The norm of query and key of these spans all heads; of others it is one head wide.
_WIDE_HEAD_NORMS = frozenset({"olmo2", "olmoe"})
_ENCODER_NORMS = frozenset({"bert", "nomic-bert", "xlm-roberta", "jina-bert-v2", "nomic-bert-moe"})


class TensorShape(NamedTuple):
    """A tensor without its numbers.

    Args:
        name: As llama.cpp calls it.
        shape: Elements per axis, the row axis first.
    """

    name: str
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        """Count."""
        return math.prod(self.shape)


def tensor_shapes(model: ModelShape) -> tuple[TensorShape, ...]:
    """All tensors of a network, block after block; what a file says goes before what is computed.

    Args:
        model: Its shape.
    """
    if model.tensors:
        return tuple(TensorShape(tensor.name, tensor.shape) for tensor in model.tensors)
    return _computed(ShapeKey(model))


def parameter_count(model: ModelShape) -> int:
    """Elements of all tensors, as the maker counts them: with a pooler that GGUF files leave out.

    Args:
        model: Its shape.
    """
    pooler = model.extra.get("pooler", 0) * (model.width + 1) * model.width
    return sum(tensor.elements for tensor in tensor_shapes(model)) + int(pooler)


@lru_cache(maxsize=65536)
def block_of(name: str) -> int:
    """The block that a tensor is of; -1 for none.

    Args:
        name: As llama.cpp calls it.
    """
    found = _BLOCK.match(name)
    return int(found[1]) if found is not None else -1


class ShapeKey:
    """A shape as the key of a cache; it has no hash of its own, because of its mapping.

    Args:
        model: The shape.
    """

    __slots__ = ("model",)

    def __init__(self, model: ModelShape) -> None:
        self.model = model

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ShapeKey) and (self.model is other.model or self.model == other.model)

    def __hash__(self) -> int:
        model = self.model
        return hash((model.architecture, model.layers, model.width, model.feed_forward, model.vocabulary))


@lru_cache(maxsize=512)
def _computed(key: ShapeKey) -> tuple[TensorShape, ...]:
    return tuple(_all(key.model))


def _all(model: ModelShape) -> Iterator[TensorShape]:
    yield TensorShape("token_embd.weight", (model.width, model.vocabulary))
    if model.position_rows:
        yield TensorShape("position_embd.weight", (model.width, model.position_rows))
    if model.architecture in _ENCODER_NORMS:
        types = int(model.extra.get("token_type_count", 0))
        if types:
            # One row of types is a vector.
            yield TensorShape("token_types.weight", (model.width, types) if types > 1 else (model.width,))
        yield from _norm("token_embd_norm", model.width, has_bias=True)
        yield from _scoring_head(model)
    else:
        yield from _norm("output_norm", model.width)
        if not model.is_tied:
            yield TensorShape("output.weight", (model.width, model.vocabulary))
    for layer in range(model.layers):
        yield from _block(model, layer)


def _scoring_head(model: ModelShape) -> Iterator[TensorShape]:
    """What a reranker or classifier has on top: a matrix of the network's width, then a row for each label."""
    labels = int(model.extra.get("labels", 0))
    if not labels:
        return
    yield from _matrix("cls", model.width, model.width, has_bias=True)
    # A single row is a vector.
    yield TensorShape("cls.output.weight", (model.width, labels) if labels > 1 else (model.width,))
    yield TensorShape("cls.output.bias", (labels,))


def _block(model: ModelShape, layer: int) -> Iterator[TensorShape]:
    prefix = f"blk.{layer}."
    is_encoder = model.architecture in _ENCODER_NORMS
    has_input_norms = not is_encoder and model.architecture not in _NO_INPUT_NORMS
    if has_input_norms:
        yield from _norm(prefix + "attn_norm", model.width)
    if model.latent is not None:
        yield from _latent_attention(model, model.latent, prefix)
    else:
        yield from _attention(model, layer, prefix)
    if is_encoder:
        yield from _norm(prefix + "attn_output_norm", model.width, has_bias=True)
    if model.architecture in _POST_NORMS:
        yield from _norm(prefix + "post_attention_norm", model.width)
    if has_input_norms:
        yield from _norm(prefix + "ffn_norm", model.width)
    experts = model.experts
    if experts is not None and layer >= experts.dense_layers:
        yield from _experts(model, prefix)
    else:
        yield from _feed_forward(model, prefix)
    if is_encoder:
        yield from _norm(prefix + "layer_output_norm", model.width, has_bias=True)
    if model.architecture in _POST_NORMS:
        yield from _norm(prefix + "post_ffw_norm", model.width)


def _attention(model: ModelShape, layer: int, prefix: str) -> Iterator[TensorShape]:
    query = model.heads * model.head_dim
    key = model.kv_heads[layer] * model.head_dim
    value = model.kv_heads[layer] * model.value_head_dim
    has_bias = model.has_attention_bias
    if model.architecture in FUSED_QKV:
        yield from _matrix(prefix + "attn_qkv", model.width, query + key + value, has_bias=has_bias)
    else:
        yield from _matrix(prefix + "attn_q", model.width, query, has_bias=has_bias)
        yield from _matrix(prefix + "attn_k", model.width, key, has_bias=has_bias)
        yield from _matrix(prefix + "attn_v", model.width, value, has_bias=has_bias)
    if model.has_query_key_norm:
        is_wide = model.architecture in _WIDE_HEAD_NORMS
        yield from _norm(prefix + "attn_q_norm", query if is_wide else model.head_dim)
        yield from _norm(prefix + "attn_k_norm", key if is_wide else model.head_dim)
    outputs_bias = has_bias and model.architecture in _ENCODER_NORMS
    width = model.heads * model.value_head_dim
    yield from _matrix(prefix + "attn_output", width, model.width, has_bias=outputs_bias)


def _latent_attention(model: ModelShape, latent: LatentAttention, prefix: str) -> Iterator[TensorShape]:
    query = model.heads * (latent.nope_dim + latent.rope_dim)
    if latent.query_rank:
        yield from _matrix(prefix + "attn_q_a", model.width, latent.query_rank)
        yield from _norm(prefix + "attn_q_a_norm", latent.query_rank)
        yield from _matrix(prefix + "attn_q_b", latent.query_rank, query)
    else:
        yield from _matrix(prefix + "attn_q", model.width, query)
    yield from _matrix(prefix + "attn_kv_a_mqa", model.width, latent.kv_rank + latent.rope_dim)
    yield from _norm(prefix + "attn_kv_a_norm", latent.kv_rank)
    yield TensorShape(prefix + "attn_k_b.weight", (latent.nope_dim, latent.kv_rank, model.heads))
    yield TensorShape(prefix + "attn_v_b.weight", (latent.kv_rank, latent.value_dim, model.heads))
    yield from _matrix(prefix + "attn_output", model.heads * latent.value_dim, model.width)


def _feed_forward(model: ModelShape, prefix: str) -> Iterator[TensorShape]:
    is_biased_encoder = model.architecture in _ENCODER_NORMS and not model.is_gated
    if model.architecture in FUSED_GATE:
        yield from _matrix(prefix + "ffn_up", model.width, 2 * model.feed_forward)
    else:
        if model.is_gated:
            yield from _matrix(prefix + "ffn_gate", model.width, model.feed_forward)
        yield from _matrix(prefix + "ffn_up", model.width, model.feed_forward, has_bias=is_biased_encoder)
    yield from _matrix(prefix + "ffn_down", model.feed_forward, model.width, has_bias=is_biased_encoder)


def _experts(model: ModelShape, prefix: str) -> Iterator[TensorShape]:
    experts = model.experts
    assert experts is not None
    yield TensorShape(prefix + "ffn_gate_inp.weight", (model.width, experts.count))
    if model.extra.get("expert_bias", 0):
        yield TensorShape(prefix + "exp_probs_b.bias", (experts.count,))
    inner = experts.feed_forward
    yield TensorShape(prefix + "ffn_gate_exps.weight", (model.width, inner, experts.count))
    yield TensorShape(prefix + "ffn_up_exps.weight", (model.width, inner, experts.count))
    yield TensorShape(prefix + "ffn_down_exps.weight", (inner, model.width, experts.count))
    shared = experts.shared_feed_forward
    if shared:
        if model.architecture == "qwen2moe":
            yield TensorShape(prefix + "ffn_gate_inp_shexp.weight", (model.width,))
        yield from _matrix(prefix + "ffn_gate_shexp", model.width, shared)
        yield from _matrix(prefix + "ffn_up_shexp", model.width, shared)
        yield from _matrix(prefix + "ffn_down_shexp", shared, model.width)


def _matrix(name: str, columns: int, rows: int, *, has_bias: bool = False) -> Iterator[TensorShape]:
    yield TensorShape(name + ".weight", (columns, rows))
    if has_bias:
        yield TensorShape(name + ".bias", (rows,))


def _norm(name: str, width: int, *, has_bias: bool = False) -> Iterator[TensorShape]:
    yield TensorShape(name + ".weight", (width,))
    if has_bias:
        yield TensorShape(name + ".bias", (width,))

"""Writes the GGUF of a shape with the keys that llama.cpp's converter writes, and holes in place of weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.support.raw_gguf import ARRAY, BOOL, I32, STRING, U32, RawGguf, RawTensor
from undercroft.catalog.shapes import ModelShape
from undercroft.planning.weights import tensor_shapes

_F16 = 1


def write_sparse(path: Path, shape: ModelShape, *, licence: str | None = None, tokens: int = 0) -> Path:
    """Writes the header of a model in F16, and a hole as long as its weights.

    Args:
        path: File to write.
        shape: Of the model.
        licence: ``general.license``; None leaves it out.
        tokens: Length of a vocabulary that is written with it; 0 leaves it out.
    """
    made = RawGguf()
    made.set("general.architecture", STRING, shape.architecture)
    if licence is not None:
        made.set("general.license", STRING, licence)
    _set_keys(made, shape)
    if tokens:
        made.set("tokenizer.ggml.model", STRING, "gpt2")
        made.set("tokenizer.ggml.tokens", ARRAY, (STRING, [f"token{number}" for number in range(tokens)]))
        made.set("tokenizer.ggml.token_type", ARRAY, (I32, [1] * tokens))
        made.set("tokenizer.ggml.merges", ARRAY, (STRING, [f"to ken{number}" for number in range(tokens)]))
    tensors = tensor_shapes(shape)
    made.tensors = [RawTensor(t.name, t.shape, kind=_F16, size_bytes=t.elements * 2) for t in tensors]
    made.data = b""
    head = made.build()
    path.write_bytes(head)
    with path.open("r+b") as file:
        file.truncate(len(head) + sum(-(-t.elements * 2 // 32) * 32 for t in tensors))
    return path


def _set_keys(made: RawGguf, shape: ModelShape) -> None:
    numbers = {
        "block_count": shape.layers,
        "context_length": shape.context_tokens,
        "embedding_length": shape.width,
        "feed_forward_length": shape.feed_forward or 6144,
        "attention.head_count": shape.heads,
        "attention.sliding_window": shape.window_tokens,
    }
    if not shape.is_encoder:
        numbers |= {"attention.key_length": shape.head_dim, "attention.value_length": shape.value_head_dim}
    if shape.experts is not None:
        numbers |= {
            "expert_count": shape.experts.count,
            "expert_used_count": shape.experts.used,
            "expert_feed_forward_length": shape.experts.feed_forward,
        }
    for key, number in numbers.items():
        if number:
            made.set(f"{shape.architecture}.{key}", U32, number)
    if len(set(shape.kv_heads)) == 1:
        made.set(f"{shape.architecture}.attention.head_count_kv", U32, shape.kv_heads[0])
    else:
        made.set(f"{shape.architecture}.attention.head_count_kv", ARRAY, (U32, shape.kv_heads))
    if shape.is_encoder:
        made.set(f"{shape.architecture}.attention.causal", BOOL, 0)


def set_pattern(made: RawGguf, architecture: str, flags: Sequence[bool]) -> None:
    """Says for each block whether it has the window."""
    made.set(f"{architecture}.attention.sliding_window_pattern", ARRAY, (BOOL, [int(flag) for flag in flags]))

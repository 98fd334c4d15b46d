"""Whether the tensors of a GGUF file have the shapes that its metadata promises.

Here is what is the same in every architecture: blocks that exist, an embedding for every token, heads that divide.
What `undercroft.registry.inspection.gguf_tables` knows completely is checked completely; the engine checks the rest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from undercroft.registry.inspection.gguf import GgufHeader, Tensor
from undercroft.registry.inspection.gguf_tables import Sizes, find_problem, is_known
from undercroft.registry.inspection.gguf_types import ValueType
from undercroft.registry.inspection.reading import refuse

_BLOCK = re.compile(r"blk\.(\d{1,9})\.(.+)")
_HEADS_LIMIT = 4096
# Recurrent and mixed models may say 0 heads, for all blocks or for some.
_WITHOUT_ATTENTION = re.compile(r"mamba|rwkv|plamo|jamba|falcon-h1|granite|nemotron|lfm2|qwen3next|qwen35|kimi|deci")
# The only architecture whose token table is not as wide as its blocks.
_OTHER_EMBEDDING = {"wavtokenizer-dec"}


@dataclass(frozen=True, slots=True)
class _Attention:
    """Sizes of one attention layer; values."""

    heads: int
    kv_heads: int
    key: int
    value: int


def check_blocks(
    header: GgufHeader,
    architecture: str,
    *,
    layers: int,
    width: int,
    vocabulary: int | None,
    tensors: Sequence[Tensor],
) -> None:
    """Compares tensors with metadata.

    Args:
        layers: ``block_count``.
        width: ``embedding_length``.
        vocabulary: Tokens; None where the file brings none.
        tensors: Of all parts.

    Raises:
        InvalidError: ``bad-gguf``: a tensor is missing, beyond the last block, or of another shape.
    """
    shapes = {tensor.name: tensor.shape for tensor in tensors}
    for name in shapes:
        match = _BLOCK.fullmatch(name)
        if match and int(match[1]) >= layers:
            _fail(header, f"tensor {name!r} belongs to a block that {architecture}.block_count {layers} does not have")
    if architecture not in _OTHER_EMBEDDING:
        _check_embedding(header, width, vocabulary, shapes)
    attention = _attention(header, architecture, layers, width)
    if attention is None:
        return
    sizes = Sizes(
        width=width,
        query=attention.heads * attention.key,
        key=attention.kv_heads * attention.key,
        value=attention.kv_heads * attention.value,
        attended=attention.heads * attention.value,
        inner=header.integer(f"{architecture}.feed_forward_length"),
        context=header.integer(f"{architecture}.context_length"),
        token_types=header.integer("tokenizer.ggml.token_type_count"),
    )
    problem = find_problem(header, architecture, layers, sizes, shapes)
    if problem is not None:
        _fail(header, problem)


def _fail(header: GgufHeader, problem: str) -> NoReturn:
    refuse("bad-gguf", "GGUF file", header.name, problem)


def _check_embedding(
    header: GgufHeader, width: int, vocabulary: int | None, shapes: Mapping[str, tuple[int, ...]]
) -> None:
    for name in ("token_embd.weight", "output.weight"):
        shape = shapes.get(name)
        if shape is None:
            if name == "token_embd.weight" and vocabulary is not None:
                _fail(header, "it has no tensor 'token_embd.weight'")
            continue
        if len(shape) != 2 or shape[0] != width or (vocabulary is not None and shape[1] != vocabulary):
            wanted = [width, vocabulary if vocabulary is not None else "any"]
            _fail(header, f"tensor {name!r} has the shape {list(shape)}, expected {wanted}")
    norm = shapes.get("output_norm.weight")
    if norm is not None and norm != (width,):
        _fail(header, f"tensor 'output_norm.weight' has the shape {list(norm)}, expected {[width]}")


def _attention(header: GgufHeader, architecture: str, layers: int, width: int) -> _Attention | None:
    """Sizes that hold for every block; None where they differ from block to block or there is no attention."""
    prefix = f"{architecture}.attention."
    per_block = False
    for key in ("head_count", "head_count_kv"):
        array = header.array(prefix + key)
        if array is not None:
            per_block = True
            if array.kind not in (ValueType.UINT32, ValueType.INT32) or array.count < layers:
                _fail(header, f"{prefix}{key} holds {array.count:,} of {array.kind.name}, expected one for each block")
            numbers = [item for item in array.items or () if isinstance(item, int)]
            if any(not 0 <= number <= _HEADS_LIMIT for number in numbers):
                _fail(header, f"{prefix}{key} holds a count outside 0 to {_HEADS_LIMIT:,}")
    if per_block:
        return None
    heads = _size(header, prefix + "head_count", None)
    if heads is None and is_known(architecture):
        _fail(header, f"it does not say its {prefix}head_count")
    if heads is None or (heads == 0 and _WITHOUT_ATTENTION.search(architecture)):
        return None
    kv_heads = _size(header, prefix + "head_count_kv", heads)
    if kv_heads == 0 and _WITHOUT_ATTENTION.search(architecture):
        return None
    if not 1 <= heads <= _HEADS_LIMIT or not kv_heads or kv_heads > heads or heads % kv_heads:
        _fail(header, f"{heads:,} attention heads cannot share {kv_heads:,} key/value heads")
    key_length = _size(header, prefix + "key_length", width // heads)
    value_length = _size(header, prefix + "value_length", width // heads)
    if not key_length or not value_length:
        _fail(header, f"an attention head of {key_length} and {value_length} values cannot be computed")
    rope = _size(header, f"{architecture}.rope.dimension_count", None)
    if rope is not None and (rope > key_length or rope % 2):
        _fail(header, f"{architecture}.rope.dimension_count is {rope:,}, expected an even number up to {key_length:,}")
    if architecture == "llama" and rope not in (None, key_length):
        _fail(header, f"llama.rope.dimension_count is {rope:,}, expected the head size {key_length:,}")
    return _Attention(heads, kv_heads, key_length, value_length)


def _size(header: GgufHeader, key: str, default: int | None) -> int | None:
    found = header.values.get(key)
    if found is None:
        return default
    if found.kind is not ValueType.UINT32 or not isinstance(found.value, int):
        _fail(header, f"{key} has type {found.kind.name}, expected UINT32")
    return found.value

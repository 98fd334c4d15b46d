"""A Llama in F16 with random weights, written a piece at a time, so that it may be larger than memory."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from benchmarks.random_model import Shape
from undercroft.optimize.quantization.headers import Entry, Key, encode, number_key, padded, text_key
from undercroft.optimize.quantization.schemes import TYPE_NUMBERS

_ALIGNMENT = 32
_POOL_VALUES = 2**24
_FLOAT_VALUE = 6  # how the format numbers 32-bit floats among its values


def write_source(path: Path, shape: Shape) -> None:
    """Writes a model that a quantizer takes for a real one; it has no vocabulary and is not made to be run.

    Weights come from a pool of 16 million normal numbers; each tensor begins at another place in it.

    Args:
        path: Where to.
        shape: Of the model; input and output embeddings are one tensor.
    """
    sizes = _sizes(shape)
    entries, end = [], 0
    for name, size in sizes:
        entries.append(Entry(name, size, TYPE_NUMBERS["F16" if len(size) > 1 else "F32"], end))
        end += padded(_size_bytes(size), _ALIGNMENT)
    random = np.random.default_rng(20_261_122)
    pool = random.standard_normal(_POOL_VALUES, dtype=np.float32)
    with path.open("wb") as file:
        file.write(encode(_metadata(shape), entries, _ALIGNMENT))
        for _, size in sizes:
            _write_tensor(file, pool, size, int(random.integers(_POOL_VALUES)))


def _sizes(shape: Shape) -> list[tuple[str, tuple[int, ...]]]:
    """Names and sizes, innermost first."""
    kv_width = shape.width // shape.heads * shape.kv_heads
    sizes: list[tuple[str, tuple[int, ...]]] = [("token_embd.weight", (shape.width, shape.vocabulary))]
    for block in range(shape.blocks):
        matrices = {
            "attn_q": (shape.width, shape.width),
            "attn_k": (shape.width, kv_width),
            "attn_v": (shape.width, kv_width),
            "attn_output": (shape.width, shape.width),
            "ffn_gate": (shape.width, shape.feed_forward),
            "ffn_up": (shape.width, shape.feed_forward),
            "ffn_down": (shape.feed_forward, shape.width),
        }
        sizes += [(f"blk.{block}.{name}.weight", size) for name, size in matrices.items()]
        sizes += [(f"blk.{block}.{name}.weight", (shape.width,)) for name in ("attn_norm", "ffn_norm")]
    return [*sizes, ("output_norm.weight", (shape.width,))]


def _metadata(shape: Shape) -> list[Key]:
    return [
        text_key("general.architecture", "llama"),
        number_key("llama.context_length", shape.context_tokens),
        number_key("llama.embedding_length", shape.width),
        number_key("llama.block_count", shape.blocks),
        number_key("llama.feed_forward_length", shape.feed_forward),
        number_key("llama.attention.head_count", shape.heads),
        number_key("llama.attention.head_count_kv", shape.kv_heads),
        number_key("llama.vocab_size", shape.vocabulary),
        Key(
            "llama.attention.layer_norm_rms_epsilon",
            np.uint32(_FLOAT_VALUE).tobytes() + np.float32(1e-5).tobytes(),
        ),
        text_key("tokenizer.ggml.model", "no_vocab"),
    ]


def _size_bytes(size: tuple[int, ...]) -> int:
    return int(np.prod(size)) * (2 if len(size) > 1 else 4)


def _write_tensor(file: BinaryIO, pool: NDArray[np.float32], size: tuple[int, ...], begin: int) -> None:
    """Matrices with the usual spread of a first initialisation; vectors of ones."""
    left = int(np.prod(size))
    if len(size) == 1:
        file.write(np.ones(left, np.float32).tobytes())
    while len(size) > 1 and left:
        piece = pool[begin : begin + left] * np.float32(size[0] ** -0.5)
        file.write(piece.astype(np.float16).tobytes())
        left, begin = left - piece.size, 0
    file.write(bytes(padded(_size_bytes(size), _ALIGNMENT) - _size_bytes(size)))

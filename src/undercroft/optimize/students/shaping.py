"""The shape of a new student: what was asked for, the rest in the proportions of its source. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from undercroft.core.errors import InvalidError
from undercroft.optimize.quantization.mixtures import Weights
from undercroft.optimize.students.settings import Student
from undercroft.optimize.training.architectures import ROPE_FACTORS, Architecture

_ROUND = 32  # channels are a multiple of it: the shortest block of a quantized row
_FIRST = re.compile(r"blk\.0\.(?P<part>[a-z_]+\.(?:weight|bias))")


@dataclass(frozen=True, slots=True)
class Shape:
    """Of a network.

    Args:
        blocks: Count.
        width: Of its embeddings; values.
        channels: Of the feed-forward part; count.
        heads: Query heads; count.
        kv_heads: Key/value heads; count.
        head_width: Values.
    """

    blocks: int
    width: int
    channels: int
    heads: int
    kv_heads: int
    head_width: int


def shape_of(architecture: Architecture) -> Shape:
    """The shape of a network that is there."""
    config = architecture.config
    return Shape(
        blocks=config["num_hidden_layers"],
        width=config["hidden_size"],
        channels=config["intermediate_size"],
        heads=architecture.heads,
        kv_heads=architecture.kv_heads,
        head_width=config["head_dim"],
    )


def student_shape(settings: Student, source: Shape, *, has_factors: bool = False) -> Shape:
    """The shape that is asked for.

    Args:
        settings: What is asked for.
        source: Its source's.
        has_factors: The source has numbers for each pair of a head, by which positions are told.

    Raises:
        InvalidError: ``bad-shape``: heads do not divide the width, or key/value heads the heads, or it is the source's.
    """
    width = settings.width or source.width
    if settings.heads is None and width % source.head_width:
        raise _bad(
            f"heads of {source.head_width} values, as the source has them, do not divide a width of {width}",
            f"give heads, or a width such as {_nearest(width, source.head_width)}",
        )
    heads = settings.heads or width // source.head_width
    if width % heads:
        raise _bad(f"{heads} heads do not divide a width of {width}", f"a width such as {_nearest(width, heads)}")
    head_width = width // heads
    if head_width % 2:
        raise _bad(
            f"{heads} heads of a width of {width} have {head_width} values each, and positions turn pairs of them",
            "give an even width of heads",
        )
    if has_factors and head_width != source.head_width:
        raise _bad(
            f"the source's positions are told by a number for each pair of a head of {source.head_width} values, "
            f"expected as many, got {head_width}",
            f"give heads={max(1, width // source.head_width)}",
        )
    shared = source.heads // source.kv_heads
    kv_heads = settings.kv_heads or (heads // shared if heads % shared == 0 else heads)
    if heads % kv_heads:
        raise _bad(f"{kv_heads} key/value heads do not divide {heads} heads", f"kv_heads={math.gcd(heads, kv_heads)}")
    channels = settings.channels or max(_ROUND, round(source.channels * width / source.width / _ROUND) * _ROUND)
    found = Shape(settings.blocks or source.blocks, width, channels, heads, kv_heads, head_width)
    if found == source:
        raise _bad("it is the source's own", "give fewer blocks, or a smaller width")
    return found


def tensors_of(source: Sequence[Weights], shape: Shape) -> list[Weights]:
    """The tensors of a student, in F32: those of the source's first block for each of its own, and those of no block.

    Args:
        source: Of the model whose vocabulary it gets.
        shape: Of the student.
    """
    whole = [_whole(tensor, shape) for tensor in source if not tensor.name.startswith("blk.")]
    parts = [(match["part"], tensor) for tensor in source if (match := _FIRST.fullmatch(tensor.name)) is not None]
    sizes = _sizes(shape)
    blocks = [
        Weights(f"blk.{number}.{part}", _sized(part, tensor, sizes), "F32")
        for number in range(shape.blocks)
        for part, tensor in parts
    ]
    return [*whole, *blocks]


def keys_of(shape: Shape) -> Mapping[str, int]:
    """What a header says of the shape, by name without the architecture's."""
    return {
        "block_count": shape.blocks,
        "embedding_length": shape.width,
        "feed_forward_length": shape.channels,
        "attention.head_count": shape.heads,
        "attention.head_count_kv": shape.kv_heads,
        "attention.key_length": shape.head_width,
        "attention.value_length": shape.head_width,
        "rope.dimension_count": shape.head_width,
    }


def parameters_of(tensors: Sequence[Weights]) -> int:
    """All weights; count."""
    return sum(math.prod(tensor.shape) for tensor in tensors)


def _sizes(shape: Shape) -> Mapping[str, tuple[int, int]]:
    """Part of a block → its inputs and outputs."""
    queries, keys = shape.heads * shape.head_width, shape.kv_heads * shape.head_width
    return {
        "attn_q": (shape.width, queries),
        "attn_k": (shape.width, keys),
        "attn_v": (shape.width, keys),
        "attn_output": (queries, shape.width),
        "ffn_gate": (shape.width, shape.channels),
        "ffn_up": (shape.width, shape.channels),
        "ffn_down": (shape.channels, shape.width),
        "attn_norm": (shape.width, shape.width),
        "ffn_norm": (shape.width, shape.width),
        "attn_q_norm": (shape.head_width, shape.head_width),
        "attn_k_norm": (shape.head_width, shape.head_width),
    }


def _sized(part: str, tensor: Weights, sizes: Mapping[str, tuple[int, int]]) -> tuple[int, ...]:
    inputs, outputs = sizes[part.partition(".")[0]]
    return (inputs, outputs) if len(tensor.shape) > 1 else (outputs,)


def _whole(tensor: Weights, shape: Shape) -> Weights:
    """A tensor of no block: embeddings, output and their norm are as wide as the student."""
    if tensor.name == ROPE_FACTORS:
        return tensor
    return Weights(tensor.name, (shape.width, *tensor.shape[1:]), "F32")


def _nearest(width: int, divisor: int) -> int:
    return max(1, round(width / divisor)) * divisor


def _bad(why: str, hint: str) -> InvalidError:
    return InvalidError("bad-shape", f"there is no student of that shape: {why}", hint=hint)

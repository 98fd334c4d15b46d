"""What of a network can be cut away, and which of its tensors belong to it. Pure.

In a block of these architectures everything that heads and channels say reaches the rest through two matrices,
``attn_output`` and ``ffn_down``; whose inputs are zero, that block says nothing.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from undercroft.core.errors import InvalidError
from undercroft.registry.inspection.gguf import GgufHeader

ARCHITECTURES = ("llama", "qwen2", "qwen3")
SQUARE_ATTENTION = frozenset({"qwen2"})  # llama.cpp, b11549: "check_tensor_dims: tensor 'blk.0.attn_q.weight' …"

BLOCK = re.compile(r"blk\.(\d+)\.(.+)")
ATTENTION_OUTPUT, FEED_FORWARD_OUTPUT = "attn_output.weight", "ffn_down.weight"
EXPERTS_OUTPUT = "ffn_down_exps.weight"
# Of these, the rows are heads, or channels; of the two above the columns.
QUERY_ROWS = frozenset({"attn_q.weight", "attn_q.bias"})
KEY_ROWS = frozenset({"attn_k.weight", "attn_k.bias"})
VALUE_ROWS = frozenset({"attn_v.weight", "attn_v.bias"})
CHANNEL_ROWS = frozenset({"ffn_gate.weight", "ffn_up.weight", "ffn_gate.bias", "ffn_up.bias"})
_UNCUT = frozenset(
    {
        "attn_norm.weight",
        "ffn_norm.weight",
        "attn_q_norm.weight",
        "attn_k_norm.weight",
        "attn_output.bias",
        "ffn_down.bias",
        "attn_rot_embd.weight",
    }
)
_WIDTH_PARTS = QUERY_ROWS | KEY_ROWS | VALUE_ROWS | CHANNEL_ROWS | _UNCUT | {ATTENTION_OUTPUT, FEED_FORWARD_OUTPUT}
SPARSE_PARTS = frozenset(
    {
        "attn_q.weight",
        "attn_k.weight",
        "attn_v.weight",
        ATTENTION_OUTPUT,
        "ffn_gate.weight",
        "ffn_up.weight",
        FEED_FORWARD_OUTPUT,
    }
)


@dataclass(frozen=True, slots=True)
class Shape:
    """What is counted of a network.

    Args:
        architecture: ``llama``, ``qwen2`` or ``qwen3``.
        blocks: Count.
        heads: Query heads of a block; count.
        kv_heads: Key/value heads of a block, each with ``heads / kv_heads`` query heads; count.
        key_values: Width of a query or key; values.
        value_values: Width of a value; values.
        channels: Of the feed-forward part; count.
        has_experts: Whether that part is a mixture of experts.
    """

    architecture: str
    blocks: int
    heads: int
    kv_heads: int
    key_values: int
    value_values: int
    channels: int
    has_experts: bool

    @property
    def heads_a_group(self) -> int:
        """Query heads that share a key/value head."""
        return self.heads // self.kv_heads

    @property
    def attention_columns(self) -> int:
        """Inputs of ``attn_output``."""
        return self.heads * self.value_values


def shape_of(header: GgufHeader) -> Shape:
    """The shape of a model that can be pruned.

    Args:
        header: Of its file.

    Raises:
        InvalidError: ``wrong-architecture``, with the list; ``uneven-blocks``: its blocks differ in shape.
    """
    architecture = header.text("general.architecture") or "none"
    if architecture not in ARCHITECTURES:
        near = difflib.get_close_matches(architecture, ARCHITECTURES, n=1)
        raise InvalidError(
            "wrong-architecture",
            f"{header.name} is a network of architecture {architecture!r}, expected one of {', '.join(ARCHITECTURES)} "
            "(Mistral is llama)" + (f"; nearest is {near[0]!r}" if near else ""),
            hint="choose another model; quantizing makes this one smaller, too",
        )
    blocks = _count(header, "block_count")
    heads = _count(header, "attention.head_count")
    kv_heads = _count(header, "attention.head_count_kv", heads)
    width = _count(header, "embedding_length")
    if heads % kv_heads:
        raise _uneven(header, f"{heads} heads do not share {kv_heads} key/value heads evenly")
    found = Shape(
        architecture=architecture,
        blocks=blocks,
        heads=heads,
        kv_heads=kv_heads,
        key_values=_count(header, "attention.key_length", width // heads),
        value_values=_count(header, "attention.value_length", width // heads),
        channels=_count(header, "feed_forward_length"),
        has_experts=bool(header.integer(f"{architecture}.expert_count")),
    )
    _check_blocks(header, found)
    return found


def check_width(names: Iterable[str], what: str) -> None:
    """Makes sure that every tensor of the blocks is known, so that none keeps a width that the others have lost.

    Args:
        names: Of all tensors.
        what: The model, for the error.

    Raises:
        InvalidError: ``unknown-tensor``.
    """
    for name in names:
        match = BLOCK.fullmatch(name)
        if match is not None and match[2] not in _WIDTH_PARTS:
            raise InvalidError(
                "unknown-tensor",
                f"{what} cannot be made narrower: nobody here knows how tensor {name!r} is cut",
                hint="drop blocks instead: depth",
            )


def check_depth(names: Iterable[str], what: str) -> None:
    """Makes sure that a block whose inputs are zero says nothing.

    Args:
        names: Of all tensors.
        what: The model, for the error.

    Raises:
        InvalidError: ``unknown-tensor``.
    """
    biased = next((name for name in names if name.endswith((".attn_output.bias", ".ffn_down.bias"))), None)
    if biased is not None:
        raise InvalidError(
            "unknown-tensor",
            f"blocks of {what} cannot be weighed, for {biased!r} speaks even when the block is silent",
            hint="make it narrower instead: width",
        )


def _check_blocks(header: GgufHeader, shape: Shape) -> None:
    """The matrices through which blocks speak have the shape that the metadata say."""
    shapes = {tensor.name: tensor.shape for tensor in header.tensors}
    for block in range(shape.blocks):
        output = shapes.get(f"blk.{block}.{ATTENTION_OUTPUT}")
        if output is None or output[0] != shape.attention_columns:
            raise _uneven(header, f"block {block} has no {ATTENTION_OUTPUT} of {shape.attention_columns:,} columns")
        down = shapes.get(f"blk.{block}.{EXPERTS_OUTPUT if shape.has_experts else FEED_FORWARD_OUTPUT}")
        if down is None or down[0] != shape.channels:
            raise _uneven(header, f"block {block} has no {FEED_FORWARD_OUTPUT} of {shape.channels:,} columns")


def _count(header: GgufHeader, key: str, default: int | None = None) -> int:
    whole = f"{header.text('general.architecture')}.{key}"
    array = header.array(whole)
    if array is not None:
        items = set(array.items or ())
        found = items.pop() if len(items) == 1 else None
        if not isinstance(found, int):
            raise _uneven(header, f"{whole} differs from block to block")
    else:
        found = header.integer(whole)
    if found is None:
        found = default
    if found is None or found < 1:
        raise _uneven(header, f"{whole} is {found}, expected a count from 1 on")
    return found


def _uneven(header: GgufHeader, problem: str) -> InvalidError:
    return InvalidError(
        "uneven-blocks",
        f"{header.name} cannot be pruned, for its blocks are not all of one known shape: {problem}",
        hint="prune the model that it was made of",
    )

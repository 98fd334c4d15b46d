"""What is to be cut away, as plain values, and what a model without it is like before it is cut. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from undercroft.core.errors import InvalidError
from undercroft.optimize.pruning.shapes import (
    ATTENTION_OUTPUT,
    EXPERTS_OUTPUT,
    FEED_FORWARD_OUTPUT,
    Shape,
)

Indices = NDArray[np.int64]
Muted = dict[str, list[int]]


@dataclass(frozen=True, slots=True)
class Sparsity:
    """Which weights of a row become zero: those that say least.

    Args:
        ratio: Share of the weights that become zero; between 0 and 1.
        group: Of how many neighbours each; ``group * ratio`` of each group become zero. 0 is the whole row.
    """

    ratio: float
    group: int = 0

    @property
    def name(self) -> str:
        """``2:4``, ``0.5``."""
        return f"{round(self.group * (1 - self.ratio))}:{self.group}" if self.group else f"{self.ratio:g}"


TWO_OF_FOUR = Sparsity(0.5, 4)


@dataclass(frozen=True, slots=True)
class Changes:
    """What is done to a model; one of the four.

    Args:
        dropped: Blocks that go, by number; the others keep their order.
        channels: Block → channels of its feed-forward part that stay, ascending; the same count in each.
        groups: Block → key/value heads that stay with their query heads, ascending; the same count in each.
        sparsity: What becomes zero in every matrix of every block; None nothing.
    """

    dropped: frozenset[int] = frozenset()
    channels: Mapping[int, Indices] = field(default_factory=dict)
    groups: Mapping[int, Indices] = field(default_factory=dict)
    sparsity: Sparsity | None = None


def shape_after(shape: Shape, changes: Changes) -> Shape:
    """The shape that a model has once something is cut.

    Args:
        shape: Before.
        changes: What is cut; as many of each kind, whichever.
    """
    groups = len(next(iter(changes.groups.values()))) if changes.groups else shape.kv_heads
    return replace(
        shape,
        blocks=shape.blocks - len(changes.dropped),
        kv_heads=groups,
        heads=groups * shape.heads_a_group,
        channels=len(next(iter(changes.channels.values()))) if changes.channels else shape.channels,
    )


def muted_by(changes: Changes, shape: Shape) -> Muted:
    """Inputs of weights that are zero in effect: with them left out, the source computes what the pruned one does.

    Args:
        changes: What is cut.
        shape: Of the source.
    """
    muted: Muted = {}
    for block in changes.dropped:
        muted |= block_muted(block, shape)
    for block, kept in changes.channels.items():
        gone = np.setdiff1d(np.arange(shape.channels), kept)
        muted[f"blk.{block}.{FEED_FORWARD_OUTPUT}"] = gone.tolist()
    for block, kept in changes.groups.items():
        gone = np.setdiff1d(np.arange(shape.attention_columns), group_values(kept, shape, shape.value_values))
        muted[f"blk.{block}.{ATTENTION_OUTPUT}"] = gone.tolist()
    return muted


def block_muted(block: int, shape: Shape) -> Muted:
    """Everything through which a block speaks."""
    output = EXPERTS_OUTPUT if shape.has_experts else FEED_FORWARD_OUTPUT
    return {
        f"blk.{block}.{ATTENTION_OUTPUT}": list(range(shape.attention_columns)),
        f"blk.{block}.{output}": list(range(shape.channels)),
    }


def group_values(groups: Indices, shape: Shape, head_values: int) -> Indices:
    """Which values of queries, or of what heads say, belong to groups.

    Args:
        groups: Key/value heads, ascending.
        shape: Of the model.
        head_values: Width of a head; values.
    """
    return _spread(groups, shape.heads_a_group * head_values)


def key_values(groups: Indices, head_values: int) -> Indices:
    """Which values of keys belong to groups, or of values."""
    return _spread(groups, head_values)


def _spread(numbers: Indices, size: int) -> Indices:
    """``[1, 3]`` of size 2 → ``[2, 3, 6, 7]``."""
    spread: Indices = (numbers[:, None] * size + np.arange(size)).reshape(-1)
    return spread


def most_important(scores: NDArray[np.float64], count: int) -> Indices:
    """Places of the highest scores, ascending; of equal ones the first.

    Args:
        scores: One for each that may stay.
        count: That stay.
    """
    return np.sort(np.argsort(-scores, kind="stable")[:count])


def kept_channels(channels: int, ratio: float) -> int:
    """How many channels stay, so that rows still fit the blocks in which quantized weights are stored.

    The count is a multiple of the largest of 256, 128, 64 and 32 that divides the source's and leaves a choice of at
    least eight; of 1 where none does.

    Args:
        channels: Of the source; count.
        ratio: That should stay; between 0 and 1.

    Raises:
        InvalidError: ``nothing-to-do``: all would stay.
    """
    unit = next((size for size in (256, 128, 64, 32) if channels % size == 0 and channels // size >= 8), 1)
    kept = max(unit, int(channels * ratio / unit + 0.5) * unit)
    if kept >= channels:
        raise InvalidError(
            "nothing-to-do",
            f"{ratio:g} of {channels:,} channels are all of them, for they are cut {unit} at a time",
            hint=f"give ffn={(channels - unit) / channels:.2f} or less",
        )
    return kept


def kept_groups(shape: Shape, ratio: float) -> int:
    """How many key/value heads stay.

    Args:
        shape: Of the source.
        ratio: Of its heads that should stay; between 0 and 1.

    Raises:
        InvalidError: ``nothing-to-do``: all would stay.
    """
    kept = max(1, int(shape.kv_heads * ratio + 0.5))
    if kept >= shape.kv_heads:
        most = (shape.kv_heads - 1) / shape.kv_heads
        raise InvalidError(
            "nothing-to-do",
            f"{ratio:g} of {shape.kv_heads} key/value heads are all of them, and query heads go with theirs",
            hint=f"give heads={most:.2f} or less" if most > 0 else "leave heads out; this model has one group only",
        )
    return kept

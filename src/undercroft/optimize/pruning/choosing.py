"""Measures, on texts of the user's, what matters least to a model; the model itself is run, and not changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from undercroft.core.errors import InvalidError
from undercroft.optimize.measures.importance import collect_importance
from undercroft.optimize.measures.omissions import Omission, measure_omissions
from undercroft.optimize.measures.reading import Reading
from undercroft.optimize.pruning.changes import (
    Changes,
    Indices,
    Muted,
    block_muted,
    kept_channels,
    kept_groups,
    most_important,
)
from undercroft.optimize.pruning.shapes import ATTENTION_OUTPUT, FEED_FORWARD_OUTPUT, Shape
from undercroft.optimize.pruning.writing import column_norms
from undercroft.optimize.quantization.importance import ImportanceMatrix
from undercroft.optimize.quantization.library import Floats, open_library
from undercroft.optimize.quantization.source import Source

Report = Callable[[int, int, str], None]

_WINDOW_TOKENS = 256
_MOST_TOKENS = 16 * _WINDOW_TOKENS


@dataclass(frozen=True, slots=True)
class DroppedBlock:
    """One that goes.

    Args:
        block: Its number, in the source.
        divergence_nats: Mean divergence from the source without it and those that were chosen before; nats a token.
        candidates: What each block would have cost at that moment: number in the source → nats a token.
    """

    block: int
    divergence_nats: float
    candidates: dict[int, float]


def choose_blocks(
    model: Path, texts: Sequence[str], shape: Shape, count: int, *, threads: int, report: Report
) -> tuple[DroppedBlock, ...]:
    """Drops the block that is missed least, then the one that is missed least without it, and so on.

    Every block that is left is tried in every round, on at most 4,096 tokens in windows of 256, spread over the texts.

    Args:
        model: GGUF file.
        texts: The user's own.
        shape: Of the model.
        count: Blocks to drop.
        threads: Processors to use; count.
        report: Told what is done, of what, and in words.

    Raises:
        InvalidError: Texts or the model cannot be used.
        UnavailableError: Memory is short, or the process died.
    """
    gone: Muted = {}
    found: list[DroppedBlock] = []
    left = list(range(shape.blocks))
    for number in range(count):
        tried = _omitted(
            model,
            texts,
            [gone | block_muted(block, shape) for block in left],
            threads,
            lambda done, total, number=number: report(  # type: ignore[misc]  # bound now, called now
                done, total, f"trying blocks, round {number + 1} of {count}"
            ),
        )
        candidates = {block: omission.divergence_nats for block, omission in zip(left, tried, strict=True)}
        least = min(left, key=lambda block: (candidates[block], -block))
        found.append(DroppedBlock(least, candidates[least], candidates))
        left.remove(least)
        gone |= block_muted(least, shape)
    return tuple(found)


def collect(model: Path, texts: Sequence[str], *, threads: int, report: Report) -> ImportanceMatrix:
    """What reaches each weight while the texts are read.

    Args:
        model: GGUF file.
        texts: The user's own.
        threads: Processors to use; count.
        report: Told windows, and all of them.

    Raises:
        InvalidError: Texts or the model cannot be used.
        UnavailableError: Memory is short, or the process died.
    """
    return collect_importance(
        model,
        texts,
        Reading(threads=threads, has_marks=True),
        report=lambda done, total: report(done, total, "reading texts"),
    )


def choose_width(
    model: Path, shape: Shape, matrix: ImportanceMatrix, *, channels_ratio: float | None, heads_ratio: float | None
) -> Changes:
    """Which channels and heads say most, in each block by itself: mean size of what each adds to the block's answer.

    Args:
        model: GGUF file.
        shape: Of it.
        matrix: What reached its weights.
        channels_ratio: Of the channels that should stay; None all.
        heads_ratio: Of the heads that should stay; None all.

    Raises:
        InvalidError: ``nothing-to-do``, or the matrix says nothing of a block.

    Source:
        Each input's root mean square times the norm of the column that carries it on: Wanda's score (Sun et al., 2024),
        summed as squares over the rows of a column and over the columns of a head.
    """
    channels: dict[int, Indices] = {}
    groups: dict[int, Indices] = {}
    with Source(model) as opened:
        for block in range(shape.blocks):
            if channels_ratio is not None:
                says = _says(opened, f"blk.{block}.{FEED_FORWARD_OUTPUT}", matrix)
                channels[block] = most_important(says, kept_channels(shape.channels, channels_ratio))
            if heads_ratio is not None:
                says = _says(opened, f"blk.{block}.{ATTENTION_OUTPUT}", matrix).reshape(shape.kv_heads, -1)
                groups[block] = most_important(says.sum(axis=1), kept_groups(shape, heads_ratio))
    return Changes(channels=channels, groups=groups)


def _says(opened: Source, name: str, matrix: ImportanceMatrix) -> NDArray[np.float64]:
    """Mean square of what each input of a matrix adds to its outputs; shape ``(columns,)``."""
    weights = {tensor.name: tensor for tensor in opened.tensors}
    squares: Floats | None = matrix.weights(name)
    if squares is None:
        raise InvalidError(
            "importance-does-not-fit", f"the texts said nothing of what reaches {name!r}", hint="give more texts"
        )
    norms = column_norms(opened, name, weights[name].kind, weights[name].shape, open_library())
    found: NDArray[np.float64] = squares[0].astype(np.float64) * np.square(norms, dtype=np.float64)
    return found


def _omitted(
    model: Path, texts: Sequence[str], variations: Sequence[Muted], threads: int, report: Callable[[int, int], None]
) -> tuple[Omission, ...]:
    reading = Reading(threads=threads, has_marks=True, window_tokens=_WINDOW_TOKENS)
    return measure_omissions(model, texts, variations, reading, most_tokens=_MOST_TOKENS, report=report)

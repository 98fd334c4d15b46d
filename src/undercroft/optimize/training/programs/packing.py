"""Sequences into rows of equal length, rows into steps: the same for the same seed, whenever it is asked. Pure.

A sequence is never cut and never seen by another one: each counts its positions from 0, and a mask lets a token see
only what stands before it in its own sequence.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_OPEN_ROWS = 64  # that a sequence is tried in
_ROUND_TOKENS = 64  # few different shapes, since torch keeps what it prepares for each

Row = tuple[int, ...]  # numbers of sequences


@dataclass(frozen=True, slots=True)
class Sequences:
    """All that is read, as it was written.

    Args:
        tokens: Of all sequences, joined; shape ``(tokens,)``.
        judged: Whether each has to be foretold; as long.
        lengths: Of each sequence; tokens.
        held: Whether what is expected in each is to stay as it is; as long as ``lengths``.
    """

    tokens: NDArray[np.int32]
    judged: NDArray[np.bool_]
    lengths: NDArray[np.int64]
    held: NDArray[np.bool_]

    @classmethod
    def load(cls, path: str) -> Sequences:
        """Reads a file."""
        with np.load(path) as found:
            lengths = found["lengths"]
            # A job that was begun before there was such a thing goes on without it.
            held = found["held"] if "held" in found else np.zeros(len(lengths), np.bool_)
            return cls(found["tokens"], found["judged"], lengths, held)

    @property
    def begins(self) -> NDArray[np.int64]:
        """Where each begins."""
        found: NDArray[np.int64] = np.concatenate([[0], np.cumsum(self.lengths)[:-1]])
        return found


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows as they are computed.

    Args:
        tokens: Shape ``(rows, tokens)``; 0 where a row is not full.
        positions: Of each in its own sequence; the same shape.
        segments: Number of its sequence; -1 where a row is not full; the same shape.
        places: Of tokens after which one is foretold, in the flattened rows; shape ``(judged,)``.
        targets: What comes there; shape ``(judged,)``.
        owners: Its sequence, in the order of `order`; shape ``(judged,)``.
        held: Whether that is held; shape ``(judged,)``.
        order: Numbers of the sequences.
    """

    tokens: NDArray[np.int64]
    positions: NDArray[np.int64]
    segments: NDArray[np.int64]
    places: NDArray[np.int64]
    targets: NDArray[np.int64]
    owners: NDArray[np.int64]
    held: NDArray[np.bool_]
    order: Row

    def mask(self) -> NDArray[np.bool_]:
        """What each token sees: itself and what stands before it in its own sequence; ``(rows, 1, tokens, tokens)``."""
        length = self.tokens.shape[1]
        same = self.segments[:, :, None] == self.segments[:, None, :]
        found: NDArray[np.bool_] = (same & np.tri(length, dtype=np.bool_))[:, None]
        return found


def pack(lengths: NDArray[np.int64], order: Sequence[int], window_tokens: int, together: int) -> list[Row]:
    """Whole sequences into rows, each into the first open row that has room.

    Args:
        lengths: Of each sequence; tokens.
        order: Numbers of groups, in which they are taken.
        window_tokens: Most of a row.
        together: Sequences of a group, which stay in one row; 1, or 2 for pairs.

    Returns:
        Rows, in the order in which they were begun.
    """
    rows: list[list[int]] = []
    room: list[int] = []
    for group in order:
        numbers = range(group * together, (group + 1) * together)
        needed = int(sum(lengths[number] for number in numbers))
        for place in range(max(0, len(rows) - _OPEN_ROWS), len(rows)):
            if room[place] >= needed:
                break
        else:
            place = len(rows)
            rows.append([])
            room.append(window_tokens)
        rows[place].extend(numbers)
        room[place] -= needed
    return [tuple(row) for row in rows]


def plan_steps(sequences: Sequences, schedule: dict[str, Any], seed: int, *, together: int) -> list[list[list[Row]]]:
    """All steps of a training: of each its batches, of each of these its rows.

    Args:
        sequences: That are learnt from.
        schedule: As the order has it.
        seed: Of the order in which they are read, another one each epoch.
        together: See `pack`.
    """
    groups, epochs = len(sequences.lengths) // together, float(schedule["epochs"])
    rows_a_batch, batches_a_step = schedule["batch_rows"], schedule["accumulation"]
    steps: list[list[list[Row]]] = []
    for epoch in range(math.ceil(epochs)):
        order = np.random.default_rng([seed, epoch]).permutation(groups)
        rows = pack(sequences.lengths, order.tolist(), schedule["window_tokens"], together)
        batches = [rows[begin : begin + rows_a_batch] for begin in range(0, len(rows), rows_a_batch)]
        found = [batches[begin : begin + batches_a_step] for begin in range(0, len(batches), batches_a_step)]
        share = min(epochs - epoch, 1.0)
        steps += found[: max(1, round(len(found) * share))]
    return steps


def plan_reading(sequences: Sequences, window_tokens: int, batch_rows: int, *, together: int) -> list[list[Row]]:
    """Batches that read every sequence once, in order."""
    rows = pack(sequences.lengths, range(len(sequences.lengths) // together), window_tokens, together)
    return [rows[begin : begin + batch_rows] for begin in range(0, len(rows), batch_rows)]


def lay_out(sequences: Sequences, rows: Sequence[Row], window_tokens: int) -> Batch:
    """Rows side by side, no longer than they have to be."""
    begins, lengths = sequences.begins, sequences.lengths
    longest = max(int(sum(lengths[number] for number in row)) for row in rows)
    width = max(longest, min(window_tokens, -(-longest // _ROUND_TOKENS) * _ROUND_TOKENS))
    tokens = np.zeros((len(rows), width), np.int64)
    positions, segments = np.zeros_like(tokens), np.full_like(tokens, -1)
    places, targets, owners, order = list[Any](), list[Any](), list[Any](), list[int]()
    for index, row in enumerate(rows):
        place = 0
        for number in row:
            length, begin = int(lengths[number]), int(begins[number])
            own = sequences.tokens[begin : begin + length]
            tokens[index, place : place + length] = own
            positions[index, place : place + length] = np.arange(length)
            segments[index, place : place + length] = number
            counted = np.flatnonzero(sequences.judged[begin + 1 : begin + length])
            places.append(index * width + place + counted)
            targets.append(own[counted + 1])
            owners.append(np.full(len(counted), len(order), np.int64))
            order.append(number)
            place += length
    joined = [np.concatenate(parts).astype(np.int64) for parts in (places, targets, owners)]
    held = sequences.held[order][joined[2]]
    return Batch(tokens, positions, segments, joined[0], joined[1], joined[2], held, tuple(order))

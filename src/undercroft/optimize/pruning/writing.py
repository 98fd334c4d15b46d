"""Writes the tensors of a plan, a piece of rows at a time, and reads each back.

No tensor is in memory as a whole, so a model of any size takes the same memory.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from undercroft.core.errors import InvalidError
from undercroft.optimize.pruning.changes import Sparsity
from undercroft.optimize.pruning.planning import PrunedTensor, PruningPlan, stored_bytes
from undercroft.optimize.quantization.importance import ImportanceMatrix
from undercroft.optimize.quantization.library import Bytes, Floats, Library
from undercroft.optimize.quantization.new_file import write_exactly
from undercroft.optimize.quantization.schemes import TYPES
from undercroft.optimize.quantization.source import Source, read_exactly

_PIECE_VALUES = 1024 * 1024
_ELEMENTS: dict[str, np.dtype[Any]] = {
    "F32": np.dtype(np.uint32),
    "F16": np.dtype(np.uint16),
    "BF16": np.dtype(np.uint16),
}


class Writer:
    """One run: a source, an open file of the planned size, and what makes weights important.

    Args:
        source: Open.
        file: Descriptor, open for reading and writing.
        library: Of the engine.
        importance: What reaches the weights; None where nothing becomes zero.
    """

    def __init__(self, source: Source, file: int, library: Library, importance: ImportanceMatrix | None) -> None:
        self._source, self._file, self._library, self._importance = source, file, library, importance
        self._zeros = self._weights = 0

    def run(self, plan: PruningPlan, report: Callable[[int, int], None]) -> float:
        """Writes everything but the header.

        Args:
            plan: What.
            report: Told bytes done and bytes in all.

        Returns:
            Share of the weights that were to become sparse that are zero now; 0 where none were.

        Raises:
            InvalidError: ``damaged-tensor``, with its name; ``importance-does-not-fit``.
            OSError: The disk is full, or the source cannot be read.
        """
        done = 0
        for tensor in plan.tensors:
            written = checked = 0
            begin = tensor.begin
            for content in self._pieces(tensor):
                write_exactly(self._file, content, begin)
                written = zlib.crc32(content.data, written)
                begin += content.size
                done += content.size
                report(done, plan.size_bytes)
            if begin != tensor.begin + tensor.size_bytes:
                raise _damaged(tensor.name, f"has {begin - tensor.begin:,} bytes, expected {tensor.size_bytes:,}")
            for content in self._read_back(tensor):
                checked = zlib.crc32(content.data, checked)
            if checked != written:
                raise _damaged(tensor.name, "does not read back from the disk as it was written")
        return self._zeros / self._weights if self._weights else 0.0

    def _pieces(self, tensor: PrunedTensor) -> Iterator[Bytes]:
        """What is written of a tensor, flat."""
        columns = tensor.source_shape[0]
        count = 1
        for size in tensor.source_shape[1:]:
            count *= size
        row_bytes = stored_bytes(tensor.source_kind, columns)
        most = max(1, _PIECE_VALUES // columns)
        kept = np.ones(count, bool)
        if tensor.rows is not None:
            kept[:] = False
            kept[tensor.rows] = True
        for first in range(0, count, most):
            rows = kept[first : first + most]
            if rows.any():
                blocks = np.empty(len(rows) * row_bytes, np.uint8)
                self._source.read(tensor.source_name, first * row_bytes, blocks)
                yield self._changed(tensor, blocks.reshape(len(rows), row_bytes)[rows])

    def _changed(self, tensor: PrunedTensor, blocks: Bytes) -> Bytes:
        if tensor.columns is None and tensor.sparsity is None:
            return np.ascontiguousarray(blocks).reshape(-1)
        raw = np.ascontiguousarray(blocks)
        if tensor.kind != tensor.source_kind:
            raw = self._opened(tensor.source_kind, raw, tensor.kind)
        elements: NDArray[Any] = raw.view(_ELEMENTS[tensor.kind])
        if tensor.columns is not None:
            elements = elements[:, tensor.columns]
        if tensor.sparsity is not None:
            elements[self._zeroed(tensor, raw, tensor.sparsity)] = 0
            self._zeros += int((self._floats(tensor.kind, raw) == 0).sum())
            self._weights += elements.size
        return np.ascontiguousarray(elements).reshape(-1).view(np.uint8)

    def _zeroed(self, tensor: PrunedTensor, raw: Bytes, sparsity: Sparsity) -> NDArray[np.bool_]:
        weights = self._importance.weights(tensor.source_name) if self._importance is not None else None
        if weights is None or weights.shape != (1, tensor.source_shape[0]):
            raise InvalidError(
                "importance-does-not-fit",
                f"the texts said nothing of what reaches tensor {tensor.source_name!r}",
                hint="give more texts",
            )
        return least_important(self._floats(tensor.kind, raw), weights[0], sparsity)

    def _opened(self, kind: str, blocks: Bytes, into: str) -> Bytes:
        """Rows of another type, as values that can be cut one by one."""
        values = self._floats(kind, blocks)
        made = np.empty((len(values), stored_bytes(into, values.shape[1])), np.uint8)
        self._library.quantize(into, values, None, made)
        return made

    def _floats(self, kind: str, blocks: Bytes) -> Floats:
        values = np.empty((len(blocks), blocks.shape[1] // TYPES[kind].block_bytes * TYPES[kind].block), np.float32)
        self._library.dequantize(kind, blocks, values)
        return values

    def _read_back(self, tensor: PrunedTensor) -> Iterator[Bytes]:
        for first in range(0, tensor.size_bytes, _PIECE_VALUES):
            content = np.empty(min(_PIECE_VALUES, tensor.size_bytes - first), np.uint8)
            read_exactly(self._file, tensor.begin + first, content, tensor.name)
            yield content


def least_important(weights: Floats, squares: Floats, sparsity: Sparsity) -> NDArray[np.bool_]:
    """Which weights become zero: in each row those with the least product of size and input. Pure.

    Args:
        weights: Shape ``(rows, columns)``.
        squares: Mean square of each input; shape ``(columns,)``.
        sparsity: How many.

    Returns:
        Shape ``(rows, columns)``; True where one goes.

    Source:
        Sun et al., A Simple and Effective Pruning Approach for Large Language Models (Wanda), 2024: ``|W| · ‖X‖₂``,
        compared within a row, or within groups of it.
    """
    scores = np.abs(weights) * np.sqrt(squares)
    rows, columns = scores.shape
    group = sparsity.group or columns
    count = round(group * sparsity.ratio)
    grouped = scores.reshape(rows, columns // group, group)
    order = np.argsort(grouped, axis=-1, kind="stable")
    gone = np.zeros(grouped.shape, bool)
    np.put_along_axis(gone, order[..., :count], True, axis=-1)
    return gone.reshape(rows, columns)


def column_norms(source: Source, name: str, kind: str, shape: tuple[int, ...], library: Library) -> Floats:
    """Root of the sum of squares of each column of a matrix, read a piece at a time.

    Args:
        source: Open.
        name: Of the tensor.
        kind: Name of its type.
        shape: Innermost first.
        library: Of the engine.

    Returns:
        Shape ``(columns,)``.
    """
    columns, count = shape[0], shape[1]
    row_bytes = stored_bytes(kind, columns)
    most = max(1, _PIECE_VALUES // columns)
    sums = np.zeros(columns, np.float64)
    for first in range(0, count, most):
        rows = min(most, count - first)
        blocks, values = np.empty(rows * row_bytes, np.uint8), np.empty((rows, columns), np.float32)
        source.read(name, first * row_bytes, blocks)
        library.dequantize(kind, blocks, values)
        sums += np.square(values).sum(axis=0, dtype=np.float64)
    return np.sqrt(sums).astype(np.float32)


def _damaged(name: str, problem: str) -> InvalidError:
    return InvalidError("damaged-tensor", f"tensor {name!r} {problem}", hint="check the disk, then try again")

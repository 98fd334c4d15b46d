"""Writes the tensors of a plan, a piece of rows at a time on every thread, and reads each back.

Threads work in llama.cpp's functions, which let others run meanwhile. No tensor is in memory as a whole, so a model of
any size takes the same memory: a few pieces a thread.
"""

from __future__ import annotations

import functools
import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from undercroft.core.errors import InvalidError
from undercroft.optimize.quantization.importance import ImportanceMatrix
from undercroft.optimize.quantization.library import Bytes, Floats, Library
from undercroft.optimize.quantization.losses import Loss, check_loss, compare
from undercroft.optimize.quantization.new_file import write_exactly
from undercroft.optimize.quantization.planning import Plan, PlannedTensor
from undercroft.optimize.quantization.schemes import TYPES
from undercroft.optimize.quantization.source import Source, read_exactly

# Values: with the bytes that they come from and go to they stay in a processor's own memory.
_PIECE_VALUES = 256 * 1024
_WAITING_PIECES = 4  # a thread
# Of NVFP4: 6, the largest E2M1, by 448, the largest E4M3.
_LARGEST_OF_BLOCKS = 6.0 * 448.0


@dataclass(frozen=True, slots=True)
class _Piece:
    """Rows of one matrix of a tensor: ``count`` of them from ``first`` on, counted over the whole stack."""

    matrix: int
    first: int
    count: int


@dataclass(frozen=True, slots=True)
class _Task:
    """Something under way: a piece of tensor ``number``, worth ``size_bytes`` of progress."""

    number: int
    size_bytes: int
    result: Future[Loss | None]


class _Room(threading.local):
    """Memory of one thread, used again for each piece: to get it from the system anew takes longer than to compare.

    What `take` gave is overwritten by the next piece that takes it under the same name.
    """

    def __init__(self) -> None:
        self._held: dict[str, Bytes] = {}

    def take(self, name: str, size_bytes: int) -> Bytes:
        """Flat memory of a size, with whatever it holds."""
        held = self._held.get(name)
        if held is None or held.size < size_bytes:
            held = self._held[name] = np.empty(size_bytes, np.uint8)
        return held[:size_bytes]


class Writer:
    """One run: a source, an open file of the planned size, and what was seen so far.

    Args:
        source: Open.
        plan: Made for it.
        file: Descriptor, open for reading and writing.
        library: Of the engine.
        importance: As the plan was made; None without.
    """

    def __init__(
        self, source: Source, plan: Plan, file: int, library: Library, importance: ImportanceMatrix | None
    ) -> None:
        self._source = source
        self._plan = plan
        self._file = file
        self._library = library
        self._weights = _usable_weights(plan, importance)
        self._room = _Room()
        self._losses = [Loss() for _ in plan.tensors]
        self._scales: dict[str, Floats] = {}

    def run(self, threads: int, report: Callable[[int, int], None]) -> list[Loss]:
        """Writes and compares everything but the header.

        Args:
            threads: That work; count.
            report: Told, in the caller's thread, bytes done and bytes in all. Each byte of the source counts twice:
                when it was written, and when it was compared; those of a tensor with scales thrice.

        Returns:
            How much was lost, tensor by tensor as planned.

        Raises:
            InvalidError: ``damaged-tensor``, ``bad-numbers``, ``lost-too-much``, with the tensor's name.
            OSError: The disk is full, or the source cannot be read.
        """
        scaled = [tensor for tensor in self._plan.tensors if tensor.scales_begin is not None]
        total = 2 * self._source.size_bytes + sum(_source_bytes(tensor) for tensor in scaled)
        done = 0
        waiting: deque[_Task] = deque()
        with ThreadPoolExecutor(threads, thread_name_prefix="quantize") as pool:
            try:
                written = (task.size_bytes for task in self._tasks(pool, waiting, threads))
                for size in itertools.chain(self._measured(pool, scaled), written):
                    done += size
                    report(done, total)
            finally:
                for task in waiting:
                    task.result.cancel()
        for tensor, loss in zip(self._plan.tensors, self._losses, strict=True):
            check_loss(tensor.name, tensor.kind, loss)
        return self._losses

    def _measured(self, pool: ThreadPoolExecutor, tensors: Sequence[PlannedTensor]) -> Iterator[int]:
        """Finds and writes the scales of matrices; gives the bytes that were read for it.

        The largest value of a matrix becomes the largest number that a block can hold with the largest scale of its
        own, so that no block's scale is too small for its eight bits.
        """
        for tensor in tensors:
            pieces = list(_pieces(tensor))
            scales = np.zeros(tensor.matrices, np.float32)
            found = pool.map(functools.partial(self._largest, tensor), pieces)
            for piece, largest in zip(pieces, found, strict=True):
                scales[piece.matrix] = max(scales[piece.matrix], largest / _LARGEST_OF_BLOCKS)
                yield piece.count * _row_bytes(tensor.source_kind, tensor.columns)
            scales[scales < np.finfo(np.float32).tiny] = 1.0
            assert tensor.scales_begin is not None  # only those are measured
            write_exactly(self._file, scales.view(np.uint8), tensor.scales_begin)
            self._scales[tensor.name] = scales

    def _largest(self, tensor: PlannedTensor, piece: _Piece) -> float:
        rows = self._floats("source floats", tensor.source_kind, self._sound_blocks(tensor, piece))
        return float(np.abs(rows).max())

    def _tasks(self, pool: ThreadPoolExecutor, waiting: deque[_Task], threads: int) -> Iterator[_Task]:
        """Finished ones. A tensor is compared after the next one was given out, so that nobody waits for its end."""
        for number in range(len(self._plan.tensors) + 1):
            if number < len(self._plan.tensors):
                for piece in _pieces(self._plan.tensors[number]):
                    yield from self._settle(waiting, _WAITING_PIECES * threads)
                    waiting.append(self._given(pool, self._write, number, piece))
            if number > 0:
                while any(task.number == number - 1 for task in waiting):
                    yield from self._settle(waiting, len(waiting) - 1)
                for piece in _pieces(self._plan.tensors[number - 1]):
                    yield from self._settle(waiting, _WAITING_PIECES * threads)
                    waiting.append(self._given(pool, self._compare, number - 1, piece))
        yield from self._settle(waiting, 0)

    def _settle(self, waiting: deque[_Task], most: int) -> Iterator[_Task]:
        while len(waiting) > most:
            task = waiting.popleft()
            loss = task.result.result()
            if loss is not None:
                self._losses[task.number].add(loss)
            yield task

    def _given(
        self,
        pool: ThreadPoolExecutor,
        function: Callable[[PlannedTensor, _Piece], Loss | None],
        number: int,
        piece: _Piece,
    ) -> _Task:
        tensor = self._plan.tensors[number]
        size = piece.count * _row_bytes(tensor.source_kind, tensor.columns)
        return _Task(number, size, pool.submit(function, tensor, piece))

    def _write(self, tensor: PlannedTensor, piece: _Piece) -> None:
        row_bytes = _row_bytes(tensor.kind, tensor.columns)
        blocks = self._sound_blocks(tensor, piece)
        if tensor.kind != tensor.source_kind:
            rows = self._floats("source floats", tensor.source_kind, blocks).reshape(piece.count, tensor.columns)
            if tensor.name in self._scales:
                rows = np.divide(rows, self._scales[tensor.name][piece.matrix], out=self._scaled_rows(rows))
            blocks = self._room.take("written", piece.count * row_bytes).reshape(piece.count, row_bytes)
            try:
                self._library.quantize(tensor.kind, rows, self._weights_of(tensor, piece), blocks)
            except InvalidError as error:
                raise InvalidError(error.code, f"tensor {tensor.name!r}: {error.message}", hint=error.hint) from error
        write_exactly(self._file, blocks.reshape(-1), tensor.begin + piece.first * row_bytes)

    def _compare(self, tensor: PlannedTensor, piece: _Piece) -> Loss:
        row_bytes = _row_bytes(tensor.kind, tensor.columns)
        begin = tensor.begin + piece.first * row_bytes
        written = self._room.take("written", piece.count * row_bytes)
        read_exactly(self._file, begin, written, tensor.name)
        source = self._source_blocks(tensor, piece)
        if tensor.kind == tensor.source_kind:
            if not np.array_equal(source, written):
                raise InvalidError(
                    "damaged-tensor",
                    f"tensor {tensor.name!r} does not read back from the disk as it was written",
                    hint="check the disk, then try again",
                )
            return Loss()
        before = self._floats("source floats", tensor.source_kind, source)
        after = self._floats("written floats", tensor.kind, written)
        if tensor.name in self._scales:
            np.multiply(after, self._scales[tensor.name][piece.matrix], out=after)
        return compare(before, after, self._weights_of(tensor, piece))

    def _weights_of(self, tensor: PlannedTensor, piece: _Piece) -> Floats | None:
        weights = self._weights.get(tensor.name)
        return None if weights is None else weights[piece.matrix]

    def _scaled_rows(self, rows: Floats) -> Floats:
        return self._room.take("scaled floats", rows.nbytes).view(np.float32).reshape(rows.shape)

    def _sound_blocks(self, tensor: PlannedTensor, piece: _Piece) -> Bytes:
        blocks = self._source_blocks(tensor, piece)
        if not self._library.is_valid(tensor.source_kind, blocks):
            raise InvalidError(
                "damaged-tensor",
                f"tensor {tensor.name!r} of {self._source.path.name} holds values that are infinite or no numbers",
                hint="bring the model's file again, or train it with a smaller step",
            )
        return blocks

    def _source_blocks(self, tensor: PlannedTensor, piece: _Piece) -> Bytes:
        row_bytes = _row_bytes(tensor.source_kind, tensor.columns)
        blocks = self._room.take("source", piece.count * row_bytes)
        self._source.read(tensor.name, piece.first * row_bytes, blocks)
        return blocks

    def _floats(self, name: str, kind: str, blocks: Bytes) -> Floats:
        if kind == "F32" and name == "source floats":
            return blocks.view(np.float32)
        values = self._room.take(name, blocks.nbytes // TYPES[kind].block_bytes * TYPES[kind].block * 4)
        self._library.dequantize(kind, blocks, values.view(np.float32))
        return values.view(np.float32)


def _usable_weights(plan: Plan, importance: ImportanceMatrix | None) -> dict[str, Floats]:
    """Of the tensors that change; the embeddings' are left out where their shape is another, which is no error."""
    if importance is None:
        return {}
    found = {t.name: importance.weights(t.name) for t in plan.tensors if t.kind != t.source_kind}
    shapes = {tensor.name: (tensor.matrices, tensor.columns) for tensor in plan.tensors}
    return {name: weights for name, weights in found.items() if weights is not None and weights.shape == shapes[name]}


def _pieces(tensor: PlannedTensor) -> Iterator[_Piece]:
    most = max(1, _PIECE_VALUES // tensor.columns)
    for matrix in range(tensor.matrices):
        begin = matrix * tensor.rows_a_matrix
        for row in range(0, tensor.rows_a_matrix, most):
            yield _Piece(matrix, begin + row, min(most, tensor.rows_a_matrix - row))


def _source_bytes(tensor: PlannedTensor) -> int:
    return tensor.matrices * tensor.rows_a_matrix * _row_bytes(tensor.source_kind, tensor.columns)


def _row_bytes(kind: str, columns: int) -> int:
    return columns // TYPES[kind].block * TYPES[kind].block_bytes

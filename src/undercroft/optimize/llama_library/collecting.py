"""In the worker: the sums of squares of what reaches each weight while texts are read: an importance matrix.

The library calls back before and after each node of its graph. Of a multiplication by a weight, the other factor is
read, and the squares of its columns are added up, for each expert by itself where there are several.

Source: llama.cpp, ``tools/imatrix/imatrix.cpp``: which nodes count, how chunks are cut, what is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from undercroft.core.errors import InvalidError
from undercroft.optimize.llama_library import layout
from undercroft.optimize.llama_library.binding import LlamaLibrary
from undercroft.optimize.llama_library.messages import Message
from undercroft.optimize.llama_library.network import Network
from undercroft.optimize.llama_library.orders import Order
from undercroft.optimize.llama_library.scoring import window_rule

_FEWEST_ROWS = 16
_FLOAT_TYPE = 0
_PREFIX = "blk."


@dataclass(slots=True)
class Sums:
    """What was added up for one weight.

    Args:
        squares: Of each input column; shape ``(matrices, columns)``.
        counts: Rows that were added; shape ``(matrices,)`` for experts, ``(1,)`` else.
    """

    squares: NDArray[np.float64]
    counts: NDArray[np.int64]


class Collector:
    """Adds up while the library computes.

    Args:
        library: Whose graph it is.
        fewest_rows: Products of fewer rows are not looked at.
    """

    def __init__(self, library: LlamaLibrary, *, fewest_rows: int) -> None:
        self._library, self._fewest_rows = library, fewest_rows
        self.sums: dict[str, Sums] = {}
        self.failure: BaseException | None = None
        self.observer = layout.EVALUATED(self._observe)

    def _observe(self, address: int, is_question: bool, _data: int | None) -> bool:
        """Says which nodes it wants, and takes them. Nothing may be raised into the library."""
        try:
            tensor = layout.Tensor.from_address(address)
            if is_question:
                return self._is_wanted(tensor)
            if tensor.op == self._library.expert_multiplication:
                self._add_experts(tensor)
            else:
                self._add_matrices(tensor)
        except BaseException as error:  # noqa: BLE001  (the boundary to C: it is raised when the library has returned)
            self.failure = error
            return not is_question
        return True

    def _is_wanted(self, tensor: layout.Tensor) -> bool:
        if tensor.op == self._library.expert_multiplication:
            return True
        if tensor.op != self._library.multiplication:
            return False
        weight, column = (layout.Tensor.from_address(tensor.src[number]) for number in (0, 1))
        has_rows = column.ne[1] >= self._fewest_rows and column.type == _FLOAT_TYPE
        return has_rows and layout.weight_name(weight.name).startswith(_PREFIX)

    def _add_matrices(self, tensor: layout.Tensor) -> None:
        weight, column = (layout.Tensor.from_address(tensor.src[number]) for number in (0, 1))
        values = self._values(tensor.src[1], column, np.dtype(np.float32))
        matrices = weight.ne[2] * weight.ne[3]
        sums = self._sums(weight, matrices, 1, column.ne[0])
        for outer in range(column.ne[3]):
            for inner in range(column.ne[2]):
                number = (outer % weight.ne[3]) * weight.ne[2] + inner % weight.ne[2]
                sums.squares[number] += np.square(values[outer, inner]).sum(axis=0, dtype=np.float64)
        sums.counts += column.ne[1] * column.ne[2] * column.ne[3] // matrices

    def _add_experts(self, tensor: layout.Tensor) -> None:
        weight, column, chosen = (layout.Tensor.from_address(tensor.src[number]) for number in range(3))
        values = self._values(tensor.src[1], column, np.dtype(np.float32))[0]
        experts = self._values(tensor.src[2], chosen, np.dtype(np.int32))[0, 0]
        sums = self._sums(weight, weight.ne[2], weight.ne[2], column.ne[0])
        for slot in range(chosen.ne[0]):
            squares = np.square(values[:, slot % column.ne[1]])
            for expert in np.unique(experts[:, slot]):
                taken = experts[:, slot] == expert
                sums.squares[expert] += squares[taken].sum(axis=0, dtype=np.float64)
                sums.counts[expert] += int(taken.sum())

    def _sums(self, weight: layout.Tensor, matrices: int, counts: int, columns: int) -> Sums:
        name = layout.weight_name(weight.name)
        if name not in self.sums:
            self.sums[name] = Sums(np.zeros((matrices, columns)), np.zeros(counts, np.int64))
        return self.sums[name]

    def _values(self, address: int, tensor: layout.Tensor, kind: np.dtype[Any]) -> NDArray[Any]:
        """A tensor's values, copied out of whatever memory they lie in; its fastest axis comes last."""
        raw = np.empty(self._library.functions.ggml_nbytes(address), np.uint8)
        self._library.functions.ggml_backend_tensor_get(address, raw.ctypes.data, 0, raw.nbytes)
        shape, strides = tuple(reversed(tensor.ne)), tuple(reversed(tensor.nb))
        return np.ndarray(shape, kind, buffer=raw.data, strides=strides)


def chunks(tokens: list[int], chunk_tokens: int, beginning: list[int]) -> list[list[int]]:
    """What is read together, the mark of a beginning included. Pure.

    Args:
        tokens: All texts, one after the other, without a mark of their beginning.
        chunk_tokens: Length of a chunk.
        beginning: The mark, or nothing.

    Returns:
        Whole chunks as llama.cpp's tool cuts them; where there is none, one shorter chunk of all tokens.
    """
    text = [*beginning, *tokens]
    whole = [text[first : first + chunk_tokens] for first in range(0, len(text) - chunk_tokens + 1, chunk_tokens)]
    return [[*beginning, *chunk[len(beginning) :]] for chunk in whole] or [text]


def passages(texts: list[list[int]], marks: list[int], beginning: list[int], window_tokens: int) -> list[list[int]]:
    """What an encoder reads at once: texts by themselves, long ones in parts, each between its marks. Pure.

    Args:
        texts: Tokens of each, without marks.
        marks: What stands around a text without words: beginning and end.
        beginning: How much of it stands before.
        window_tokens: Longest passage, marks included.
    """
    held = window_tokens - len(marks)
    parts = (text[first : first + held] for text in texts for first in range(0, len(text), held))
    return [[*marks[: len(beginning)], *part, *marks[len(beginning) :]] for part in parts]


def collect(order: Order, library: LlamaLibrary, load: Callable[[str], Network]) -> Iterator[Message]:
    """Reads texts and adds up what reaches the weights.

    Args:
        order: What is wanted. Its texts are read as one, joined by line breaks; by a model that makes embeddings, for
            which a text is whole, each by itself.
        library: Whose graph it is.
        load: Loads a model; raises its errors.

    Yields:
        Progress, and one message a weight at the end.

    Raises:
        InvalidError: The model cannot be used, the texts are too short, or values are not finite.
    """
    network = load(order.model)
    window_tokens = window_rule(order, [network]).window_tokens
    pieces = _pieces(order, network, window_tokens)
    seen = sum(len(piece) for piece in pieces)
    if seen < _FEWEST_ROWS:
        raise InvalidError(
            "text-too-short",
            f"the texts have {seen} tokens together, an importance matrix needs at least {_FEWEST_ROWS}",
            hint="give more of your own texts; some ten thousand tokens make a good one",
        )
    collector = Collector(library, fewest_rows=_FEWEST_ROWS if network.is_causal else 1)
    network.open(context_tokens=window_tokens, threads=order.threads, observer=collector.observer)
    for number, piece in enumerate(pieces):
        if network.is_causal:
            for _ in network.logits(piece, first_row=0):
                continue
        else:
            network.compute(piece, position=0, wanted=[True] * len(piece))
        if collector.failure is not None:
            raise collector.failure
        yield Message({"progress": number + 1, "total": len(pieces)})
    for name in sorted(collector.sums):
        sums = collector.sums[name]
        if not np.isfinite(sums.squares).all():
            raise InvalidError(
                "not-finite",
                f"{network.path} computes values that are no numbers before {name}",
                hint="make the model again; its weights are damaged or overflow",
            )
        arrays: dict[str, NDArray[Any]] = {"squares": sums.squares.astype(np.float32), "counts": sums.counts}
        yield Message({"weight": name, "chunks": len(pieces), "chunk_tokens": window_tokens}, arrays)


def _pieces(order: Order, network: Network, window_tokens: int) -> list[list[int]]:
    if network.is_causal:
        tokens = network.tokens("\n".join(order.texts), has_marks=order.has_marks)
        return chunks(tokens, window_tokens, network.beginning)
    texts = [network.tokens(text, has_marks=order.has_marks) for text in order.texts]
    return passages(texts, network.tokens("", has_ends=True), network.beginning, window_tokens)

"""What will be written: every tensor's type and place, decided before the first byte, with all that refuses it.

Source: ``llama_model_quantize_impl`` of llama.cpp, b11549: the order of tensors and keys, what is refused.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from undercroft.core.errors import InvalidError, RefusedError
from undercroft.optimize.quantization.headers import Entry, Key, encode, number_key, padded, text_key
from undercroft.optimize.quantization.importance import ImportanceMatrix
from undercroft.optimize.quantization.mixtures import Network, Weights, choose_types, needs_importance
from undercroft.optimize.quantization.schemes import TYPE_NUMBERS, TYPES, UNQUANTIZED, Scheme

_FORMAT_VERSION = 2  # of the blocks, GGML_QNT_VERSION
_NAME_LIMIT_BYTES = 127
_FILE_TYPE, _VERSION = "general.file_type", "general.quantization_version"
# Its blocks have scales of eight bits, which are held against one number a matrix, in a tensor beside it.
_SCALED = "NVFP4"
_REPLACED = frozenset({_FILE_TYPE, _VERSION})


@dataclass(frozen=True, slots=True)
class PlannedTensor:
    """One tensor of the result.

    Args:
        name: As in the source.
        shape: Innermost first; as in the source, but without ones at the end.
        source_kind: Name of the type that it has.
        kind: Name of the type that it gets.
        begin: In the file; bytes.
        size_bytes: Without padding.
        scales_begin: Where the scales of its matrices stand in the file, one F32 each; bytes, None where it has none.
    """

    name: str
    shape: tuple[int, ...]
    source_kind: str
    kind: str
    begin: int
    size_bytes: int
    scales_begin: int | None = None

    @property
    def columns(self) -> int:
        """Values of a row; count."""
        return self.shape[0]

    @property
    def rows_a_matrix(self) -> int:
        """Rows of one matrix; count."""
        return self.shape[1] if len(self.shape) > 1 else 1

    @property
    def matrices(self) -> int:
        """Matrices in the stack; 1 where it is none."""
        count = 1
        for size in self.shape[2:]:
            count *= size
        return count


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole file.

    Args:
        header: Its first bytes.
        entries: What the header says of every tensor, scales included.
        tensors: Those of the source, in the order of the file; scales stand behind them.
        size_bytes: Of the file.
    """

    header: bytes
    entries: tuple[Entry, ...]
    tensors: tuple[PlannedTensor, ...]
    size_bytes: int


def plan_file(
    tensors: Sequence[Weights],
    keys: Sequence[Key],
    network: Network,
    scheme: Scheme,
    importance: ImportanceMatrix | None,
    *,
    alignment: int,
    allow_requantize: bool = False,
) -> Plan:
    """Decides everything that does not depend on the weights themselves.

    Args:
        tensors: Of the source.
        keys: Metadata of the source.
        network: Its shape.
        scheme: What to make.
        importance: Which columns matter; None without.
        alignment: Of tensors in the file; bytes.
        allow_requantize: Take weights that were rounded before, which loses more than rounding once.

    Raises:
        RefusedError: ``needs-importance``, ``requantizing``.
        InvalidError: ``importance-does-not-fit``, ``unreadable-type``, ``unplaceable-tensor``.
    """
    by_name = {tensor.name: tensor for tensor in tensors}
    if importance is not None:
        importance.check_fits({tensor.name: tensor.shape for tensor in tensors})
    kinds = choose_types(tensors, network, scheme, with_importance=importance is not None)
    changed = [name for name, kind in kinds.items() if kind != by_name[name].kind]
    for name in changed:
        _check_change(by_name[name], kinds[name], scheme, importance, allow_requantize)
    shapes = {name: _written(by_name[name].shape) for name in kinds}
    scaled = [name for name in changed if kinds[name] == _SCALED and _scales_name(name) not in by_name]
    placed = [(name, shapes[name], kind) for name, kind in kinds.items()]
    placed += [(_scales_name(name), (math.prod(shapes[name][2:]),), "F32") for name in scaled]
    sizes = [padded(_size_bytes(shape, kind), alignment) for _, shape, kind in placed]
    *offsets, end = itertools.accumulate(sizes, initial=0)
    entries = tuple(
        Entry(name, shape, TYPE_NUMBERS[kind], offset)
        for (name, shape, kind), offset in zip(placed, offsets, strict=True)
    )
    header = encode(_keys(keys, scheme, importance), entries, alignment)
    begins = {entry.name: len(header) + entry.offset for entry in entries}
    planned = (
        PlannedTensor(
            name,
            shapes[name],
            by_name[name].kind,
            kind,
            begins[name],
            _size_bytes(shapes[name], kind),
            begins[_scales_name(name)] if name in scaled else None,
        )
        for name, kind in kinds.items()
    )
    return Plan(header, entries, tuple(planned), len(header) + end)


def _scales_name(name: str) -> str:
    """As the engine looks for it."""
    return f"{name.removesuffix('.weight')}.scale"


def _keys(keys: Sequence[Key], scheme: Scheme, importance: ImportanceMatrix | None) -> list[Key]:
    new = [number_key(_VERSION, _FORMAT_VERSION), number_key(_FILE_TYPE, scheme.file_type)]
    if importance is not None:
        new.append(text_key("quantize.imatrix.file", _short(importance.name)))
        if importance.datasets:
            new.append(text_key("quantize.imatrix.dataset", _short(importance.datasets[0])))
        new.append(number_key("quantize.imatrix.entries_count", len(importance.sums)))
        if importance.chunks:
            new.append(number_key("quantize.imatrix.chunks_count", importance.chunks))
    replaced = _REPLACED | {key.name for key in new}
    return [key for key in keys if key.name not in replaced] + new


def _written(shape: tuple[int, ...]) -> tuple[int, ...]:
    while len(shape) > 1 and shape[-1] == 1:
        shape = shape[:-1]
    return shape


def _short(name: str) -> str:
    return name.encode()[:_NAME_LIMIT_BYTES].decode(errors="ignore")


def _size_bytes(shape: Sequence[int], kind: str) -> int:
    elements = 1
    for size in shape:
        elements *= size
    return elements // TYPES[kind].block * TYPES[kind].block_bytes


def _check_change(
    tensor: Weights, kind: str, scheme: Scheme, importance: ImportanceMatrix | None, allow_requantize: bool
) -> None:
    if tensor.kind in {"I8", "I16", "I32", "I64", "F64", "Q8_1", "Q8_K"}:
        raise InvalidError(
            "unreadable-type",
            f"tensor {tensor.name!r} is stored as {tensor.kind}, which holds no weights that could become {kind}",
            hint="convert the model again to F16 or BF16",
        )
    if tensor.kind not in UNQUANTIZED and not allow_requantize:
        raise RefusedError(
            "requantizing",
            f"tensor {tensor.name!r} is already rounded to {tensor.kind}; making {kind} of it would round it twice",
            hint="take the model in F16, BF16 or F32, or say that rounding twice is meant with --allow-requantize",
        )
    if needs_importance(tensor.name, kind, scheme) and (importance is None or tensor.name not in importance.sums):
        have = "there is none" if importance is None else f"{importance.name!r} says nothing of it"
        raise RefusedError(
            "needs-importance",
            f"{scheme.name} makes {kind} of tensor {tensor.name!r}, which is garbage without an importance matrix, "
            f"and {have}",
            hint="name texts of your own with --importance-texts FILE, or choose Q2_K",
        )

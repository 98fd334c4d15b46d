"""What will be written: which tensors stay, under which names, with which rows and columns; the new header. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from undercroft.core.errors import RefusedError
from undercroft.optimize.pruning.changes import Changes, Indices, Sparsity, group_values, key_values
from undercroft.optimize.pruning.shapes import (
    ATTENTION_OUTPUT,
    BLOCK,
    CHANNEL_ROWS,
    FEED_FORWARD_OUTPUT,
    KEY_ROWS,
    QUERY_ROWS,
    SPARSE_PARTS,
    VALUE_ROWS,
    Shape,
)
from undercroft.optimize.quantization.headers import Entry, Key, count_in, encode, number_key, padded, without_items
from undercroft.optimize.quantization.mixtures import Weights
from undercroft.optimize.quantization.schemes import TYPE_NUMBERS, TYPES, UNQUANTIZED

_SIZE_LABEL = "general.size_label"  # what the source had
_PER_BLOCK = (
    "feed_forward_length",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.sliding_window_pattern",
)
_CUT_KIND = "F16"  # of what was quantized and cannot be cut as it is


@dataclass(frozen=True, slots=True)
class PrunedTensor:
    """One tensor of the result.

    Args:
        name: That it gets.
        source_name: That it has.
        shape: Innermost first.
        source_shape: Likewise, before.
        source_kind: Name of the type that it has.
        kind: Name of the type that it gets.
        rows: Of the source that stay, ascending; None all.
        columns: Likewise.
        sparsity: What becomes zero; None nothing.
        begin: In the file; bytes.
    """

    name: str
    source_name: str
    shape: tuple[int, ...]
    source_shape: tuple[int, ...]
    source_kind: str
    kind: str
    rows: Indices | None
    columns: Indices | None
    sparsity: Sparsity | None
    begin: int

    @property
    def size_bytes(self) -> int:
        """Without padding."""
        return stored_bytes(self.kind, math.prod(self.shape))


@dataclass(frozen=True, slots=True)
class PruningPlan:
    """A whole file.

    Args:
        header: Its first bytes.
        tensors: In the order of the file.
        size_bytes: Of the file.
    """

    header: bytes
    tensors: tuple[PrunedTensor, ...]
    size_bytes: int


def stored_bytes(kind: str, values: int) -> int:
    """Bytes of values.

    Args:
        kind: Name of a type.
        values: Count; whole blocks of the type.
    """
    return values // TYPES[kind].block * TYPES[kind].block_bytes


def plan_pruning(
    tensors: Sequence[Weights],
    keys: Sequence[Key],
    shape: Shape,
    changes: Changes,
    *,
    alignment: int,
    allow_requantize: bool = False,
) -> PruningPlan:
    """Decides everything that does not depend on the weights themselves.

    Args:
        tensors: Of the source.
        keys: Metadata of the source.
        shape: Of the source.
        changes: What is cut.
        alignment: Of tensors in the file; bytes.
        allow_requantize: Take matrices that are quantized apart where their blocks cannot be cut; they become F16.

    Raises:
        RefusedError: ``requantizing``.
    """
    numbers = {old: new for new, old in enumerate(n for n in range(shape.blocks) if n not in changes.dropped)}
    planned: list[PrunedTensor] = []
    end = 0
    for tensor in tensors:
        found = _planned(tensor, shape, changes, numbers, end)
        if found is None:
            continue
        if found.kind != found.source_kind and not allow_requantize:
            raise RefusedError(
                "requantizing",
                f"tensor {tensor.name!r} is rounded to {tensor.kind} already, in blocks of {TYPES[tensor.kind].block} "
                "values that cannot be cut",
                hint="take the model in F16, BF16 or F32; or say that it is meant: --allow-requantize, in a recipe "
                "allow_requantize: true",
            )
        planned.append(found)
        end += padded(found.size_bytes, alignment)
    entries = [Entry(one.name, one.shape, TYPE_NUMBERS[one.kind], one.begin) for one in planned]
    header = encode(pruned_keys(keys, shape, changes), entries, alignment)
    placed = tuple(replace(one, begin=len(header) + one.begin) for one in planned)
    return PruningPlan(header, placed, len(header) + end)


def pruned_keys(keys: Sequence[Key], shape: Shape, changes: Changes) -> list[Key]:
    """The metadata of the result.

    Args:
        keys: Of the source.
        shape: Of the source.
        changes: What is cut.
    """
    prefix = f"{shape.architecture}."
    new: dict[str, Key] = {}

    def put(key: str, value: int) -> None:
        new[prefix + key] = number_key(prefix + key, value)

    if changes.dropped:
        put("block_count", shape.blocks - len(changes.dropped))
        per_block = {prefix + key for key in _PER_BLOCK}
        for key in keys:
            if key.name in per_block and count_in(key) == shape.blocks:
                new[key.name] = without_items(key, changes.dropped)
    if changes.channels:
        put("feed_forward_length", _one_size(changes.channels))
    if changes.groups:
        groups = _one_size(changes.groups)
        put("attention.head_count", groups * shape.heads_a_group)
        put("attention.head_count_kv", groups)
        put("attention.key_length", shape.key_values)
        put("attention.value_length", shape.value_values)
    is_smaller = changes.sparsity is None
    kept = [new.pop(key.name, key) for key in keys if not (is_smaller and key.name == _SIZE_LABEL)]
    return [*kept, *new.values()]


def _planned(
    tensor: Weights, shape: Shape, changes: Changes, numbers: Mapping[int, int], begin: int
) -> PrunedTensor | None:
    match = BLOCK.fullmatch(tensor.name)
    name, rows, columns, sparsity = tensor.name, None, None, None
    if match is not None:
        block, part = int(match[1]), match[2]
        if block not in numbers:
            return None
        name = f"blk.{numbers[block]}.{part}"
        rows, columns = _kept(block, part, shape, changes)
        sparsity = changes.sparsity if part in SPARSE_PARTS else None
    if len(tensor.shape) == 1:  # a bias is one row, and what is cut of a matrix's rows is cut of its columns
        rows, columns = None, rows if rows is not None else columns
    sizes = list(tensor.shape)
    if columns is not None:
        sizes[0] = len(columns)
    if rows is not None:
        sizes[1] = len(rows)
    is_opened = (columns is not None or sparsity is not None) and tensor.kind not in UNQUANTIZED
    kind = _CUT_KIND if is_opened else tensor.kind
    return PrunedTensor(
        name, tensor.name, tuple(sizes), tensor.shape, tensor.kind, kind, rows, columns, sparsity, begin
    )


def _kept(block: int, part: str, shape: Shape, changes: Changes) -> tuple[Indices | None, Indices | None]:
    """Rows and columns that stay; None where all do."""
    channels, groups = changes.channels.get(block), changes.groups.get(block)
    if channels is not None and part in CHANNEL_ROWS:
        return channels, None
    if channels is not None and part == FEED_FORWARD_OUTPUT:
        return None, channels
    if groups is None:
        return None, None
    if part in QUERY_ROWS:
        return group_values(groups, shape, shape.key_values), None
    if part in KEY_ROWS:
        return key_values(groups, shape.key_values), None
    if part in VALUE_ROWS:
        return key_values(groups, shape.value_values), None
    if part == ATTENTION_OUTPUT:
        return None, group_values(groups, shape, shape.value_values)
    return None, None


def _one_size(kept: Mapping[int, Indices]) -> int:
    (size,) = {len(indices) for indices in kept.values()}
    return size

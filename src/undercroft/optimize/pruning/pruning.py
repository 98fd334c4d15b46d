"""Prunes a model's file: decided first, then written under another name, and named when all of it is sound."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from undercroft.core.errors import InvalidError
from undercroft.optimize.pruning.changes import Changes, Sparsity
from undercroft.optimize.pruning.planning import PruningPlan, plan_pruning
from undercroft.optimize.pruning.shapes import (
    BLOCK,
    SPARSE_PARTS,
    SQUARE_ATTENTION,
    Shape,
    check_depth,
    check_width,
    shape_of,
)
from undercroft.optimize.pruning.writing import Writer
from undercroft.optimize.quantization.importance import ImportanceMatrix
from undercroft.optimize.quantization.library import open_library
from undercroft.optimize.quantization.new_file import new_file
from undercroft.optimize.quantization.source import Source, read_header
from undercroft.registry.inspection.gguf import GgufHeader, read_gguf


def check_can_prune(header: GgufHeader, changes: Changes, shape: Shape | None = None) -> Shape:
    """Whether a model can be changed so; what of it changes, and not which of its kind, decides.

    Args:
        header: Of its file.
        changes: Of the kind that is meant.
        shape: That it has by then, where other steps change it before; else its own.

    Raises:
        InvalidError: Its architecture, its blocks or its rows are of another form.
    """
    left = " left" if shape is not None else ""
    shape = shape or shape_of(header)
    names = [tensor.name for tensor in header.tensors]
    if changes.dropped:
        check_depth(names, header.name)
        if len(changes.dropped) >= shape.blocks:
            raise InvalidError(
                "nothing-left",
                f"{header.name} has {shape.blocks} blocks{left}, of which {len(changes.dropped)} cannot be dropped",
                hint=f"depth: 1 to {shape.blocks - 1}" if shape.blocks > 1 else "make it narrower instead: width",
            )
    if changes.channels or changes.groups:
        if shape.has_experts:
            raise InvalidError(
                "wrong-architecture",
                f"{header.name} has experts, whose widths are not cut",
                hint="drop blocks instead: depth",
            )
        check_width(names, header.name)
    if changes.groups and shape.architecture in SQUARE_ATTENTION:
        raise InvalidError(
            "wrong-architecture",
            f"{header.name} is {shape.architecture}, of which llama.cpp loads only models whose heads together are as "
            "wide as their embeddings",
            hint="cut channels: ffn; or drop blocks: depth",
        )
    if changes.sparsity is not None:
        _check_sparsity(header, changes.sparsity, shape)
    return shape


def prune_file(
    source: Path,
    target: Path,
    changes: Changes,
    *,
    importance: ImportanceMatrix | None = None,
    allow_requantize: bool = False,
    report: Callable[[int, int], None],
) -> float:
    """Makes a model without what is cut.

    Args:
        source: GGUF file.
        target: Where to; what has the name is replaced when the new file is whole.
        changes: What is cut.
        importance: What reaches the weights; where some become zero.
        allow_requantize: Take quantized matrices apart where their blocks cannot be cut; they become F16.
        report: Told bytes done and bytes in all.

    Returns:
        Share of the weights that were to become sparse that are zero now; 0 where none were.

    Raises:
        InvalidError: The model cannot be changed so, or is damaged.
        RefusedError: ``requantizing``.
        UnavailableError: ``disk-full``, ``no-quantizer``; nothing is left of what was written.
        OSError: The source cannot be read, or the folder not written.
    """
    shape = check_can_prune(read_header(source), changes)
    with Source(source) as opened:
        plan = _plan(opened, shape, changes, allow_requantize)
        with new_file(target, plan.header, plan.size_bytes) as (file, unfinished):
            _check_header(unfinished, plan)
            return Writer(opened, file, open_library(), importance).run(plan, report)


def planned_bytes(source: Path, shape: Shape, changes: Changes, *, allow_requantize: bool) -> int:
    """Size of the file that `prune_file` would write.

    Args:
        source: GGUF file.
        shape: Of it.
        changes: As many of each kind as are meant.
        allow_requantize: As for `prune_file`.

    Raises:
        RefusedError: ``requantizing``.
    """
    with Source(source) as opened:
        return _plan(opened, shape, changes, allow_requantize).size_bytes


def _plan(opened: Source, shape: Shape, changes: Changes, allow_requantize: bool) -> PruningPlan:
    return plan_pruning(
        opened.tensors, opened.keys, shape, changes, alignment=opened.alignment, allow_requantize=allow_requantize
    )


def _check_sparsity(header: GgufHeader, sparsity: Sparsity, shape: Shape) -> None:
    if shape.has_experts:
        raise InvalidError(
            "wrong-architecture",
            f"{header.name} has experts, whose weights are not made sparse",
            hint="drop blocks instead: depth",
        )
    for tensor in header.tensors:
        match = BLOCK.fullmatch(tensor.name)
        if match is not None and match[2] in SPARSE_PARTS and sparsity.group and tensor.shape[0] % sparsity.group:
            raise InvalidError(
                "row-does-not-fit",
                f"rows of {tensor.name!r} have {tensor.shape[0]:,} weights, which are no groups of {sparsity.group}",
                hint="give a share of the whole row, such as 0.5",
            )


def _check_header(path: Path, plan: PruningPlan) -> None:
    """Reads the new header as everybody will: tensors lie where they are going to be written."""
    found = read_gguf(path, path.name, with_tokens=False)
    read = [(t.name, t.shape, t.kind.name, t.size_bytes, len(plan.header) + t.offset) for t in found.tensors]
    if read != [(t.name, t.shape, t.kind, t.size_bytes, t.begin) for t in plan.tensors]:
        raise InvalidError("bad-gguf", f"the header of {path.name} does not read back as it was planned")

"""Variants: the parent after some steps of a recipe, made first, so that the sizes of all candidates are known."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from undercroft.catalog.shapes import ModelShape
from undercroft.core.errors import InvalidError, RefusedError
from undercroft.core.files import sync_folder
from undercroft.optimize.quantization.source import Source, read_header
from undercroft.optimize.rightsizing.candidates import (
    Candidate,
    LeftOut,
    Why,
    any_matrix,
    as_it_is,
    plan_candidates,
)
from undercroft.optimize.rightsizing.order import SearchOrder
from undercroft.optimize.rightsizing.outlook import hopeful
from undercroft.optimize.steps import Progress, Step, Workspace
from undercroft.registry.shapes_gguf import shape_of_gguf

_FILE, _REASON = "model.gguf", "reason.txt"


@dataclass(frozen=True, slots=True)
class Variant:
    """A further model to make everything of.

    Args:
        name: Its own.
        steps: That make it of the parent, in order.
    """

    name: str
    steps: tuple[Step, ...]


def make_variants(
    variants: Sequence[Variant], work: Workspace, folder: Path, report: Callable[[Progress], None]
) -> None:
    """Makes those that are not there already; one that cannot be made leaves its reason.

    Args:
        variants: To make.
        work: Of the search; its source is what they are made of.
        folder: Of its own.
        report: Told how far each step is.

    Raises:
        UnavailableError: Something that is needed is not there; a later run goes on.
        OSError: The disk is full.
    """
    folder.mkdir(exist_ok=True)
    for variant in variants:
        target = folder / variant.name
        if target.exists():
            continue
        unfinished = folder / f"{variant.name}.unfinished"
        unfinished.mkdir(exist_ok=True)
        try:
            made = _run(variant, replace(work, folder=unfinished), report)
        except (InvalidError, RefusedError) as error:
            shutil.rmtree(unfinished)
            unfinished.mkdir()
            (unfinished / _REASON).write_text(error.message, encoding="utf-8")
        else:
            made.rename(unfinished / _FILE)
        unfinished.rename(target)
        sync_folder(folder)


def with_variants(order: SearchOrder, variants: Iterable[Variant], folder: Path, schemes: Sequence[str]) -> SearchOrder:
    """The search with all that can be made of variants.

    Args:
        order: The search without them.
        variants: That were made.
        folder: Where they lie.
        schemes: To try of each.
    """
    files, kept, out = {}, list(order.candidates), list(order.left_out)
    for variant in variants:
        path = folder / variant.name / _FILE
        if not path.exists():
            reason = (folder / variant.name / _REASON).read_text(encoding="utf-8")
            out.append((LeftOut(variant.name, Why.CANNOT_BE_MADE, reason), None))
            continue
        files[variant.name] = path
        candidates, left, shape = _planned(order, variant.name, path, schemes)
        worth, hopeless = hopeful(shape, candidates, order.wish)
        kept += worth
        out += [*((one, None) for one in left), *hopeless]
    kept.sort(key=lambda pair: pair[0].size_bytes)
    return replace(order, candidates=tuple(kept), left_out=tuple(out), variants=files)


def _planned(
    order: SearchOrder, name: str, path: Path, schemes: Sequence[str]
) -> tuple[list[Candidate], list[LeftOut], ModelShape]:
    most = order.parent.subject.size_bytes
    with Source(path) as source:
        candidates, left = plan_candidates(
            source,
            most,
            schemes,
            any_matrix(source, order.dataset) if order.calibration else order.matrix,
            allow_requantize=order.allow_requantize,
            variant=name,
        )
        whole = as_it_is(name, source, path.stat().st_size)
    types = [[tensor.type_name for tensor in one.tensors] for one in candidates]
    if whole.size_bytes < most and [tensor.type_name for tensor in whole.tensors] not in types:
        candidates.append(whole)
    return candidates, left, shape_of_gguf([read_header(path)])


def _run(variant: Variant, work: Workspace, report: Callable[[Progress], None]) -> Path:
    """Runs the steps one after the other, each in a folder of its own; what the last one made."""
    source = work.source
    for number, step in enumerate(variant.steps):
        folder = work.folder / f"step-{number}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        own = replace(work, source=source, folder=folder)
        step.run(own, lambda progress: report(replace(progress, note=f"{variant.name}: {progress.note}")))
        if not own.result.is_file():
            raise InvalidError(
                "wrong-format", f"its step {number + 1} makes no GGUF, and nothing else can be quantized"
            )
        source = own.result
    return source

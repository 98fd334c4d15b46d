"""The step that prunes: what it would make and take, and the doing of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from undercroft.core.errors import ConflictError
from undercroft.optimize.evaluation.texts import TextSet, load_texts
from undercroft.optimize.jobs.room import Forecast
from undercroft.optimize.prepared import PreparedStep
from undercroft.optimize.pruning.changes import Changes, Indices, kept_channels, kept_groups, shape_after
from undercroft.optimize.pruning.choosing import DroppedBlock, choose_blocks, choose_width, collect
from undercroft.optimize.pruning.measuring import check_computes, measure_quality, measure_speed, split_texts
from undercroft.optimize.pruning.pruning import check_can_prune, planned_bytes, prune_file
from undercroft.optimize.pruning.settings import Prune
from undercroft.optimize.pruning.shapes import Shape, shape_of
from undercroft.optimize.quantization.importance import ImportanceMatrix
from undercroft.optimize.quantization.schemes import UNQUANTIZED
from undercroft.optimize.quantization.source import read_header
from undercroft.optimize.sources import Source
from undercroft.optimize.steps import Progress, Workspace

_BASE_BYTES = 512 * 1024**2  # Python with its libraries, the logits of a window, what the engine takes beside weights
NO_SPEED = "llama.cpp multiplies zeros like any number: a sparse model is neither smaller nor faster in it"


@dataclass(frozen=True, slots=True)
class _Choice:
    """What will be cut, and what it was chosen by."""

    changes: Changes
    matrix: ImportanceMatrix | None = None
    blocks: tuple[DroppedBlock, ...] = ()

    def told(self) -> dict[str, Any]:
        if self.blocks:
            return {"dropped_blocks": [asdict(block) for block in self.blocks]}
        if self.changes.sparsity is not None:
            return {"sparsity": self.changes.sparsity.name}
        kept = (("kept_channels", self.changes.channels), ("kept_kv_heads", self.changes.groups))
        return {name: len(next(iter(found.values()))) for name, found in kept if found}


class PruneStep:
    """Cuts away what matters least.

    Args:
        settings: What the recipe says.
    """

    def __init__(self, settings: Prune) -> None:
        self._settings = settings

    def run(self, work: Workspace, report: Callable[[Progress], None]) -> None:
        """Makes the file, as `undercroft.optimize.steps.Step` says, and leaves what was measured."""

        def tell(done: int, total: int, note: str) -> None:
            report(Progress(done, total, "steps", note))

        settings = self._settings
        texts = read_texts(settings)
        chosen_by, measured_by = split_texts(texts.texts)
        header = read_header(work.source)
        shape = shape_of(header)
        choice = self._choose(work, shape, chosen_by, tell)
        share = prune_file(
            work.source,
            work.result,
            choice.changes,
            importance=choice.matrix,
            allow_requantize=settings.allow_requantize,
            report=lambda done, total: report(Progress(done, total, "bytes", "writing")),
        )
        found: dict[str, Any] = choice.told()
        if choice.changes.sparsity is None:
            is_opened = any(tensor.kind.name not in UNQUANTIZED for tensor in header.tensors)
            found["difference_from_the_source_without_it_nats"] = check_computes(
                work.result, work.source, choice.changes, shape, measured_by, is_opened=is_opened, threads=work.threads
            )
        else:
            found |= {"zero_ratio": share, "note": {"text": NO_SPEED}}
        quality = measure_quality(
            work.result,
            work.source,
            measured_by,
            texts.name,
            is_held_out=measured_by != chosen_by,
            threads=work.threads,
            report=tell,
        )
        speed = measure_speed(work.result, work.source, measured_by, threads=work.threads, report=tell)
        work.findings.write_text(json.dumps({**found, "quality": asdict(quality), "speed": speed}), encoding="utf-8")

    def _choose(
        self, work: Workspace, shape: Shape, texts: list[str], tell: Callable[[int, int, str], None]
    ) -> _Choice:
        settings = self._settings
        if settings.depth is not None:
            blocks = choose_blocks(work.source, texts, shape, settings.depth, threads=work.threads, report=tell)
            return _Choice(Changes(dropped=frozenset(block.block for block in blocks)), blocks=blocks)
        matrix = collect(work.source, texts, threads=work.threads, report=tell)
        if settings.width is None:
            return _Choice(Changes(sparsity=settings.zeros), matrix)
        width = settings.width
        changes = choose_width(work.source, shape, matrix, channels_ratio=width.ffn, heads_ratio=width.heads)
        return _Choice(changes, matrix)


def shape_left(settings: Prune, source: Source, shape: Shape | None) -> Shape:
    """The shape that a step leaves, for those that follow.

    Args:
        settings: What the recipe says.
        source: The model.
        shape: That it has before the step, where it is not its own any more.
    """
    before = shape or shape_of(source.header)
    return shape_after(before, _as_many(settings, before))


def prepare_prune(settings: Prune, source: Source, shape: Shape | None = None) -> PreparedStep:
    """Looks whether a model can be pruned so, and what that takes.

    Args:
        settings: What the recipe says.
        source: The model.
        shape: That it has by then, where a step before it prunes, too; else its own.

    Raises:
        InvalidError: Its architecture is none that can be pruned, the texts cannot be read, or nothing would change.
        RefusedError: ``requantizing``.
        ConflictError: ``texts-changed``.
    """
    texts = read_texts(settings)
    own = shape_of(source.header)
    changes = _as_many(settings, shape or own)
    check_can_prune(source.header, changes, shape)
    # Of what earlier steps leave there is no file yet; it is smaller than the source, and so is what is made of it.
    size = planned_bytes(source.path, own, changes, allow_requantize=settings.allow_requantize)
    told = settings.model_dump(mode="json", exclude_none=True)
    return PreparedStep(
        kind="prune",
        step=PruneStep(settings),
        forecast=Forecast(
            result_bytes=size, disk_bytes=size, memory_bytes=_BASE_BYTES + source.header.size_bytes + size
        ),
        told={"settings": {**told, "texts_digest": texts.digest}},
        libraries=("numpy", "xllamacpp"),
        is_reproducible=False,  # sums of products depend on how many threads share them
    )


def read_texts(settings: Prune) -> TextSet:
    """The texts of a recipe, as long as they are what they were when it was read.

    Raises:
        InvalidError: ``bad-texts``.
        NotFoundError, UnavailableError: They cannot be read.
        ConflictError: ``texts-changed``.
    """
    texts = load_texts(settings.texts)
    if settings.texts_digest is not None and texts.digest != settings.texts_digest:
        raise ConflictError(
            "texts-changed",
            f"the texts {settings.texts} are not what the recipe was made for: expected {settings.texts_digest}, got "
            f"{texts.digest}",
            hint="put them back, or leave texts_digest out of the recipe and ask anew",
        )
    return texts


def _as_many(settings: Prune, shape: Shape) -> Changes:
    """As much of each kind as is meant; which, only the texts can say."""
    if settings.depth is not None:
        return Changes(dropped=frozenset(range(settings.depth)))
    if settings.width is None:
        return Changes(sparsity=settings.zeros)
    channels: dict[int, Indices] = {}
    groups: dict[int, Indices] = {}
    for block in range(shape.blocks):
        if settings.width.ffn is not None:
            channels[block] = np.arange(kept_channels(shape.channels, settings.width.ffn))
        if settings.width.heads is not None:
            groups[block] = np.arange(kept_groups(shape, settings.width.heads))
    return Changes(channels=channels, groups=groups)

"""What a search is asked to do, as plain data; and the texts and tasks in the order in which it takes them. Pure."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from undercroft.optimize.evaluation.replica import Setup
from undercroft.optimize.evaluation.subjects import Found
from undercroft.optimize.evaluation.tasks import TaskSet
from undercroft.optimize.evaluation.texts import Text, TextSet
from undercroft.optimize.quantization.importance import ImportanceMatrix
from undercroft.optimize.rightsizing.budget import Budget
from undercroft.optimize.rightsizing.candidates import Candidate, LeftOut
from undercroft.optimize.rightsizing.outlook import Outlook, Wish
from undercroft.optimize.rightsizing.race import looks_of


@dataclass(frozen=True, slots=True)
class SearchOrder:
    """A search.

    Args:
        parent: What everything is compared with, and made of unless a candidate names a variant.
        candidates: That are worth making, with their forecasts.
        left_out: That are not; the forecast is None where there was none.
        wish: What the pick has to hold where it runs.
        percent: That it may lose at most.
        tasks: That decide, in the order of the search; None where texts do.
        texts: That are read, in the order of the search; None where there are none.
        calibration: Texts of the importance matrix; empty makes none.
        dataset: Name of these texts.
        setup: How models are run here.
        seed: Of everything that is random.
        allow_requantize: Take weights that were rounded before.
        measures_all: Go on to candidates that are larger than the pick.
        variants: Name → file of what else candidates are made of.
        matrix: An importance matrix that was collected before; None where texts make it, or nothing does.
    """

    parent: Found
    candidates: tuple[tuple[Candidate, Outlook], ...]
    left_out: tuple[tuple[LeftOut, Outlook | None], ...]
    wish: Wish
    percent: float
    tasks: TaskSet | None
    texts: TextSet | None
    calibration: tuple[str, ...]
    dataset: str
    setup: Setup
    seed: int
    allow_requantize: bool
    measures_all: bool
    variants: Mapping[str, Path] = field(default_factory=dict)
    matrix: ImportanceMatrix | None = None

    @property
    def count(self) -> int:
        """Tasks, or texts where they decide."""
        if self.tasks is not None:
            return len(self.tasks.tasks)
        assert self.texts is not None  # one of them is given
        return len(self.texts.texts)

    @property
    def looks(self) -> tuple[int, ...]:
        """After how many of them it is looked whether to go on."""
        return looks_of(self.count)

    @property
    def budget(self) -> Budget:
        """That candidates are judged by."""
        return Budget(self.percent, max(1, len(self.candidates) * (len(self.looks) - 1)))


def shuffled(tasks: TaskSet, seed: int) -> TaskSet:
    """The same tasks in an order that hides nothing: files are often sorted, and the first eighth stands for all."""
    found = list(tasks.tasks)
    random.Random(seed).shuffle(found)
    return replace(tasks, tasks=tuple(found))


def divided(texts: TextSet, *, has_own_calibration: bool) -> tuple[tuple[str, ...], TextSet]:
    """Texts for the importance matrix, and those that models are judged by: none is both.

    Args:
        texts: All.
        has_own_calibration: Others are for the matrix, so that all of these are for judging.

    Returns:
        Every second text for the matrix; none where there is one text alone.
    """
    if has_own_calibration or len(texts.texts) < 2:
        return (), texts
    return _words(texts.texts[0::2]), replace(texts, texts=texts.texts[1::2])


def _words(texts: Sequence[Text]) -> tuple[str, ...]:
    return tuple(text.text for text in texts)

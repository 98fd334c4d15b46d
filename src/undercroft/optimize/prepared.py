"""A recipe that was held against the registry and this machine: what it reads, what it does, what that takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from undercroft.optimize.cards.card import Card
from undercroft.optimize.jobs.room import Forecast
from undercroft.optimize.judging import PreparedEvaluation
from undercroft.optimize.recipes import Recipe
from undercroft.optimize.sources import PublishedSource, Source
from undercroft.optimize.steps import Step


@dataclass(frozen=True, slots=True)
class PreparedStep:
    """One step, ready to run.

    Args:
        kind: ``quantize`` …
        step: What runs.
        forecast: What it takes.
        told: For the lineage: every setting, digests of files that it reads.
        libraries: Packages whose versions matter.
        is_reproducible: Whether the same source and seed give the same bytes.
        is_continued: Whether it goes on from what an interrupted run of it has left.
        measure: Tries for a moment how fast this machine is, and says how long the step takes; seconds. None where
            that cannot be tried.
        warning: What a person should know before it begins; empty where there is nothing.
        card: Where it measures what it makes by itself: from its finished folder, the name that the model gets and the
            processors that measured, the quality card. None lets the result be measured after it.
    """

    kind: str
    step: Step
    forecast: Forecast
    told: Mapping[str, Any]
    libraries: tuple[str, ...] = ()
    is_reproducible: bool = True
    is_continued: bool = False
    measure: Callable[[], float] | None = None
    warning: str = ""
    card: Callable[[Path, str, int], Card] | None = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """A recipe that can be done here.

    Args:
        recipe: The whole.
        sources: Models that it reads, the one that is changed first.
        steps: In order.
        evaluation: What is measured of the result; None measures nothing.
    """

    recipe: Recipe
    sources: tuple[Source | PublishedSource, ...]
    steps: tuple[PreparedStep, ...]
    evaluation: PreparedEvaluation | None = None

    @property
    def forecast(self) -> Forecast:
        """Of all steps: what each writes is kept until the last has ended."""
        result = self.steps[-1].forecast.result_bytes
        judged = self.evaluation.memory_bytes(result) if self.evaluation is not None else 0
        return Forecast(
            result_bytes=result,
            disk_bytes=sum(step.forecast.disk_bytes for step in self.steps),
            memory_bytes=max(judged, *(step.forecast.memory_bytes for step in self.steps)),
        )

    def measured_seconds(self) -> float | None:
        """About how long it takes on this machine, tried for a moment; None where a part of it cannot be tried."""
        if self.evaluation is not None:
            return None
        found = [step.measure() if step.measure is not None else None for step in self.steps]
        known = [seconds for seconds in found if seconds is not None]
        return sum(known) if len(known) == len(found) else None

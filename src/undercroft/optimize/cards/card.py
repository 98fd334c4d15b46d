"""A quality card: everything that was measured of a model, beside its parent, with what the gate says. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from undercroft import __version__
from undercroft.optimize.evaluation.comparing import Comparisons, compare
from undercroft.optimize.evaluation.figures import SEED, Figures, Measure, figures_of
from undercroft.optimize.evaluation.gate import GateResult, judge_gate
from undercroft.optimize.evaluation.gate_rules import GateRules
from undercroft.optimize.evaluation.intervals import CONFIDENCE, Estimate
from undercroft.optimize.evaluation.paired import Comparison
from undercroft.optimize.evaluation.records import Run
from undercroft.optimize.evaluation.suite_figures import SuiteFigure, suite_figures

SCHEMA = "undercroft.quality-card/1"


@dataclass(frozen=True, slots=True)
class Point:
    """Another model for the plot of size against quality, such as one that a search has tried.

    Args:
        name: Beside it.
        size_bytes: Of its files.
        quality: Share of the tasks that it passed.
    """

    name: str
    size_bytes: int
    quality: Estimate


@dataclass(frozen=True, slots=True)
class Circumstances:
    """How the figures came about, for whoever wants them again.

    Args:
        made_at: ISO 8601, UTC.
        machine: Its processor, in words.
        tasks: Name, digest and number of the tasks; empty where none was asked.
        texts: Name, digest and number of the texts; empty where none was read.
        suites: Names of standard suites, and digest of their folder; empty where none was asked.
        settings: Of the engine: context, slots, threads …
        seed: Of bootstrap and flips.
    """

    made_at: str
    machine: str
    tasks: Mapping[str, Any]
    texts: Mapping[str, Any]
    settings: Mapping[str, Any]
    seed: int = SEED
    suites: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Card:
    """A quality card.

    Args:
        candidate: What was measured of the model.
        parent: What was measured of the model that it was made from; None where it stands alone.
        figures: Of the candidate.
        parent_figures: Of the parent; None where it stands alone.
        comparisons: What tests say; None where it stands alone.
        rules: Of the gate; None where there is none.
        gate: What it says; None where there is none.
        circumstances: How the figures came about.
        points: Further models for the plot.
        suites: Figures of standard suites, beside those of the parent.
    """

    candidate: Run
    parent: Run | None
    figures: Figures
    parent_figures: Figures | None
    comparisons: Comparisons | None
    rules: GateRules | None
    gate: GateResult | None
    circumstances: Circumstances
    points: Sequence[Point] = ()
    suites: Sequence[SuiteFigure] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; a bound that is infinite is None. Answers and texts themselves are not in it."""
        return {
            "schema": SCHEMA,
            "undercroft": __version__,
            "made_at": self.circumstances.made_at,
            "confidence": CONFIDENCE,
            "candidate": _model(self.candidate, self.figures),
            "parent": None
            if self.parent is None or self.parent_figures is None
            else _model(self.parent, self.parent_figures),
            "comparisons": None if self.comparisons is None else _comparisons(self.comparisons),
            "suites": [_suite(figure) for figure in self.suites],
            "gate": None if self.gate is None or self.rules is None else _gate(self.rules, self.gate),
            "circumstances": asdict(self.circumstances),
            "items": _items(self.candidate, self.parent),
        }

    def to_summary(self) -> dict[str, Any]:
        """`to_dict` without its row for each question, for places that keep many cards."""
        return {name: value for name, value in self.to_dict().items() if name != "items"}


def make_card(
    candidate: Run,
    parent: Run | None,
    rules: GateRules | None,
    circumstances: Circumstances,
    points: Sequence[Point] = (),
) -> Card:
    """A card of what was measured.

    Args:
        candidate: The model.
        parent: What it was made from, given the same tasks and texts; None lets it stand alone.
        rules: Of the gate; None asks nothing.
        circumstances: How the figures came about.
        points: Further models for the plot of size against quality.

    Raises:
        InvalidError: ``not-the-same``: candidate and parent were given other tasks or texts.
    """
    figures = figures_of(candidate, seed=circumstances.seed)
    comparisons = compare(candidate, parent, seed=circumstances.seed) if parent is not None else None
    suites = suite_figures(candidate.suites, parent.suites if parent is not None else None, seed=circumstances.seed)
    return Card(
        candidate=candidate,
        parent=parent,
        figures=figures,
        parent_figures=figures_of(parent, seed=circumstances.seed) if parent is not None else None,
        comparisons=comparisons,
        rules=rules,
        gate=judge_gate(rules, figures, comparisons, suites) if rules is not None else None,
        circumstances=circumstances,
        points=points,
        suites=suites,
    )


def _suite(figure: SuiteFigure) -> dict[str, Any]:
    score, parent = figure.score, figure.parent
    return {
        "suite": score.suite,
        "metric": score.metric,
        "filter": score.filter,
        "shots": score.shots,
        "version": score.version,
        "is_more_better": score.is_more_better,
        "candidate": {**_estimate(figure.estimate), "standard_error": score.standard_error},
        "parent": None
        if parent is None or figure.parent_estimate is None
        else {**_estimate(figure.parent_estimate), "standard_error": parent.standard_error},
        "comparison": None if figure.comparison is None else _comparison(figure.comparison),
    }


def _model(run: Run, figures: Figures) -> dict[str, Any]:
    return {
        **asdict(run.subject),
        "figures": _figures(figures.whole),
        "languages": {language: _figures(measures) for language, measures in figures.languages.items()},
        "energy_meter": run.energy.meter if run.energy is not None else None,
    }


def _figures(measures: Mapping[Measure, Estimate]) -> dict[str, Any]:
    return {measure.value: _estimate(estimate) for measure, estimate in measures.items()}


def _estimate(estimate: Estimate) -> dict[str, Any]:
    return {name: _finite(value) for name, value in asdict(estimate).items()}


def _comparisons(comparisons: Comparisons) -> dict[str, Any]:
    return {
        "whole": {measure.value: _comparison(found) for measure, found in comparisons.whole.items()},
        "languages": {
            language: {measure.value: _comparison(found) for measure, found in measures.items()}
            for language, measures in comparisons.languages.items()
        },
    }


def _comparison(comparison: Comparison) -> dict[str, Any]:
    return {
        "difference": _estimate(comparison.difference),
        "p_value": comparison.p_value,
        "verdict": comparison.verdict.value,
        "detectable": comparison.detectable,
        "test": comparison.test,
    }


def _gate(rules: GateRules, gate: GateResult) -> dict[str, Any]:
    return {
        "has_passed": gate.has_passed,
        "rules": rules.model_dump(mode="json", exclude_none=True),
        "findings": [
            {
                "rule": finding.rule,
                "language": finding.language,
                "state": finding.state.value,
                "has_passed": finding.has_passed,
                "limit": finding.limit,
                "measured": None if finding.measured is None else _estimate(finding.measured),
                "sentence": finding.sentence,
            }
            for finding in gate.findings
        ],
    }


def _items(candidate: Run, parent: Run | None) -> list[dict[str, Any]]:
    found = [asdict(item) for item in candidate.items]
    for own, other in zip(found, parent.items if parent is not None else (), strict=False):
        own["parent_has_passed"], own["parent_score"] = other.has_passed, other.score
    return found


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value

"""Figures of standard suites with their intervals, beside those of a parent. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from undercroft.core.errors import InvalidError
from undercroft.optimize.evaluation.distributions import normal_quantile
from undercroft.optimize.evaluation.figures import SEED
from undercroft.optimize.evaluation.intervals import CONFIDENCE, Estimate, mean, proportion
from undercroft.optimize.evaluation.paired import Comparison, compare_amounts, compare_passes
from undercroft.optimize.evaluation.records import SuiteScore


@dataclass(frozen=True, slots=True)
class SuiteFigure:
    """One figure of a suite.

    Args:
        score: Of the candidate, with its standard error.
        estimate: The same with its interval.
        parent: Of the parent; None where the candidate stands alone.
        parent_estimate: The same with its interval.
        comparison: What a paired test says, item by item; None without a parent, and for figures that are no mean.
    """

    score: SuiteScore
    estimate: Estimate
    parent: SuiteScore | None = None
    parent_estimate: Estimate | None = None
    comparison: Comparison | None = None


def suite_figures(
    candidate: Sequence[SuiteScore], parent: Sequence[SuiteScore] | None, *, seed: int = SEED
) -> tuple[SuiteFigure, ...]:
    """All figures of suites.

    Args:
        candidate: Of the new model.
        parent: Of what it was made from, by the same suites; None where there is none.
        seed: Of bootstrap and flips.

    Raises:
        InvalidError: ``not-the-same``: they were asked other suites, or other items of them.
    """
    if parent is None:
        return tuple(SuiteFigure(score, estimate_of(score, seed=seed)) for score in candidate)
    if [(one.name, one.count) for one in candidate] != [(one.name, one.count) for one in parent]:
        raise InvalidError(
            "not-the-same",
            "candidate and parent were asked other suites, and a paired test needs the same",
            hint="evaluate both with the same suites",
        )
    return tuple(
        SuiteFigure(own, estimate_of(own, seed=seed), other, estimate_of(other, seed=seed), _compared(own, other, seed))
        for own, other in zip(candidate, parent, strict=True)
    )


def estimate_of(score: SuiteScore, *, seed: int = SEED) -> Estimate:
    """A figure with its interval: of its items where they are known, else of its standard error.

    Args:
        score: The figure.
        seed: Of the bootstrap.
    """
    if score.values and is_passed(score):
        return proportion(round(sum(score.values)), len(score.values))
    if score.values:
        return mean(score.values, seed=seed)
    if score.standard_error is None:
        return Estimate(score.value, -math.inf, math.inf, score.count, "none")
    reach = normal_quantile((1 + CONFIDENCE) / 2) * score.standard_error
    return Estimate(score.value, score.value - reach, score.value + reach, score.count, "standard-error")


def is_passed(score: SuiteScore) -> bool:
    """Whether each item either passed or not, so that the figure is a share."""
    return bool(score.values) and set(score.values) <= {0.0, 1.0}


def _compared(own: SuiteScore, other: SuiteScore, seed: int) -> Comparison | None:
    if not own.values or len(own.values) != len(other.values):
        return None
    if is_passed(own) and is_passed(other) and own.is_more_better:
        return compare_passes([value == 1.0 for value in other.values], [value == 1.0 for value in own.values])
    return compare_amounts(other.values, own.values, seed=seed, is_more_better=own.is_more_better)

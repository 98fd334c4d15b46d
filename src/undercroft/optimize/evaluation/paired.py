"""Better, worse, or no difference shown: tests of two models on the same items. Pure; the same seed says the same.

"Worse" and "better" are said only where a paired test says so; else how large a difference would have been seen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from undercroft.optimize.evaluation.distributions import binomial_tail, normal_quantile
from undercroft.optimize.evaluation.intervals import Estimate, paired_proportions, ratio

ALPHA = 0.05
POWER = 0.8
_EXACT_PAIRS = 16
_FLIPS = 20_000
_FLIPPED_AT_ONCE = 4_000_000


class Verdict(StrEnum):
    """What a comparison may say."""

    BETTER = "better"
    WORSE = "worse"
    NO_DIFFERENCE = "no difference shown"


@dataclass(frozen=True, slots=True)
class Comparison:
    """A candidate against its parent, on the same items.

    Args:
        difference: Candidate less parent, with its interval.
        p_value: Chance of a difference at least as large, either way, between equals; corrected for several languages
            where they were compared together.
        verdict: What may be said.
        detectable: The smallest difference, in the unit of ``difference``, that so many items show in 4 of 5 cases;
            None where so few items can show none.
        test: ``mcnemar-exact`` or ``sign-flip``.
    """

    difference: Estimate
    p_value: float
    verdict: Verdict
    detectable: float | None
    test: str


def compare_passes(parent: Sequence[bool], candidate: Sequence[bool], *, alpha: float = ALPHA) -> Comparison:
    """Compares what passed, by McNemar's exact test.

    Args:
        parent: Whether each item passed, at least 1.
        candidate: The same items in the same order.
        alpha: Chance of calling equals different.

    Source:
        Q. McNemar, Note on the Sampling Error of the Difference between Correlated Proportions, Psychometrika 12
        (1947), in its exact form: the items on which the two disagree are throws of a fair coin between equals.
    """
    lost = sum(one and not other for one, other in zip(parent, candidate, strict=True))
    gained = sum(other and not one for one, other in zip(parent, candidate, strict=True))
    p_value = min(1.0, 2 * binomial_tail(min(lost, gained), lost + gained))
    # The interval answers the question that the test asks, so it has the test's level.
    difference = paired_proportions(lost, gained, len(parent), confidence=1 - alpha)
    verdict = _verdict(gained - lost, p_value, alpha)
    detectable = _detectable_share(lost + gained, len(parent), alpha)
    return Comparison(difference, p_value, verdict, detectable, "mcnemar-exact")


def compare_amounts(
    parent: Sequence[float],
    candidate: Sequence[float],
    weights: Sequence[float] | None = None,
    *,
    seed: int,
    is_more_better: bool,
    alpha: float = ALPHA,
) -> Comparison:
    """Compares amounts item by item, by flipping the signs of their differences.

    Args:
        parent: One amount of each item, such as its score or its nats; at least 1.
        candidate: Of the same items in the same order.
        weights: What the sum of the differences is divided by, such as tokens; None counts each item once.
        seed: Of flips and bootstrap; up to 16 differences are flipped in every way, and need none.
        is_more_better: Whether a larger amount is better.
        alpha: Chance of calling equals different.

    Source:
        R. A. Fisher, The Design of Experiments (1935), section 21.
    """
    apart = np.asarray(candidate, np.float64) - np.asarray(parent, np.float64)
    counted = np.ones(len(apart)) if weights is None else np.asarray(weights, np.float64)
    difference = ratio(apart.tolist(), counted.tolist(), seed=seed, confidence=1 - alpha)
    p_value = sign_flip(apart.tolist(), seed=seed)
    verdict = _verdict(difference.value if is_more_better else -difference.value, p_value, alpha)
    spread = (apart - difference.value * counted) / counted.mean()
    detectable = None
    if len(apart) >= _least_pairs(alpha) and spread.any():
        detectable = _both_quantiles(alpha) * float(spread.std(ddof=1)) / math.sqrt(len(apart))
    return Comparison(difference, p_value, verdict, detectable, "sign-flip")


def sign_flip(differences: Sequence[float], *, seed: int) -> float:
    """The chance of a sum as far from 0, where each difference could as well have had the other sign.

    Args:
        differences: One a pair; those that are 0 say nothing.
        seed: Of the flips, where there are too many ways to try each.

    Returns:
        The two-sided p-value: exact up to 16 differences, else of 20,000 flips and the one that was seen.
    """
    apart = np.asarray([value for value in differences if value], np.float64)
    if not len(apart):
        return 1.0
    # As far, but for the rounding of another order of adding.
    reached = abs(apart.sum()) * (1 - 1e-12) - 1e-300
    if len(apart) <= _EXACT_PAIRS:
        signs = 1 - 2 * ((np.arange(2 ** len(apart))[:, None] >> np.arange(len(apart))) & 1)
        return float(np.count_nonzero(np.abs(signs @ apart) >= reached)) / len(signs)
    chance = np.random.default_rng(seed)
    at_once = max(1, _FLIPPED_AT_ONCE // len(apart))
    found = 0
    for first in range(0, _FLIPS, at_once):
        signs = 1 - 2 * chance.integers(0, 2, (min(at_once, _FLIPS - first), len(apart)), dtype=np.int8)
        found += int(np.count_nonzero(np.abs(signs @ apart) >= reached))
    return (found + 1) / (_FLIPS + 1)


def corrected(comparisons: Mapping[str, Comparison], *, alpha: float = ALPHA) -> dict[str, Comparison]:
    """Comparisons of several languages, so that the chance of calling any two equals different stays ``alpha``.

    Args:
        comparisons: Language → comparison by itself.
        alpha: Of all together.

    Returns:
        In the same order, with corrected p-values and the verdicts that follow. Intervals stay those of one language.

    Source:
        S. Holm, A Simple Sequentially Rejective Multiple Test Procedure, Scandinavian Journal of Statistics 6 (1979).
    """
    p_values = holm([comparison.p_value for comparison in comparisons.values()])
    return {
        name: replace(
            comparison,
            p_value=p_value,
            verdict=comparison.verdict if p_value <= alpha else Verdict.NO_DIFFERENCE,
        )
        for (name, comparison), p_value in zip(comparisons.items(), p_values, strict=True)
    }


def holm(p_values: Sequence[float]) -> list[float]:
    """Each p-value as it counts among the others, in their order.

    Args:
        p_values: 0.0 to 1.0.
    """
    found = [1.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        found[index] = largest
    return found


def _verdict(improvement: float, p_value: float, alpha: float) -> Verdict:
    if p_value > alpha or not improvement:
        return Verdict.NO_DIFFERENCE
    return Verdict.BETTER if improvement > 0 else Verdict.WORSE


def _detectable_share(disagreements: int, trials: int, alpha: float) -> float | None:
    """A difference cannot be larger than the share of items that disagree, so that one of those has to grow, too."""
    both = _both_quantiles(alpha)
    found = max(both * math.sqrt(disagreements) / trials, both**2 / trials)
    return found if found <= 1.0 and trials >= _least_pairs(alpha) else None


def _both_quantiles(alpha: float) -> float:
    return normal_quantile(1 - alpha / 2) + normal_quantile(POWER)


def _least_pairs(alpha: float) -> int:
    """Pairs that all have to differ in one direction before that is rarer than ``alpha`` between equals."""
    return math.ceil(1 - math.log2(alpha))

"""Where the truth lies that a measure of some items or texts stands for. Pure; the same seed gives the same figures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from undercroft.optimize.evaluation.distributions import beta_quantile, normal_quantile, normal_share, student_quantile

CONFIDENCE = 0.95
_RESAMPLES = 4000
# Fewer values say too little of their distribution to be drawn from; with more, the mean is normal.
_LEAST_RESAMPLED = 10
_MOST_RESAMPLED = 5000
_DRAWN_AT_ONCE = 2_000_000

Values = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A measure with its interval.

    Args:
        value: As measured.
        lower: The truth is not below, at the confidence; ``-inf`` where nothing is known.
        upper: The truth is not above, at the confidence; ``inf`` where nothing is known.
        count: Items, texts or requests that it comes from.
        method: ``wilson``, ``student``, ``bca``, ``paired-proportions``.
    """

    value: float
    lower: float
    upper: float
    count: int
    method: str


def proportion(hits: int, trials: int, *, confidence: float = CONFIDENCE) -> Estimate:
    """A share of items, with Wilson's score interval.

    Args:
        hits: Items that passed; count.
        trials: Items; count, at least 1.
        confidence: Above 0.0 and below 1.0.

    Source:
        E. B. Wilson, Probable Inference, the Law of Succession, and Statistical Inference, JASA 22 (1927); recommended
        by Brown, Cai and DasGupta, Interval Estimation for a Binomial Proportion, Statistical Science 16 (2001).
    """
    z = normal_quantile((1 + confidence) / 2)
    share = hits / trials
    middle = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    reach = z / (1 + z * z / trials) * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    # Rounding may put a bound of 0 or 1 a hair beyond what was measured.
    return Estimate(share, max(0.0, min(middle - reach, share)), min(1.0, max(middle + reach, share)), trials, "wilson")


def mean(values: Sequence[float], *, seed: int, confidence: float = CONFIDENCE) -> Estimate:
    """A mean, by Student's t for few and very many values, else by the bootstrap.

    Args:
        values: At least 1.
        seed: Of the bootstrap.
        confidence: Above 0.0 and below 1.0.
    """
    return ratio(values, [1.0] * len(values), seed=seed, confidence=confidence)


def ratio(amounts: Sequence[float], weights: Sequence[float], *, seed: int, confidence: float = CONFIDENCE) -> Estimate:
    """The sum of amounts by the sum of weights, such as nats by tokens, where each pair comes from one text.

    Texts are drawn, not tokens: those of one text are not independent of each other.

    Args:
        amounts: One of each text or item; at least 1.
        weights: Above 0, one of each.
        seed: Of the bootstrap.
        confidence: Above 0.0 and below 1.0.

    Returns:
        With BCa (bias-corrected and accelerated) bounds for 10 to 5,000 texts; with Student's t of the linearized
        ratio for fewer or more; from minus to plus infinity for one.

    Source:
        B. Efron, Better Bootstrap Confidence Intervals, JASA 82 (1987); W. G. Cochran, Sampling Techniques, 3rd
        edition (1977), section 6.4 for the variance of a ratio.
    """
    above, below = np.asarray(amounts, np.float64), np.asarray(weights, np.float64)
    value = float(above.sum() / below.sum())
    if len(above) == 1:
        return Estimate(value, -math.inf, math.inf, 1, "student")
    spread = (above - value * below) / below.mean()
    if not spread.any():
        return Estimate(value, value, value, len(above), "student")
    if _LEAST_RESAMPLED <= len(above) <= _MOST_RESAMPLED:
        lower, upper = _bca_bounds(above, below, value, seed, confidence)
        return Estimate(value, lower, upper, len(above), "bca")
    reach = student_quantile((1 + confidence) / 2, len(above) - 1) * float(spread.std(ddof=1)) / math.sqrt(len(above))
    return Estimate(value, value - reach, value + reach, len(above), "student")


def paired_proportions(
    only_parent: int, only_candidate: int, trials: int, *, confidence: float = CONFIDENCE
) -> Estimate:
    """How much larger the candidate's share of passed items is, from the items on which the two disagree.

    The wider of two: the exact one given the number of disagreements, which is what McNemar's exact test inverts, and
    Bonett and Price's, which knows that this number is chance, too. What the test does not show, it does not rule out.

    Args:
        only_parent: Items that only the parent passed; count.
        only_candidate: Items that only the candidate passed; count.
        trials: Items that both were given; count, at least 1.
        confidence: Above 0.0 and below 1.0.

    Returns:
        -1.0 to 1.0; below 0 where the candidate passes fewer.

    Source:
        D. G. Bonett and R. M. Price, Adjusted Wald Confidence Interval for a Difference of Binomial Proportions Based
        on Paired Data, Journal of Educational and Behavioral Statistics 37 (2012); C. J. Clopper and E. S. Pearson,
        The Use of Confidence or Fiducial Limits, Biometrika 26 (1934).
    """
    tail, differ = (1 - confidence) / 2, only_parent + only_candidate
    gained, lost = (only_candidate + 1) / (trials + 2), (only_parent + 1) / (trials + 2)
    z = normal_quantile(1 - tail)
    reach = z * math.sqrt((gained + lost - (gained - lost) ** 2) / (trials + 2))
    lower, upper = gained - lost - reach, gained - lost + reach
    if differ:
        least = beta_quantile(tail, only_candidate, only_parent + 1) if only_candidate else 0.0
        most = beta_quantile(1 - tail, only_candidate + 1, only_parent) if only_parent else 1.0
        lower = min(lower, (2 * least - 1) * differ / trials)
        upper = max(upper, (2 * most - 1) * differ / trials)
    value = (only_candidate - only_parent) / trials
    return Estimate(value, max(-1.0, lower), min(1.0, upper), trials, "paired-proportions")


def _bca_bounds(above: Values, below: Values, value: float, seed: int, confidence: float) -> tuple[float, float]:
    found = _resampled(above, below, seed)
    # Draws that are equal to the value count half: a few items repeat it often.
    under = (np.count_nonzero(found < value) + np.count_nonzero(found == value) / 2) / len(found)
    bias = normal_quantile(min(max(under, 0.5 / len(found)), 1 - 0.5 / len(found)))
    left_out = (above.sum() - above) / (below.sum() - below)
    apart = left_out.mean() - left_out
    squares = float((apart**2).sum())
    acceleration = float((apart**3).sum()) / (6 * squares**1.5) if squares else 0.0
    bounds = []
    for share in ((1 - confidence) / 2, (1 + confidence) / 2):
        shifted = bias + normal_quantile(share)
        taken = normal_share(bias + shifted / (1 - acceleration * shifted))
        bounds.append(float(np.quantile(found, taken)))
    return min(bounds), max(bounds)


def _resampled(above: Values, below: Values, seed: int) -> Values:
    chance = np.random.default_rng(seed)
    count = len(above)
    pieces = []
    at_once = max(1, _DRAWN_AT_ONCE // count)
    for first in range(0, _RESAMPLES, at_once):
        drawn = chance.integers(0, count, (min(at_once, _RESAMPLES - first), count))
        pieces.append(above[drawn].sum(axis=1) / below[drawn].sum(axis=1))
    return np.concatenate(pieces)

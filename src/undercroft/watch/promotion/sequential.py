"""Confidence sequences: intervals that hold at every moment at once, so that one may look as often as one likes. Pure.

Sources:
    Proportions: H. Robbins, Statistical Methods Related to the Law of the Iterated Logarithm, Annals of Mathematical
    Statistics 41 (1970): by Ville's inequality the mixture likelihood ratio of the truth stays below 1/α for ever with
    probability 1 - α; the mixture is Beta(½, ½).
    Means: I. Waudby-Smith, D. Arbour, R. Sinha, E. H. Kennedy, A. Ramdas, Time-uniform central limit theory and
    asymptotic confidence sequences, arXiv 2103.06476, theorem 2.2; asymptotic, so it is used from some values on only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

_MIXTURE = 0.5
_BISECTIONS = 60
# The sequence of means is tightest at about this many values.
_TIGHTEST_AT = 50
LEAST_VALUES = 12


@dataclass(frozen=True, slots=True)
class Interval:
    """Where the truth lies.

    Args:
        lower: Not below.
        upper: Not above.
    """

    lower: float
    upper: float

    def minus(self, other: Interval) -> Interval:
        """Where the difference lies, when both hold."""
        return Interval(self.lower - other.upper, self.upper - other.lower)


def proportion_interval(hits: int, trials: int, *, alpha: float) -> Interval:
    """Where a proportion lies, at every moment at once with probability 1 - ``alpha``; exact for any number of trials.

    Args:
        hits: How often it happened; count.
        trials: How often it could have; count.
        alpha: Chance of ever being wrong.
    """
    if trials == 0:
        return Interval(0.0, 1.0)
    misses = trials - hits
    mixture = _log_beta(hits + _MIXTURE, misses + _MIXTURE) - _log_beta(_MIXTURE, _MIXTURE)
    limit = mixture - math.log(1 / alpha)
    seen = hits / trials

    def is_inside(proportion: float) -> bool:
        return _log_likelihood(proportion, hits, misses) > limit

    return Interval(_border(0.0, seen, is_inside), _border(1.0, seen, is_inside))


def mean_interval(count: int, mean: float, variance: float, *, alpha: float) -> Interval:
    """Where a mean lies, at every moment from `LEAST_VALUES` values on at once with probability about 1 - ``alpha``.

    Args:
        count: Values.
        mean: Of the values.
        variance: Of the values.
        alpha: Chance of ever being wrong.
    """
    if count < LEAST_VALUES:
        return Interval(-math.inf, math.inf)
    log_term = -2 * math.log(alpha)
    rho_squared = (log_term + math.log(log_term + 1)) / _TIGHTEST_AT
    scaled = count * rho_squared + 1
    width = math.sqrt(variance * 2 * scaled / (count**2 * rho_squared) * math.log(math.sqrt(scaled) / alpha))
    return Interval(mean - width, mean + width)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _log_likelihood(proportion: float, hits: int, misses: int) -> float:
    found = 0.0
    for times, chance in ((hits, proportion), (misses, 1 - proportion)):
        if times:
            if chance <= 0:
                return -math.inf
            found += times * math.log(chance)
    return found


def _border(outside: float, inside: float, is_inside: Callable[[float], bool]) -> float:
    if is_inside(outside):
        return outside
    for _ in range(_BISECTIONS):
        middle = (outside + inside) / 2
        if is_inside(middle):
            inside = middle
        else:
            outside = middle
    return outside

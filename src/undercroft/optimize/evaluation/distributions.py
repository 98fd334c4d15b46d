"""The few distributions that intervals and tests need. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

_TERMS = 300
_PRECISION = 1e-15
_BISECTIONS = 80


def normal_quantile(share: float) -> float:
    """The value that a standard normal variable stays below with this probability.

    Args:
        share: Above 0.0 and below 1.0.
    """
    return NormalDist().inv_cdf(share)


def normal_share(value: float) -> float:
    """The probability that a standard normal variable stays below a value."""
    return 0.5 * math.erfc(-value / math.sqrt(2))


def student_quantile(share: float, degrees: float) -> float:
    """The value that Student's t stays below with this probability.

    Args:
        share: Above 0.0 and below 1.0.
        degrees: Of freedom; above 0.
    """
    if share < 0.5:
        return -student_quantile(1 - share, degrees)
    # P(|T| > t) = I(degrees / (degrees + t²); degrees / 2, ½), solved for the argument.
    outside = beta_quantile(2 * (1 - share), degrees / 2, 0.5)
    return math.sqrt(degrees * (1 - outside) / outside)


def beta_quantile(share: float, a: float, b: float) -> float:
    """The value that a Beta(a, b) variable stays below with this probability.

    Args:
        share: 0.0 to 1.0.
        a: Above 0.
        b: Above 0.
    """
    return _root(lambda value: beta_share(value, a, b) - share)


def beta_share(value: float, a: float, b: float) -> float:
    """The probability that a Beta(a, b) variable stays below a value: the regularized incomplete beta function.

    Args:
        value: 0.0 to 1.0.
        a: Above 0.
        b: Above 0.

    Source:
        W. H. Press et al., Numerical Recipes, 3rd edition, section 6.4: the continued fraction, by Lentz's method.
    """
    if value <= 0.0 or value >= 1.0:
        return min(1.0, max(0.0, value))
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(value) + b * math.log1p(-value)
    if value < (a + 1) / (a + b + 2):
        return math.exp(log_front) * _continued_fraction(value, a, b) / a
    return 1.0 - math.exp(log_front) * _continued_fraction(1 - value, b, a) / b


def binomial_tail(hits: int, trials: int) -> float:
    """The probability of at most so many heads of a fair coin.

    Args:
        hits: Heads; count, at least 0.
        trials: Throws; count.
    """
    return 1.0 if hits >= trials else beta_share(0.5, trials - hits, hits + 1)


def _continued_fraction(value: float, a: float, b: float) -> float:
    upper, lower = 1.0, _away_from_zero(1 - (a + b) * value / (a + 1))
    lower = 1 / lower
    found = lower
    for term in range(1, _TERMS):
        even = term * (b - term) * value / ((a + 2 * term - 1) * (a + 2 * term))
        odd = -(a + term) * (a + b + term) * value / ((a + 2 * term) * (a + 2 * term + 1))
        for factor in (even, odd):
            lower = 1 / _away_from_zero(1 + factor * lower)
            upper = _away_from_zero(1 + factor / upper)
            change = lower * upper
            found *= change
        if abs(change - 1) < _PRECISION:
            break
    return found


def _away_from_zero(value: float) -> float:
    return value if abs(value) > 1e-300 else 1e-300


def _root(function: Callable[[float], float]) -> float:
    """Where a rising function crosses 0 between 0 and 1."""
    low, high = 0.0, 1.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if function(middle) < 0:
            low = middle
        else:
            high = middle
    return (low + high) / 2

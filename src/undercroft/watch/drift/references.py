"""What is usual: learnt from the first values of a series, and then kept, so that a slow change is seen, too. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

# Of a question: as if so many cases of the usual kind had been seen before its first.
_PRIOR_CASES = 20.0
_PRIOR_VALUES = 10.0
# Nothing lost in fifty cases is no proof that nothing is: one standard error of a rare event, and one in a hundred.
_CAUTION_CASES = 0.5
_CAUTION_SHARE = 0.01
_MOST_USUAL_SHARE = 0.98
# Standard deviations that 90 of 100 values lie within, from end to end.
_SPAN_DEVIATIONS = 3.29


@dataclass(frozen=True, slots=True)
class Usual:
    """Count, mean and spread of some values, one at a time.

    Args:
        count: Values.
        mean: Of them.
        squares: Sum of squared distances from their mean.

    Source:
        B. P. Welford, Note on a Method for Calculating Corrected Sums of Squares, Technometrics 4 (1962).
    """

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def with_value(self, value: float) -> Usual:
        """The same with one more value."""
        count = self.count + 1
        mean = self.mean + (value - self.mean) / count
        return Usual(count, mean, self.squares + (value - self.mean) * (value - mean))

    def scale(self, *, prior: float) -> float:
        """Standard deviation, drawn towards one that is held likely while the values are few.

        Args:
            prior: Standard deviation before anything was seen; the unit of the values.
        """
        free = max(0, self.count - 1)
        return math.sqrt((_PRIOR_VALUES * prior**2 + self.squares) / (_PRIOR_VALUES + free))

    def to_plain(self) -> list[Any]:
        """For JSON."""
        return [self.count, round(self.mean, 6), round(self.squares, 6)]


@dataclass(frozen=True, slots=True)
class Together:
    """All values of several series.

    Args:
        series: How many.
        count: Values of all.
        mean: Of all.
        squares: Sum of squared distances from the mean of each series.
    """

    series: int
    count: int
    mean: float
    squares: float

    def scale(self, *, prior: float) -> float:
        """Standard deviation within a series, drawn towards one that is held likely while the values are few."""
        free = max(0, self.count - self.series)
        return math.sqrt((_PRIOR_VALUES * prior**2 + self.squares) / (_PRIOR_VALUES + free))


def together(usuals: Iterable[Usual]) -> Together:
    """All values of several series."""
    series, count, total, squares = 0, 0, 0.0, 0.0
    for usual in usuals:
        series += 1
        count += usual.count
        total += usual.count * usual.mean
        squares += usual.squares
    return Together(series, count, total / count if count else 0.0, squares)


def usual_share(own: Usual, everything: Together) -> float:
    """The share of cases of one question that are held to be lost when all is well, with caution.

    Args:
        own: Of the question: 1.0 for each case that was lost, 0.0 for each other.
        everything: Of all questions.

    Returns:
        0.01 to 0.98: the question's own share, drawn towards that of all, which is taken a standard error higher.
    """
    lost = everything.count * everything.mean
    of_all = (lost + _CAUTION_CASES + math.sqrt(lost + 1)) / (everything.count + 1)
    share = (own.count * own.mean + _PRIOR_CASES * of_all) / (own.count + _PRIOR_CASES)
    return min(_MOST_USUAL_SHARE, share + _CAUTION_SHARE)


@dataclass(frozen=True, slots=True)
class Span:
    """Where nearly all values of a series lay while it was learnt.

    Args:
        low: A twentieth lay below.
        middle: Median.
        high: A twentieth lay above.
    """

    low: float
    middle: float
    high: float

    def scale(self, *, prior: float) -> float:
        """Standard deviation as this span would have it, at least ``prior``."""
        return max(prior, (self.high - self.low) / _SPAN_DEVIATIONS)


def span_of(values: Sequence[float]) -> Span:
    """The span of values.

    Args:
        values: At least two.
    """
    cuts = statistics.quantiles(values, n=20, method="inclusive")
    return Span(cuts[0], statistics.median(values), cuts[-1])

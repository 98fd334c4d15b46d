"""Does something grow without an end: a robust slope with a bound, and what makes it a leak. Pure."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

# A slope that chance alone reaches once in a thousand windows of independent values.
_Z = 3.09
_LEAST_POINTS = 24
_MOST_CORRELATED = 0.95
# Growth in the last third of a window, as a share of what an even growth would have there; less is a warm-up that ends.
_LAST_THIRD = 0.7


@dataclass(frozen=True, slots=True)
class Slope:
    """How fast something grows.

    Args:
        per_hour: Median of the slopes of all pairs; the unit of the values, an hour.
        lower_per_hour: It is hardly less.
        window_hours: From the first value to the last.
        middle: Median of the values.
        last_third: Growth of the last third of the window, as a share of an even growth's; 0.0 where it stands still.
    """

    per_hour: float
    lower_per_hour: float
    window_hours: float
    middle: float
    last_third: float

    @property
    def growth(self) -> float:
        """Over the window; the unit of the values."""
        return self.per_hour * self.window_hours


def slope_of(hours: Sequence[float], values: Sequence[float]) -> Slope | None:
    """The slope of a series; None where it has too few values to say.

    Args:
        hours: When each was seen, rising.
        values: As many.

    Source:
        P. K. Sen, Estimates of the Regression Coefficient Based on Kendall's Tau, JASA 63 (1968), with its interval;
        values that follow each other are alike, for which the interval is widened as K. H. Hamed and A. R. Rao do
        (Journal of Hydrology 204, 1998), by the first correlation alone.
    """
    count = len(values)
    if count < _LEAST_POINTS or hours[-1] <= hours[0]:
        return None
    slopes = sorted(
        (values[later] - values[earlier]) / (hours[later] - hours[earlier])
        for earlier in range(count)
        for later in range(earlier + 1, count)
        if hours[later] > hours[earlier]
    )
    middle = statistics.median(slopes)
    alike = _first_correlation([value - middle * hour for hour, value in zip(hours, values, strict=True)])
    variance = count * (count - 1) * (2 * count + 5) / 18 * (1 + alike) / (1 - alike)
    below = math.floor((len(slopes) - _Z * math.sqrt(variance)) / 2)
    lower = slopes[below] if below >= 0 else -math.inf
    third = count // 3
    ends = [statistics.median(part) for part in (values[:third], values[third : 2 * third], values[-third:])]
    even = (ends[2] - ends[0]) / 2
    last_third = (ends[2] - ends[1]) / even if even > 0 else 0.0
    return Slope(middle, lower, hours[-1] - hours[0], statistics.median(values), last_third)


def is_leak(slope: Slope, *, least_growth: float, least_share: float) -> bool:
    """Whether something grows without an end, and so much that it matters.

    Args:
        slope: Of it.
        least_growth: Over the window; the unit of the values. Less does not matter.
        least_share: Of the median, over the window. Less does not matter.
    """
    matters = max(least_growth, least_share * slope.middle)
    return slope.lower_per_hour > 0 and slope.growth >= matters and slope.last_third >= _LAST_THIRD


def _first_correlation(values: Sequence[float]) -> float:
    """How alike neighbours are, 0.0 to 0.95."""
    mean = statistics.fmean(values)
    around = [value - mean for value in values]
    squares = sum(value * value for value in around)
    if squares == 0:
        return 0.0
    products = sum(one * other for one, other in itertools.pairwise(around))
    return min(_MOST_CORRELATED, max(0.0, products / squares))

"""A line that is level, rises, and may be level again: where it bends so that it lies nearest to some values. Pure."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from undercroft.watch.blame.change_points import Point

# Places that fit hardly worse: by the logarithm of the likelihood.
_NEAR_LOG = 4.0


@dataclass(frozen=True, slots=True)
class Bend:
    """A line that is level, rises, and may be level again.

    Args:
        begin: Of the rise; place.
        end: Of the rise; place.
        level: Before it.
        per_second: Rise.
        squares: Sum of squared distances of the values from it.
    """

    begin: int
    end: int
    level: float
    per_second: float
    squares: float


def fit_bend(bins: Sequence[Point], *, is_rising_on: bool = False) -> tuple[Bend, list[int]]:
    """The line that lies nearest, and every place where the rise may as well begin.

    Args:
        bins: At least two.
        is_rising_on: It rises until the end.

    Source:
        Two-phase regression with the break searched for at each place, as D. J. Hudson, Fitting Segmented Curves Whose
        Join Points Have to Be Estimated, JASA 61 (1966), with a second break where the rise may end.
    """
    count = len(bins)
    sums = _Sums.of(bins)
    best = {
        begin: min(
            (sums.squares(begin, end), end) for end in ([count - 1] if is_rising_on else range(begin + 1, count))
        )
        for begin in range(count - 1)
    }
    begin = min(best, key=lambda place: best[place])
    least, end = best[begin]
    alike = [place for place, (squares, _) in best.items() if squares <= least * math.exp(2 * _NEAR_LOG / count)]
    level, per_second = sums.line(begin, end)
    return Bend(begin, end, level, per_second, least), alike


@dataclass(frozen=True, slots=True)
class _Sums:
    """Sums of the values up to each place, of which every bent line comes without looking at the values again.

    Args:
        times: Seconds since the first value.
        mean: Of the values.
        of_times: Sums of the times before each place, one more than there are places.
        of_squares: The same of their squares.
        of_values: The same of the values, less their mean.
        of_products: The same of the times and those values multiplied.
        spread: Sum of the squares of those values.
    """

    times: Sequence[float]
    mean: float
    of_times: Sequence[float]
    of_squares: Sequence[float]
    of_values: Sequence[float]
    of_products: Sequence[float]
    spread: float

    @classmethod
    def of(cls, bins: Sequence[Point]) -> _Sums:
        """Of some values in the order of time."""
        mean = statistics.fmean(one.value for one in bins)
        times, values = [one.at - bins[0].at for one in bins], [one.value - mean for one in bins]
        return cls(
            times,
            mean,
            _running(times),
            _running([at * at for at in times]),
            _running(values),
            _running([at * value for at, value in zip(times, values, strict=True)]),
            sum(value * value for value in values),
        )

    def squares(self, begin: int, end: int) -> float:
        """Sum of squared distances from the line that rises from one place to another."""
        _, spread, shared = self._moments(begin, end)
        return max(0.0, self.spread - shared * shared / spread) if spread else self.spread

    def line(self, begin: int, end: int) -> tuple[float, float]:
        """Its level before the rise, and its rise a second."""
        mean, spread, shared = self._moments(begin, end)
        per_second = shared / spread if spread else 0.0
        return self.mean - per_second * mean, per_second

    def _moments(self, begin: int, end: int) -> tuple[float, float, float]:
        """Of the seconds that the line has risen at each place: mean, spread, and what it shares with the values."""
        start, rising, count = self.times[begin], end - begin, len(self.times)
        whole, risen = self.times[end] - start, count - 1 - end
        first, last = begin + 1, end + 1
        times = self.of_times[last] - self.of_times[first]
        total = times - rising * start + risen * whole
        squares = self.of_squares[last] - self.of_squares[first] - 2 * start * times + rising * start * start
        shared = self.of_products[last] - self.of_products[first]
        shared -= start * (self.of_values[last] - self.of_values[first])
        shared += whole * (self.of_values[count] - self.of_values[last])
        return total / count, squares + risen * whole * whole - total * total / count, shared


def _running(values: Sequence[float]) -> list[float]:
    return [0.0, *itertools.accumulate(values)]

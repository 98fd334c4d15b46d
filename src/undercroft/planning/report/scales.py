"""Axes: where a value lies and which values are written beside it. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scale:
    """Values to places along an axis.

    Args:
        low: Value at ``start``; above 0 on a logarithmic axis.
        high: Value at ``end``; above ``low``.
        start: Place, in units of the drawing.
        end: Place, in units of the drawing.
        is_logarithmic: Equal factors take equal lengths.
        step: From tick to tick; 0 takes a round one.
    """

    low: float
    high: float
    start: float
    end: float
    is_logarithmic: bool = False
    step: float = 0.0

    def at(self, value: float) -> float:
        """Place of a value; one beyond the axis lies at its end."""
        inside = min(max(value, self.low), self.high)
        if self.is_logarithmic:
            share = math.log(inside / self.low) / math.log(self.high / self.low)
        else:
            share = (inside - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self, count: int = 5) -> list[float]:
        """Round values on it.

        Args:
            count: About so many.
        """
        return _round_factors(self.low, self.high, count) if self.is_logarithmic else _round_steps(self, count)

    def samples(self, count: int = 64) -> list[float]:
        """Values at equal lengths, both ends among them."""
        shares = [index / (count - 1) for index in range(count)]
        if self.is_logarithmic:
            return [self.low * (self.high / self.low) ** share for share in shares]
        return [self.low + share * (self.high - self.low) for share in shares]


def linear(high: float, start: float, end: float) -> Scale:
    """From 0 to a little above a value, so that the last tick is round.

    Args:
        high: Largest value that has to be on it.
        start: Place of 0.
        end: Place of the end.
    """
    most = high if high > 0 and math.isfinite(high) else 1.0
    step = _round_step(most / 4)
    return Scale(0.0, step * math.ceil(most / step * 1.0001), start, end)


def logarithmic(low: float, high: float, start: float, end: float) -> Scale:
    """Over values above 0, at least one power of ten.

    Args:
        low: Smallest value that has to be on it.
        high: Largest value that has to be on it.
        start: Place of the smallest.
        end: Place of the largest.
    """
    least = max(low, 1e-9)
    return Scale(least, max(high, least * 10), start, end, is_logarithmic=True)


def _round_step(least: float) -> float:
    """The smallest of 1, 2, 2.5, 5 times a power of ten that is not below."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= least * 0.9999)


def _round_steps(scale: Scale, count: int) -> list[float]:
    step = scale.step or _round_step((scale.high - scale.low) / count)
    first, last = math.ceil(scale.low / step * 0.9999), math.floor(scale.high / step * 1.0001)
    return [step * index for index in range(first, last + 1)]


def _round_factors(low: float, high: float, count: int) -> list[float]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    every = max(1, math.ceil((last - first) / count))
    for factors in ((1,), (1, 3), (1, 2, 5)):
        values = [f * 10.0**p for p in range(first, last + 1, every) for f in factors]
        inside = [value for value in values if low * 0.999 <= value <= high * 1.001]
        if len(inside) >= 3:
            break
    return inside

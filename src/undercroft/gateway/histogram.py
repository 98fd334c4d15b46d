"""Latencies counted in buckets: two additions an observation."""

from __future__ import annotations

from bisect import bisect_left

INTER_TOKEN_BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class Histogram:
    """Observations in buckets."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, seconds: float, times: int = 1) -> None:
        """Adds ``times`` observations of the same value."""
        self.counts[bisect_left(self.bounds, seconds)] += times
        self.sum += seconds * times

    def add(self, other: Histogram) -> None:
        """Adds what another one with the same bounds has counted."""
        self.counts = [mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)]
        self.sum += other.sum

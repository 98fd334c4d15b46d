"""What a decode step's seconds are made of, and what measured steps teach about each of these terms. Pure.

Measured seconds are the sum of the forecast's terms, each times a factor of the device, times what is peculiar to the
network (which is not carried to others), times noise. The factors are the maximum of their posterior: all of these are
log-normal around 1 with the standard deviations below. So a run of one model moves the terms that took most of its
time, and several of its runs (alone, with others, after a long prompt) tell the terms apart.

Source of the method: a linear mixed model, its fixed effects with a normal prior (Gelman et al., "Bayesian Data
Analysis", 3rd edition, chapters 14 and 15), solved by Gauss-Newton steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


class StepTerms(NamedTuple):
    """Seconds of one step by what takes them.

    Args:
        reading: Of weights, and what unpacking them costs an accelerator.
        arithmetic: With weights, beside reading.
        attention: With the keys and values of the cache.
        overhead: Layers, sampling, the server's loop.
    """

    reading: float = 0.0
    arithmetic: float = 0.0
    attention: float = 0.0
    overhead: float = 0.0

    @property
    def total(self) -> float:
        """All of it."""
        return self.reading + self.arithmetic + self.attention + self.overhead

    @property
    def seconds(self) -> tuple[float, float, float, float]:
        """One by one, in the order of their names above."""
        return (self.reading, self.arithmetic, self.attention, self.overhead)


@dataclass(frozen=True, slots=True)
class TermFactors:
    """What each term's seconds are multiplied with; 1 is as forecast, 2 takes twice as long.

    Args:
        reading: See `StepTerms`.
        arithmetic: The same.
        attention: The same.
        overhead: The same.
    """

    reading: float = 1.0
    arithmetic: float = 1.0
    attention: float = 1.0
    overhead: float = 1.0

    def slowdown(self, terms: StepTerms) -> float:
        """Seconds with these factors over seconds as forecast."""
        slowed = (
            self.reading * terms.reading
            + self.arithmetic * terms.arithmetic
            + self.attention * terms.attention
            + self.overhead * terms.overhead
        )
        return slowed / terms.total if terms.total > 0 else 1.0


@dataclass(frozen=True, slots=True)
class Step:
    """A step as forecast and as measured.

    Args:
        terms: As forecast, without anything learnt; seconds.
        measured: Seconds.
    """

    terms: StepTerms
    measured: float


# Standard deviations of logarithms. Of the factors: what a device whose memory and products were measured may still
# differ by; of attention and overhead nothing is measured before. Of a network, and of one measurement of it: chosen
# where forecasts of eight networks after learning from one file of the ninth were best, as measured and on made-up
# machines whose terms were up to 2.5 times slower (benchmarks.sizing_speed, rows of 2026-11-21).
_FACTOR_SPREADS = (0.25, 0.30, 0.60, 0.60)
_NETWORK_SPREAD, _NOISE = 0.08, 0.10
_ITERATIONS, _LARGEST_FACTOR = 6, 4.0


def learn_factors(networks: Sequence[Sequence[Step]]) -> TermFactors:
    """The factors that explain what was measured best.

    Args:
        networks: Of each network (and quantization) its steps; more than one alike count as so many measurements.
    """
    logs = [0.0] * len(_FACTOR_SPREADS)
    for _ in range(_ITERATIONS):
        matrix = [[0.0] * len(logs) for _ in logs]
        vector = [-value / spread**2 for value, spread in zip(logs, _FACTOR_SPREADS, strict=True)]
        for row, spread in enumerate(_FACTOR_SPREADS):
            matrix[row][row] = 1 / spread**2
        for steps in networks:
            _add(matrix, vector, steps, logs)
        moved = _solved(matrix, vector)
        bound = math.log(_LARGEST_FACTOR)
        logs = [max(-bound, min(bound, value + move)) for value, move in zip(logs, moved, strict=True)]
    return TermFactors(*(math.exp(value) for value in logs))


def _add(matrix: list[list[float]], vector: list[float], steps: Sequence[Step], logs: Sequence[float]) -> None:
    """Normal equations of one network: its own effect is integrated out, so its steps share an error."""
    rows, misses = [], []
    for step in steps:
        seconds = [math.exp(log) * term for log, term in zip(logs, step.terms.seconds, strict=True)]
        total = sum(seconds)
        rows.append([one / total for one in seconds])
        misses.append(math.log(step.measured / total))
    weight = 1 / _NOISE**2
    shared = _NETWORK_SPREAD**2 / (_NOISE**2 + len(steps) * _NETWORK_SPREAD**2)
    sums = [sum(row[column] for row in rows) for column in range(len(logs))]
    missed = sum(misses)
    for one in range(len(logs)):
        own = sum(row[one] * miss for row, miss in zip(rows, misses, strict=True))
        vector[one] += weight * (own - shared * sums[one] * missed)
        for other in range(len(logs)):
            product = sum(row[one] * row[other] for row in rows)
            matrix[one][other] += weight * (product - shared * sums[one] * sums[other])


def _solved(matrix: list[list[float]], vector: list[float]) -> list[float]:
    """Solution of a small system whose matrix is symmetric and positive definite; Gauss without exchanging rows."""
    rows = [[*row, right] for row, right in zip(matrix, vector, strict=True)]
    size = len(rows)
    for pivot in range(size):
        for row in range(pivot + 1, size):
            scale = rows[row][pivot] / rows[pivot][pivot]
            rows[row] = [value - scale * above for value, above in zip(rows[row], rows[pivot], strict=True)]
    found = [0.0] * size
    for row in reversed(range(size)):
        known = sum(rows[row][column] * found[column] for column in range(row + 1, size))
        found[row] = (rows[row][size] - known) / rows[row][row]
    return found

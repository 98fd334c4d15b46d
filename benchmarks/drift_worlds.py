"""Made-up years for `benchmarks.drift`: questions that are asked again and again, with and without a change."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import NormalDist

_NORMAL = NormalDist()
BASELINE_RUNS = 10


@dataclass(frozen=True, slots=True)
class World:
    """How questions are answered.

    The quality of an answer is that of its question, which stays, plus a chance of its own; together they have a
    variance of 1. An answer passes above 0. Its score is what a check of likeness says, to be seen above 0, too.

    Args:
        name: For the table.
        passed: Share of the answers that pass when all is well.
        passed_later: After the change.
        questions: Of the probe; count.
        between: Share of the variance that is the question's own; 0.0 is the plain coin of textbooks.
    """

    name: str
    passed: float
    passed_later: float
    questions: int
    between: float

    def answers(self, chance: random.Random, count: int, change: int | None) -> Iterator[tuple[int, float]]:
        """Question and quality of answers, the questions in turn.

        Args:
            chance: Seeded.
            count: Answers.
            change: From which on it is worse; None is never.
        """
        own = [chance.gauss(0, math.sqrt(self.between)) for _ in range(self.questions)]
        spread = math.sqrt(1 - self.between)
        well, badly = _NORMAL.inv_cdf(self.passed), _NORMAL.inv_cdf(self.passed_later)
        for number in range(count):
            question = number % self.questions
            middle = well if change is None or number < change else badly
            yield question, middle + own[question] + chance.gauss(0, spread)


def score_of(quality: float) -> float:
    """What a check of likeness would say of an answer: 0.8 where it just passes, and never above 1."""
    return min(1.0, max(0.0, 0.8 + 0.08 * quality))


def normal(chance: random.Random) -> Callable[[], float]:
    """Independent values of a normal distribution with a standard deviation of 1."""
    return lambda: chance.gauss(0, 1)


def heavy(chance: random.Random) -> Callable[[], float]:
    """Independent values of Student's distribution with three degrees of freedom: far ones come often."""

    def value() -> float:
        return chance.gauss(0, 1) / math.sqrt(sum(chance.gauss(0, 1) ** 2 for _ in range(3)) / 3)

    return value


def sticky(chance: random.Random, alike: float) -> Callable[[], float]:
    """Values of a standard deviation of 1, each like the one before it."""
    last = chance.gauss(0, 1)

    def value() -> float:
        nonlocal last
        last = alike * last + math.sqrt(1 - alike * alike) * chance.gauss(0, 1)
        return last

    return value

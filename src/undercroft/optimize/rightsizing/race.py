"""What is measured next, and which candidate is taken: decided from what was measured so far. Pure.

Candidates are gone through from the smallest to the largest, each in looks that double. The first that is within the
budget, and fast and small enough where it was run, is the pick; nothing larger has to be made. So the pick is the
smallest of all that would have been found by measuring everything: a smaller one was either asked everything and is not
within the budget, or was given up by a test.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from undercroft.optimize.rightsizing.budget import Judgement, Standing

_FIRST_LOOK = 32
_LOOKS = 4


@dataclass(frozen=True, slots=True)
class Runner:
    """A candidate, as far as it has come.

    Args:
        name: Unlike those of the others.
        size_bytes: Of its file.
        judgement: Of its quality; None before the first look.
        can_run: Whether it is small and fast enough where it has to run, as measured or forecast; None before it was
            looked at.
        tokens_per_second: Of one answer there; None where it is not known.
        memory_bytes: That it takes there; None where it is not known.
        is_lost: It could not be made or run, and is out.
    """

    name: str
    size_bytes: int
    judgement: Judgement | None = None
    can_run: bool | None = None
    tokens_per_second: float | None = None
    memory_bytes: int | None = None
    is_lost: bool = False

    @property
    def is_open(self) -> bool:
        """Its quality has to be looked at further."""
        return not self.is_lost and (self.judgement is None or self.judgement.standing is Standing.OPEN)

    @property
    def holds(self) -> bool:
        """Its quality is within the budget."""
        return not self.is_lost and self.judgement is not None and self.judgement.standing is Standing.HOLDS


@dataclass(frozen=True, slots=True)
class Look:
    """Ask this one on, up to so many tasks or texts."""

    name: str
    upto: int


@dataclass(frozen=True, slots=True)
class Try:
    """See how fast it is, and what memory it takes."""

    name: str


@dataclass(frozen=True, slots=True)
class End:
    """Nothing is left to measure; the pick, or None where no candidate is one."""

    pick: str | None


Move = Look | Try | End


def looks_of(count: int) -> tuple[int, ...]:
    """After how many tasks or texts it is looked whether to go on: an eighth, a quarter, a half, all.

    Args:
        count: All there are; at least 1.
    """
    found = sorted({-(-count // 2**step) for step in range(_LOOKS)})
    return tuple(look for look in found if look >= _FIRST_LOOK or look == count)


def next_move(runners: Iterable[Runner], looks: Sequence[int], *, measures_all: bool = False) -> Move:
    """What to do next.

    Args:
        runners: All candidates.
        looks: From `looks_of`.
        measures_all: Go on to those that are larger than the pick.
    """
    pick: str | None = None
    ordered = sorted(runners, key=lambda runner: runner.size_bytes)
    for _, group in groupby(ordered, key=lambda runner: runner.size_bytes):
        alike = list(group)
        for runner in alike:
            if runner.is_open:
                seen = runner.judgement.looked if runner.judgement is not None else 0
                return Look(runner.name, next(look for look in looks if look > seen))
            if runner.holds and runner.can_run is None:
                return Try(runner.name)
        fit = [runner for runner in alike if runner.holds and runner.can_run]
        if fit and pick is None:
            pick = min(fit, key=_rank).name
        if pick is not None and not measures_all:
            break
    return End(pick)


def _rank(runner: Runner) -> tuple[float, float, float, str]:
    """Of one size: what is surest to lose little, then what is faster, then what takes less."""
    assert runner.judgement is not None  # it holds
    return (
        runner.judgement.loss.upper,
        -(runner.tokens_per_second or 0.0),
        float(runner.memory_bytes or 0),
        runner.name,
    )

"""Whether a candidate keeps within a budget of quality: what an interval shows, and nothing beyond it. Pure.

A loss is counted in percent: points of the tasks passed, or how far perplexity rises. A candidate is within the budget
when even the unfavourable end of the interval of its loss is; it is given up before it was asked everything when the
favourable end is beyond the budget, or when all that is left could not bring it back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from undercroft.optimize.evaluation.figures import exponential, mapped
from undercroft.optimize.evaluation.intervals import Estimate, paired_proportions
from undercroft.optimize.evaluation.paired import ALPHA, compare_amounts, compare_passes

_MOST_TASKS = 10_000_000
# 1 point of 100 is 0.01 of 1, which binary fractions do not know.
_SLACK = 1e-9


class Standing(StrEnum):
    """Of a candidate in the race."""

    OPEN = "open"
    HOLDS = "within the budget"
    LOSES = "loses more"
    OUT_OF_REACH = "out of reach"
    UNPROVEN = "not proven"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is known of a candidate's quality.

    Args:
        standing: What follows.
        loss: Percent lost against the parent, with its interval of 95 %; below 0 where it gained.
        looked: Tasks or texts that were compared; count.
        of: All there are; count.
    """

    standing: Standing
    loss: Estimate
    looked: int
    of: int

    @property
    def is_whole(self) -> bool:
        """Everything was compared."""
        return self.looked == self.of


@dataclass(frozen=True, slots=True)
class Budget:
    """What may be lost.

    Args:
        percent: Points of the tasks passed, or percent that perplexity rises; above 0.
        tests: Times that a candidate may be given up, all candidates and looks together; the more, the surer it has to
            be each time, so that the chance of giving up any of them wrongly stays 5 %.
    """

    percent: float
    tests: int = 1

    @property
    def early_alpha(self) -> float:
        """Chance of giving up wrongly at one look."""
        return ALPHA / self.tests

    def holds(self, loss: Estimate) -> bool:
        """Even the unfavourable end of the interval is within it."""
        return loss.upper <= self.percent + _SLACK


def judge_passes(parent: Sequence[bool], candidate: Sequence[bool], budget: Budget) -> Judgement:
    """Judges by tasks.

    Args:
        parent: Whether it passed, of every task.
        candidate: The same of the first of them; at least one.
        budget: What may be lost.
    """
    looked, count = len(candidate), len(parent)
    seen, left = parent[:looked], parent[looked:]
    loss = _points_lost(compare_passes(seen, candidate).difference)
    if looked == count:
        return Judgement(_at_the_end(loss, budget), loss, looked, count)
    surely = _points_lost(compare_passes(seen, candidate, alpha=budget.early_alpha).difference)
    if surely.lower > budget.percent:
        return Judgement(Standing.LOSES, loss, looked, count)
    # At the best it passes all that is left, and so gains what the parent fails there.
    best = sum(seen) - sum(candidate) - (len(left) - sum(left))
    if 100 * best / count > budget.percent + _SLACK:
        return Judgement(Standing.OUT_OF_REACH, loss, looked, count)
    return Judgement(Standing.OPEN, loss, looked, count)


def judge_texts(
    parent_nats: Sequence[float],
    candidate_nats: Sequence[float],
    tokens: Sequence[int],
    of: int,
    budget: Budget,
    *,
    seed: int,
    is_whole: bool,
) -> Judgement:
    """Judges by texts: how far perplexity rises.

    Args:
        parent_nats: Sum of each text that was read; at least one.
        candidate_nats: The same.
        tokens: That each text has; above 0.
        of: Texts there are; count.
        budget: What may be lost.
        seed: Of the bootstrap.
        is_whole: All of them were read; some may have no token to judge by.
    """

    def compared(alpha: float) -> Estimate:
        found = compare_amounts(
            parent_nats, candidate_nats, [float(n) for n in tokens], seed=seed, is_more_better=False, alpha=alpha
        )
        return mapped(found.difference, lambda nats: 100 * (exponential(nats) - 1))

    loss, looked = compared(ALPHA), len(tokens)
    if is_whole:
        return Judgement(_at_the_end(loss, budget), loss, looked, of)
    is_beyond = compared(budget.early_alpha).lower > budget.percent
    return Judgement(Standing.LOSES if is_beyond else Standing.OPEN, loss, looked, of)


def tasks_needed(judgement: Judgement, budget: Budget, *, only_parent: int, only_candidate: int) -> int | None:
    """Tasks that would prove a loss within the budget, if candidate and parent went on to differ as they did.

    Args:
        judgement: Of all tasks there are.
        budget: What may be lost.
        only_parent: Tasks that only the parent passed; count.
        only_candidate: Tasks that only the candidate passed; count.

    Returns:
        None where what it loses by itself is not within the budget, so that no number would.
    """
    trials = judgement.looked
    if 100 * (only_parent - only_candidate) / trials >= budget.percent:
        return None

    def proves(count: int) -> bool:
        lost, gained = (round(count * share / trials) for share in (only_parent, only_candidate))
        return budget.holds(_points_lost(paired_proportions(lost, gained, count)))

    return _least(proves, trials)


def tasks_needed_at_least(budget: Budget) -> int:
    """Tasks with which a candidate that answers every one as its parent does is proven within the budget."""
    found = _least(lambda count: budget.holds(_points_lost(paired_proportions(0, 0, count))), 1)
    assert found is not None  # with ever more tasks the interval closes
    return found


def _least(proves: Callable[[int], bool], start: int) -> int | None:
    most = max(1, start)
    while not proves(most):
        most *= 2
        if most > _MOST_TASKS:
            return None
    low = max(1, most // 2)
    while low < most:
        middle = (low + most) // 2
        low, most = (low, middle) if proves(middle) else (middle + 1, most)
    return most


def _points_lost(difference: Estimate) -> Estimate:
    """Of a gain in shares, the loss in points."""
    return replace(
        difference,
        value=-100 * difference.value + 0.0,
        lower=-100 * difference.upper + 0.0,
        upper=-100 * difference.lower + 0.0,
    )


def _at_the_end(loss: Estimate, budget: Budget) -> Standing:
    if budget.holds(loss):
        return Standing.HOLDS
    return Standing.LOSES if loss.lower > budget.percent else Standing.UNPROVEN

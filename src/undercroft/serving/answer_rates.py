"""Rates of answers out of their times: how many a replica gave at once, over what context, how fast. Pure."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

_FEWEST_ANSWERS = 5
_FASTEST_SHARE = 0.9


@dataclass(frozen=True, slots=True)
class Answer:
    """The stretch in which one replica made one answer, after its first token.

    Args:
        began: Seconds of any clock that all of them share.
        ended: The same; above ``began``.
        tokens: Made in between; count.
        context_tokens: In the cache in the middle of it.
    """

    began: float
    ended: float
    tokens: int
    context_tokens: float


@dataclass(frozen=True, slots=True)
class AnswerRate:
    """A rate that can be compared with a forecast.

    Args:
        sequences: Answers that the replica made at once, on average.
        context_tokens: In the cache of one.
        tokens_per_second: Of one.
    """

    sequences: int
    context_tokens: float
    tokens_per_second: float


def answer_rates(answers: Sequence[Answer]) -> list[AnswerRate]:
    """Of each group of at least five answers that were made alike, one that nine of ten did not surpass.

    Alike are answers with one, two, three to four, five to eight … at once, and with a context between two powers of
    two. The fastest count, because whatever else ran on the machine only ever slowed answers down.

    Args:
        answers: Of one replica.
    """
    groups: dict[tuple[int, int], list[AnswerRate]] = {}
    for answer, beside in zip(answers, _at_once(answers), strict=True):
        sequences = max(1, round(beside))
        rate = AnswerRate(sequences, answer.context_tokens, answer.tokens / (answer.ended - answer.began))
        key = (math.ceil(math.log2(sequences)), math.floor(math.log2(max(1.0, answer.context_tokens))))
        groups.setdefault(key, []).append(rate)
    found = []
    for _, own in sorted(groups.items()):
        if len(own) >= _FEWEST_ANSWERS:
            own.sort(key=lambda rate: rate.tokens_per_second)
            found.append(own[math.floor(len(own) * _FASTEST_SHARE)])
    return found


def _at_once(answers: Sequence[Answer]) -> list[float]:
    """Of each answer, how many were made at once while it was made, itself included; on average over its time."""
    changes = sorted([(one.began, 1) for one in answers] + [(one.ended, -1) for one in answers])
    times = [moment for moment, _ in changes]
    active = list(itertools.accumulate(change for _, change in changes))
    # Seconds of all answers together that lie before each change; after the last one nothing is active.
    stretches = [
        (later - earlier) * count
        for (earlier, later), count in zip(itertools.pairwise(times), active[:-1], strict=True)
    ]
    spent = [0.0, *itertools.accumulate(stretches)]

    def until(moment: float) -> float:
        return spent[bisect.bisect_left(times, moment)]

    return [(until(one.ended) - until(one.began)) / (one.ended - one.began) for one in answers]

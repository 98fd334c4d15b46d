"""When the same questions began to be answered otherwise, word for word: what no check need have noticed. Pure.

Standard questions are asked at temperature 0, and most names answer them each time in the same words. There a few runs
with other words mean that something else answers: another model, another prompt, another engine, damaged weights.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from undercroft.watch.blame.change_points import Change, tail_chance

# Runs before and after that are looked at; a question must have been answered alike in so many just before.
_BEFORE, _AFTER, _STEADY = 60, 20, 5
_CHANCE = 1e-2
# By itself, of a question that is among those that are answered otherwise.
_LIKELY = 0.05
# Runs that may say that an answer was given before.
_HISTORY = 400
# Of a score: what is better by more is no matter of blame, and what is worse by more is worse.
_SCORE = 0.002


@dataclass(frozen=True, slots=True)
class Asked:
    """One answer to a standard question.

    Args:
        at: Unix seconds.
        question: Its id.
        digest: Of the answer's text; empty where none came.
        score: 0.0 to 1.0.
    """

    at: float
    question: str
    digest: str
    score: float


@dataclass(frozen=True, slots=True)
class Switch:
    """Other answers than before.

    Args:
        change: When; its levels are shares of the questions that are answered as before.
        questions: That are answered otherwise, sorted.
        asked: Questions; count.
        runs_before: Runs in a row in which the answers were the same; count.
        runs_after: Since then; count.
        scores: Of these questions, before and after; means.
    """

    change: Change
    questions: tuple[str, ...]
    asked: int
    runs_before: int
    runs_after: int
    scores: tuple[float, float]


def find_switches(answers: Sequence[Asked], since: float) -> list[Switch]:
    """Every moment since which questions are answered in other words, and not better.

    Args:
        answers: In the order of time, those before ``since`` as well: they say what was usual.
        since: Unix seconds.
    """
    runs = _runs(answers)
    first = next((at for at, run in enumerate(runs) if max(_times(run)) >= since), len(runs))
    runs, first = runs[max(0, first - _HISTORY) :], min(first, _HISTORY)
    candidates = [at for at in range(first, len(runs)) if _begins(runs, at)]
    found: list[Switch] = []
    for place, at in enumerate(candidates):
        following = candidates[place + 1] if place + 1 < len(candidates) else len(runs)
        ends = {min(following, at + _AFTER), min(len(runs), at + _AFTER)}
        tried = [_switch(runs, at, end, 2 * len(candidates)) for end in sorted(ends)]
        told = [one for one in tried if one is not None]
        if told:
            found.append(min(told, key=lambda one: one.change.chance))
    return found


def _runs(answers: Iterable[Asked]) -> list[dict[str, Asked]]:
    """Answers by runs: a question that comes again begins another; one that was not answered is left out."""
    runs: list[dict[str, Asked]] = []
    for one in answers:
        if not runs or one.question in runs[-1]:
            runs.append({})
        runs[-1][one.question] = one
    answered = ({question: one for question, one in run.items() if one.digest} for run in runs)
    return [run for run in answered if run]


def _times(run: Mapping[str, Asked]) -> list[float]:
    return [one.at for one in run.values()]


def _begins(runs: Sequence[Mapping[str, Asked]], at: int) -> bool:
    """Whether a question that was answered alike for some runs is answered otherwise."""
    for question, one in runs[at].items():
        before = [run[question].digest for run in runs[max(0, at - _STEADY) : at] if question in run]
        if len(before) == _STEADY and len(set(before)) == 1 and one.digest != before[0]:
            return True
    return False


def _switch(runs: Sequence[Mapping[str, Asked]], at: int, end: int, tries: int) -> Switch | None:
    before, after = runs[max(0, at - _BEFORE) : at], runs[at:end]
    earlier = {(question, one.digest) for run in runs[:at] for question, one in run.items()}
    chances: dict[str, float] = {}
    new_words: set[str] = set()
    for question in runs[at]:
        old, new = ([run[question].digest for run in part if question in run] for part in (before, after))
        if len(old) < _STEADY:
            continue
        usual = old[-1] if len(set(old[-_STEADY:])) == 1 else Counter(old).most_common(1)[0][0]
        times, same = old.count(usual), new.count(usual)
        if runs[at][question].digest == usual or same * len(old) >= times * len(new):
            continue
        others = len(new) - same
        chances[question] = tail_chance(others, len(new), others + len(old) - times, len(old) + len(new))
        if (question, Counter(new).most_common(1)[0][0]) not in earlier:
            new_words.add(question)
    chance = tries * combined_chance(list(chances.values()), len(runs[at]))
    surely = sorted(question for question, own in chances.items() if own <= _LIKELY)
    if chance > _CHANCE or not surely:
        return None
    scores = _score(_last_words(before, surely), surely), _score(after, surely)
    if scores[1] > scores[0] + _SCORE or (new_words.isdisjoint(surely) and scores[1] >= scores[0] - _SCORE):
        return None
    first = min(runs[at][question].at for question in surely)
    last_same = max(_times(runs[at - 1]))
    change = Change(
        at=first,
        earliest=min(last_same, first),
        latest=first,
        before=1.0,
        after=1 - len(surely) / len(runs[at]),
        chance=min(1.0, chance),
        values=sum(len(run) for run in (*before, *after)),
    )
    return Switch(change, tuple(surely), len(runs[at]), _alike_before(runs[:at], surely), len(after), scores)


def combined_chance(chances: Sequence[float], tests: int) -> float:
    """Chance that some tests together say so much against chance, by one of them or by all.

    Args:
        chances: Of those tests that say anything; each above 0.0.
        tests: Count, with those that say nothing.

    Returns:
        Twice the smaller of Bonferroni's bound and Fisher's; at most 1.0.

    Source:
        R. A. Fisher, Statistical Methods for Research Workers (1932), section 21.1: the product of uniform chances.
    """
    if not chances:
        return 1.0
    surprise = -sum(math.log(chance) for chance in chances)
    term = total = math.exp(-surprise)
    for number in range(1, tests):
        term *= surprise / number
        total += term
    return min(1.0, 2 * min(total, tests * min(chances)))


def _score(runs: Iterable[Mapping[str, Asked]], questions: Sequence[str]) -> float:
    return fmean(run[question].score for run in runs for question in questions if question in run)


def _last_words(runs: Sequence[Mapping[str, Asked]], questions: Sequence[str]) -> list[dict[str, Asked]]:
    """Of each question the answers that are the same as its last one."""
    last = {question: next(run[question].digest for run in reversed(runs) if question in run) for question in questions}
    return [{question: run[question] for question in questions if _is_same(run, question, last)} for run in runs]


def _is_same(run: Mapping[str, Asked], question: str, last: Mapping[str, str]) -> bool:
    return question in run and run[question].digest == last[question]


def _alike_before(runs: Sequence[Mapping[str, Asked]], questions: Sequence[str]) -> int:
    """Runs in a row at the end in which each of the questions was answered in the same words."""
    kept = _last_words(runs, questions)
    answered = [sum(question in run for question in questions) for run in runs]
    return next((count for count, run in enumerate(reversed(kept)) if len(run) < answered[-1 - count]), len(runs))

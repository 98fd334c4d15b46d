"""The product's judge on real answers of bad candidates, request by request: what it sees without a server's delays."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from benchmarks.care_bank import GOOD, Bank
from undercroft.checks.refusals import is_refusal
from undercroft.serving.promotions import Plan
from undercroft.watch.probes.outcomes import Outcome
from undercroft.watch.promotion.evidence import make_arm
from undercroft.watch.promotion.judging import Arm, Rules, Share, judge
from undercroft.watch.promotion.promotion_steps import Candidate, Scores, Step, after_checking, after_trying

_MOST_REQUESTS = 20_000


@dataclass(frozen=True, slots=True)
class Judged:
    """How a candidate was judged.

    Args:
        is_sent_back: Else it was put into production.
        answers: That users got of it until then; count.
        bad: Of these: answers to standard questions that fail a check; count.
    """

    is_sent_back: bool
    answers: int
    bad: int


def is_found_by_questions(bank: Bank, variant: str) -> bool:
    """Whether the standard questions alone send it back, before any user is answered by it."""
    scores = Scores(_score(bank, variant), _score(bank, GOOD))
    plan = Plan.model_validate({"canary_ratio": 0.1})
    return after_checking(plan, Rules.model_validate({}), _ready(), scores).step is Step.REVERT


@dataclass(slots=True)
class _Seen:
    """What users got of a release, and what some of them said of it.

    Args:
        rows: Usage rows.
        bad: Answers that fail a check; count.
        disliked: Of these: rated bad; count.
        rated: Answers that were rated at all; count.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    bad: int = 0
    disliked: int = 0
    rated: int = 0

    def arm(self) -> Arm:
        return make_arm(self.rows, Share(self.disliked, self.rated))


def judge_unasked(
    bank: Bank, variant: str, seed: int, *, share: float, raters: float = 0.0, min_requests: int = 20
) -> Judged:
    """Users ask until the judge has decided; no standard question was asked before.

    Args:
        bank: Real answers: what users ask are the standard questions, in any order.
        variant: The candidate.
        seed: Of who asks what.
        share: Of the users that it answers.
        raters: Share of the users who say what they think: bad, where the answer fails a check, else good.
        min_requests: Answers of the candidate without which it does not come into production; count.
    """
    rng = random.Random(seed)
    rules = Rules.model_validate({"min_requests": min_requests})
    plan = Plan.model_validate({"canary_ratio": share})
    mine, other = _Seen(), _Seen()
    for _ in range(_MOST_REQUESTS):
        is_mine = rng.random() < share
        seen = mine if is_mine else other
        outcome = rng.choice(rng.choice(bank.rounds[variant if is_mine else GOOD]))
        is_rated = rng.random() < raters
        seen.rows.append(_row(outcome))
        seen.bad += not outcome.has_passed
        seen.rated += is_rated
        seen.disliked += is_rated and not outcome.has_passed
        if not is_mine:
            continue
        arms = mine.arm(), other.arm()
        step = after_trying(plan, rules, _ready(), *arms, judge(rules, *arms)).step
        if step is not Step.WAIT:
            return Judged(step is Step.REVERT, len(mine.rows), mine.bad)
    return Judged(False, len(mine.rows), mine.bad)


def _ready() -> Candidate:
    return Candidate("ready", "", lacks_memory=False, waited_seconds=1.0)


def _score(bank: Bank, variant: str) -> float:
    outcomes = [outcome for each in bank.rounds[variant] for outcome in each]
    return sum(outcome.score for outcome in outcomes) / len(outcomes)


def _row(outcome: Outcome) -> dict[str, Any]:
    """The usage row of an answer, with the signs that the door would have noted."""
    answer = outcome.answer
    text = answer.text if answer is not None else ""
    return {
        "status": 200 if answer is not None else 500,
        "completion_tokens": answer.answer_tokens if answer is not None else 0,
        "first_token_seconds": answer.first_token_seconds if answer is not None else None,
        "queue_seconds": 0.0,
        "total_seconds": answer.total_seconds if answer is not None else 0.0,
        "key_id": "key_1",
        "signs": {
            "is_empty": not text.strip(),
            "is_refusal": is_refusal(text) if text.strip() else None,
            "is_invalid": None,
            "is_cut": False,
        },
    }

"""What came of one question: judged, and compared with its baseline. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from undercroft.checks.judging import CheckResult, Opinions, graded, judge_answer, judge_time
from undercroft.checks.questions import Question
from undercroft.checks.similarity import sketch, sketch_similarity
from undercroft.engines.chat_stream import Answer
from undercroft.watch.probes.baselines import QuestionBaseline


@dataclass(frozen=True, slots=True)
class Outcome:
    """One question, asked once.

    Args:
        at: When it was sent.
        release: What served it.
        question: Its id.
        weight: Of the question within its probe.
        results: Of each check; none where no answer came.
        noisy: Names of checks that passed and failed while the baseline was taken; they neither fail nor score.
        answer: What came; None where nothing did.
        likeness: To the baseline's answers, 0.0 to 1.0; None where there is no baseline for this question.
        error: Code of what went wrong; empty where an answer came.
        message: What went wrong, for people.
    """

    at: datetime
    release: str
    question: str
    weight: float
    results: tuple[CheckResult, ...] = ()
    noisy: frozenset[str] = frozenset()
    answer: Answer | None = None
    likeness: float | None = None
    error: str = ""
    message: str = ""

    @property
    def steady(self) -> tuple[CheckResult, ...]:
        """Results that count: those of checks that are not noisy."""
        return tuple(result for result in self.results if result.name not in self.noisy)

    @property
    def failed(self) -> tuple[CheckResult, ...]:
        """Results that count and failed."""
        return tuple(result for result in self.steady if not result.has_passed)

    @property
    def has_passed(self) -> bool:
        """An answer came, and no steady check failed."""
        return not self.error and not self.failed

    @property
    def score(self) -> float:
        """0.0 to 1.0: of the steady checks, or of all where none is steady; 0 without an answer."""
        counted = self.steady or self.results
        return graded(counted) if counted else 0.0

    @property
    def answer_digest(self) -> str:
        """Of the answer's text; empty without one."""
        return digest_of(self.answer.text) if self.answer is not None else ""


def digest_of(text: str) -> str:
    """``sha256:`` and 64 hex digits of a text."""
    return "sha256:" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def judged(
    question: Question,
    answer: Answer,
    opinions: Opinions,
    baseline: QuestionBaseline | None,
    at: datetime,
    release: str,
) -> Outcome:
    """The outcome of a question that was answered.

    Args:
        question: That was asked.
        answer: That came.
        opinions: Of the encoders and judges that its checks name.
        baseline: Of this question; None where there is none, or the question has changed since.
        at: When it was sent.
        release: What served it.
    """
    results = judge_answer(question.checks, answer.text, opinions)
    if question.first_token_seconds is not None:
        results.append(judge_time("first-token-time", question.first_token_seconds, answer.first_token_seconds))
    if question.total_seconds is not None:
        results.append(judge_time("total-time", question.total_seconds, answer.total_seconds))
    return Outcome(
        at=at,
        release=release,
        question=question.id,
        weight=question.weight,
        results=tuple(results),
        noisy=baseline.noisy_checks() if baseline is not None else frozenset(),
        answer=answer,
        likeness=likeness_to(baseline, answer.text) if baseline is not None else None,
    )


def likeness_to(baseline: QuestionBaseline, text: str) -> float | None:
    """How like an answer is to the nearest of the baseline's; None where the baseline has no answer."""
    if digest_of(text) in baseline.answers:
        return 1.0
    found = sketch(text)
    return max((sketch_similarity(found, known) for known in baseline.sketches), default=None)


def mean_score(outcomes: Sequence[Outcome]) -> float:
    """The score of a run: the mean of its questions by their weights; 0 for no question."""
    weight = sum(outcome.weight for outcome in outcomes)
    return sum(outcome.score * outcome.weight for outcome in outcomes) / weight if weight else 0.0

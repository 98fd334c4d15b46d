"""Outcomes of standard questions as detectors read them: a row each in the database, without the answer's text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, delete, insert

from undercroft.checks.questions import Question
from undercroft.checks.refusals import is_refusal
from undercroft.checks.similarity import sketch, sketch_similarity
from undercroft.core.clock import to_iso
from undercroft.storage.database import Database
from undercroft.storage.tables import probe_outcomes
from undercroft.watch.probes.baselines import QuestionBaseline
from undercroft.watch.probes.input_signs import language_of
from undercroft.watch.probes.outcomes import Outcome, digest_of

KEPT = timedelta(days=400)
# Errors that mean that nobody could be asked at all, apart from anything that the deployment did.
UNREACHED = frozenset({"not-running", "control-away", "door-away"})
_DIGEST_CHARACTERS = 8


class Purpose(StrEnum):
    """Why a question was asked."""

    PROBE = "probe"  # of what serves the name
    BASELINE = "baseline"  # what is usual
    TRIAL = "trial"  # of a candidate, and of what it is compared with


def outcome_row(
    outcome: Outcome, question: Question, *, run_at: datetime, probe: str, purpose: Purpose, deployment: str
) -> dict[str, Any]:
    """The columns of one outcome. Pure.

    Args:
        outcome: Of the question.
        question: As it was asked.
        run_at: When its run began, or the baseline.
        probe: Its name.
        purpose: Why it was asked.
        deployment: As it was asked for.
    """
    answer = outcome.answer
    valid = [result.has_passed for result in outcome.steady if result.kind == "json"]
    return {
        "at": to_iso(outcome.at),
        "run_at": to_iso(run_at),
        "probe": probe,
        "purpose": purpose.value,
        "deployment": deployment,
        "release": outcome.release,
        "question": _known_as(question),
        "has_passed": outcome.has_passed,
        "score": round(outcome.score, 6),
        "failed_checks": [result.name for result in outcome.failed],
        "error": outcome.error[:64],
        "is_valid": all(valid) if valid and answer is not None else None,
        "is_refusal": is_refusal(answer.text) if answer is not None else None,
        "language": language_of(answer.text) if answer is not None else None,
        "first_token_seconds": answer.first_token_seconds if answer is not None else None,
        "total_seconds": answer.total_seconds if answer is not None else None,
        "tokens_per_second": answer.tokens_per_second if answer is not None else None,
        "answer_tokens": answer.answer_tokens if answer is not None else None,
        "likeness": round(outcome.likeness, 6) if outcome.likeness is not None else None,
    }


def baseline_rows(
    outcomes: Mapping[str, Sequence[Outcome]],
    questions: Sequence[Question],
    baseline: Mapping[str, QuestionBaseline],
    *,
    run_at: datetime,
    probe: str,
    deployment: str,
) -> list[dict[str, Any]]:
    """The columns of the outcomes of a baseline, in the order in which they were asked. Pure.

    Noisy checks do not count in them, as they will not count later, and each answer is compared with the others.

    Args:
        outcomes: Question → its outcomes, one a round.
        questions: Of the probe.
        baseline: Question → what was made of them.
        run_at: When it was taken.
        probe: Its name.
        deployment: As it was asked for.
    """
    rounds = max((len(own) for own in outcomes.values()), default=0)
    found = []
    for number in range(rounds):
        for question in questions:
            own = outcomes[question.id]
            outcome = own[number]
            counted = Outcome(
                at=outcome.at,
                release=outcome.release,
                question=outcome.question,
                weight=outcome.weight,
                results=outcome.results,
                noisy=baseline[question.id].noisy_checks(),
                answer=outcome.answer,
                likeness=_likeness_to_others(own, number),
            )
            found.append(
                outcome_row(
                    counted, question, run_at=run_at, probe=probe, purpose=Purpose.BASELINE, deployment=deployment
                )
            )
    return found


def keep_rows(database: Database, rows: Sequence[Mapping[str, Any]], now: datetime) -> None:
    """Writes the rows of a run, all or none, and forgets those that are older than 400 days."""
    if rows:
        with database.write() as connection:
            connection.execute(insert(probe_outcomes), [dict(row) for row in rows])
            _forget(connection, now)


def _forget(connection: Connection, now: datetime) -> None:
    connection.execute(delete(probe_outcomes).where(probe_outcomes.c.at < to_iso(now - KEPT)))


def _known_as(question: Question) -> str:
    """Its id and a digest: one that was edited is another question."""
    return f"{question.id}#{question.digest()[:_DIGEST_CHARACTERS]}"


def _likeness_to_others(outcomes: Sequence[Outcome], number: int) -> float | None:
    texts = [outcome.answer.text for outcome in outcomes if outcome.answer is not None]
    answer = outcomes[number].answer
    if answer is None or len(texts) < 2:
        return None
    if Counter(digest_of(text) for text in texts)[digest_of(answer.text)] > 1:
        return 1.0
    mine = sketch(answer.text)
    return max(sketch_similarity(mine, sketch(text)) for text in set(texts) if text != answer.text)

"""Takes a baseline: asks every question several times while all is well, and sees which checks waver."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from undercroft.checks.questions import Question
from undercroft.checks.similarity import sketch
from undercroft.core.errors import ConflictError, UnavailableError
from undercroft.watch.probes.asking import NO_VALUE, ask_all
from undercroft.watch.probes.baselines import CheckBaseline, QuestionBaseline
from undercroft.watch.probes.door_client import DoorClient
from undercroft.watch.probes.outcomes import Outcome

_SKETCHES = 20


def take_baseline(
    client: DoorClient,
    model: str,
    questions: Sequence[Question],
    runs: int,
    release: str,
    tell: Callable[[int], None],
    *,
    limit_tokens: int | None = None,
    known: Mapping[str, str | None] | None = None,
) -> dict[str, list[Outcome]]:
    """How every question goes when it is asked several times; `baseline_of` makes of it what is kept.

    All questions are asked once before any is asked again, as they will be later.

    Args:
        client: Of the door.
        model: Deployment.
        questions: Of the probe.
        runs: How many times each; at least 1.
        release: What serves the deployment.
        tell: Gets the number of runs that are done.
        limit_tokens: Most tokens of an answer where its question does not say; None is 512.
        known: Variable of the prompt that answers → its own value, None where a question has to give one.

    Returns:
        Question → its outcomes, one a run, each with an answer.

    Raises:
        ConflictError: ``baseline-not-taken``: a question was not answered. A baseline is of what is well.
        UnavailableError: The door went away.
    """
    found: dict[str, list[Outcome]] = {question.id: [] for question in questions}
    for number in range(1, runs + 1):
        for outcome in ask_all(client, model, questions, None, release, limit_tokens=limit_tokens, known=known):
            if outcome.error in ("door-away", "not-running"):
                raise UnavailableError(outcome.error, outcome.message, hint="undercroft status")
            if outcome.error:
                well = "take the baseline when all is well: undercroft status"
                raise ConflictError(
                    "baseline-not-taken",
                    f"the question '{outcome.question}' was not answered: {outcome.error}: {outcome.message}",
                    hint="docs/guide/probes.md" if outcome.error == NO_VALUE else well,
                )
            found[outcome.question].append(outcome)
        tell(number)
    return found


def baseline_of(question: Question, outcomes: Sequence[Outcome]) -> QuestionBaseline:
    """What is kept of a question's outcomes; no text of an answer. Pure.

    Args:
        question: That was asked.
        outcomes: Each with an answer; at least one.
    """
    answers = [outcome.answer for outcome in outcomes if outcome.answer is not None]
    texts = list(dict.fromkeys(answer.text for answer in answers))[:_SKETCHES]
    checks = {}
    for position, result in enumerate(outcomes[0].results):
        same = [outcome.results[position] for outcome in outcomes]
        scores = [one.score for one in same]
        passed = sum(one.has_passed for one in same)
        checks[result.name] = CheckBaseline(passed=passed, lowest=min(scores), highest=max(scores))
    first = [answer.first_token_seconds for answer in answers if answer.first_token_seconds is not None]
    return QuestionBaseline(
        digest=question.digest(),
        runs=len(outcomes),
        checks=checks,
        answers=dict(Counter(outcome.answer_digest for outcome in outcomes)),
        sketches=[sketch(text) for text in texts],
        first_token_seconds=statistics.median(first) if first else None,
        total_seconds=statistics.median(answer.total_seconds for answer in answers) if answers else None,
    )

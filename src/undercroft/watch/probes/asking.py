"""Asks the questions of a probe through the door, one after the other, and judges what comes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime

from undercroft.checks.json_answers import text_at
from undercroft.checks.judging import Opinions
from undercroft.checks.kinds import Check, JudgeCheck, LanguageCheck, SimilarityCheck
from undercroft.checks.languages import check_language
from undercroft.checks.questions import Question
from undercroft.core.clock import utc_now
from undercroft.core.errors import ConflictError, UnavailableError
from undercroft.engines.chat_stream import Answer
from undercroft.watch.probes.baselines import Baseline
from undercroft.watch.probes.door_client import DoorClient, RefusedAnswerError
from undercroft.watch.probes.outcomes import Outcome, judged
from undercroft.watch.probes.variables import fitting, missing

_JUDGE_TOKENS = 8
_ANSWER_TOKENS = 512
# A question gives no value to a variable that the prompt needs one for.
NO_VALUE = "no-value"
_MARK = re.compile(r"\d+(?:\.\d+)?")


def check_languages(questions: Sequence[Question]) -> None:
    """Refuses a check for a language that cannot be told, before anything is asked.

    Raises:
        InvalidError: ``unknown-language``.
    """
    for question in questions:
        for check in question.checks:
            if isinstance(check, LanguageCheck):
                for code in (check.language, *check.among):
                    check_language(code)


def ask_all(
    client: DoorClient,
    model: str,
    questions: Sequence[Question],
    baseline: Baseline | None,
    release: str,
    now: Callable[[], datetime] = utc_now,
    *,
    limit_tokens: int | None = None,
    known: Mapping[str, str | None] | None = None,
) -> Iterator[Outcome]:
    """Each question's outcome as it comes; never two at a time, so that people need not wait for a probe.

    Once nobody answers at the door, the questions that are left are outcomes with that error, and none is asked.

    Args:
        client: Of the door.
        model: Deployment.
        questions: In their order.
        baseline: To compare with; None where none was taken.
        release: What serves the deployment.
        now: The clock.
        limit_tokens: Most tokens of an answer where its question does not say; None is 512.
        known: Variable of the prompt that answers → its own value, None where a question has to give one.
    """
    away: UnavailableError | None = None
    for question in questions:
        at = now()
        if away is None:
            try:
                answer = _answer(client, model, question, limit_tokens, known or {})
                old = baseline.of(question.id, question.digest()) if baseline is not None else None
                yield judged(question, answer, _opinions(client, question, answer), old, at, release)
                continue
            except UnavailableError as error:
                away = error
            except RefusedAnswerError as error:
                yield _unanswered(question, release, at, error.code, error.message)
                continue
        yield _unanswered(question, release, at, away.code, away.message)


def unreached(questions: Sequence[Question], release: str, error: UnavailableError, at: datetime) -> list[Outcome]:
    """What came of questions that could not even be asked.

    Args:
        questions: All of them.
        release: What should have served.
        error: Why not.
        at: The time.
    """
    return [_unanswered(question, release, at, error.code, error.message) for question in questions]


def answers_to(
    client: DoorClient,
    model: str,
    text: str,
    *,
    times: int = 3,
    max_tokens: int = 512,
    variables: Mapping[str, str] | None = None,
) -> list[str]:
    """Answers to the same question, asked several times.

    Args:
        client: Of the door.
        model: Deployment.
        text: The question.
        times: How many answers.
        max_tokens: Longest answer.
        variables: Values for those of the prompt that answers.

    Raises:
        ConflictError: ``not-answered``: the door refused it.
        UnavailableError: Nobody answers at the door.
    """
    try:
        messages = [{"role": "user", "content": text}]
        return [client.chat(model, messages, max_tokens=max_tokens, variables=variables).text for _ in range(times)]
    except RefusedAnswerError as error:
        raise ConflictError(
            "not-answered", f"'{model}' did not answer: {error.code}: {error.message}", hint="undercroft status"
        ) from error


def _unanswered(question: Question, release: str, at: datetime, code: str, message: str) -> Outcome:
    return Outcome(at, release, question.id, question.weight, error=code, message=message)


def _answer(
    client: DoorClient,
    model: str,
    question: Question,
    limit_tokens: int | None,
    known: Mapping[str, str | None],
) -> Answer:
    if lacking := missing(question.variables, known):
        raise RefusedAnswerError(
            NO_VALUE, f"the prompt needs a value for {', '.join(lacking)}; write it below variables: of the question"
        )
    tokens = question.max_tokens or min(_ANSWER_TOKENS, limit_tokens or _ANSWER_TOKENS)
    variables = fitting(question.variables, known)
    return client.chat(model, question.turns(), max_tokens=tokens, variables=variables)


def _opinions(client: DoorClient, question: Question, answer: Answer) -> Opinions:
    """Asks the encoders and judges that the checks name; one that refuses is left out, and its check says so."""
    vectors: dict[tuple[str, str], list[float]] = {}
    judgements: dict[tuple[str, str], float] = {}
    silent: dict[str, str] = {}
    for check in question.checks:
        adviser = _adviser(check)
        try:
            if isinstance(check, SimilarityCheck) and check.encoder is not None:
                text = text_at(answer.text, check.at)
                if text:
                    texts = [text, check.reference]
                    found = client.embed(check.encoder, texts)
                    vectors |= {(check.encoder, one): vector for one, vector in zip(texts, found, strict=True)}
            elif isinstance(check, JudgeCheck):
                mark = _mark(client, check, question, answer.text)
                if mark is not None:
                    judgements[check.model, check.criterion] = mark
        except (RefusedAnswerError, ValueError) as error:
            silent[adviser] = str(error)
    return Opinions(vectors, judgements, silent)


def _adviser(check: Check) -> str:
    """The encoder or judge that a check asks; empty where it asks none."""
    if isinstance(check, SimilarityCheck):
        return check.encoder or ""
    return check.model if isinstance(check, JudgeCheck) else ""


def _mark(client: DoorClient, check: JudgeCheck, question: Question, answer: str) -> float | None:
    asked = "\n".join(turn["content"] for turn in question.turns() if turn["role"] == "user")
    task = (
        "You grade an answer by one criterion. Say one number from 0 (not at all) to 10 (fully) and nothing else.\n\n"
        f"Criterion: {check.criterion}\n\nQuestion:\n{asked}\n\nAnswer:\n{answer}\n\nNumber:"
    )
    turns = [{"role": "user", "content": task}]
    said = client.chat(check.model, turns, max_tokens=_JUDGE_TOKENS, variables=check.variables).text
    match = _MARK.search(said)
    return float(match[0]) / 10 if match is not None and float(match[0]) <= 10 else None

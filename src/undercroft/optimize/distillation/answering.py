"""What a teacher answers, asked one question after the other; kept as it comes, so that nothing is asked twice."""

from __future__ import annotations

import http.client
import json
import os
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path

from undercroft.core.errors import InvalidError, RefusedError, UnavailableError
from undercroft.engines import wire
from undercroft.optimize.distillation.settings import Served
from undercroft.optimize.steps import Progress
from undercroft.optimize.training.conversations import Conversation, Turn

_TIMEOUT_SECONDS = 600.0
_ANSWERS = "answers.jsonl"
_ELSEWHERE = "if its address or its name is wrong, ask for a new job with the right one"


def answered(
    endpoint: wire.Endpoint,
    model: str,
    questions: Sequence[Conversation],
    folder: Path,
    *,
    answer_tokens: int,
    report: Callable[[Progress], None],
) -> list[Conversation]:
    """The questions with the teacher's answers, greedily; answers that were cut off are left out.

    Args:
        endpoint: Where the teacher answers.
        model: As it is asked for there.
        questions: Each with its turns up to an answer.
        folder: Where answers are kept as they come; those of an earlier run are taken.
        answer_tokens: Longest answer.
        report: Told questions, and all of them.

    Raises:
        RefusedError: ``teacher-refuses``: the key does not count there.
        InvalidError: ``no-answers``: none was whole; or the teacher does not know the model.
        UnavailableError: ``teacher-away``.
        OSError: The disk is full.
    """
    path = folder / _ANSWERS
    answers: list[str | None] = _kept(path)
    with path.open("ab") as file:
        for number, question in enumerate(questions[len(answers) :], len(answers) + 1):
            answers.append(_answer(endpoint, model, question, answer_tokens))
            file.write(json.dumps(answers[-1]).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
            report(Progress(number, len(questions), "questions", "the teacher answers"))
    found = [
        Conversation(question.line, (*question.turns, Turn("assistant", answer, is_learnt=True)))
        for question, answer in zip(questions, answers, strict=True)
        if answer is not None
    ]
    if not found:
        raise InvalidError(
            "no-answers",
            f"none of {len(questions):,} answers of the teacher was whole within {answer_tokens:,} tokens",
            hint="give more with answer_tokens, or other questions",
        )
    return found


def served_endpoint(served: Served) -> wire.Endpoint:
    """Where a served teacher answers, with its key.

    Raises:
        UnavailableError: ``key-unreadable``.
    """
    key = None
    if served.key_file is not None:
        try:
            key = served.key_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UnavailableError("key-unreadable", f"cannot read the key in {served.key_file}: {error}") from error
    return wire.Endpoint(None, served.url, key)


def _kept(path: Path) -> list[str | None]:
    """Answers of an earlier run; a line that was cut off is asked again."""
    if not path.exists():
        return []
    raw = path.read_bytes()
    whole = raw[: raw.rfind(b"\n") + 1]
    if len(whole) < len(raw):
        path.write_bytes(whole)
    return [json.loads(line) for line in whole.splitlines()]


def _answer(endpoint: wire.Endpoint, model: str, question: Conversation, answer_tokens: int) -> str | None:
    """One answer; None where it was cut off or has no words."""
    body = {
        "model": model,
        "messages": [turn.to_message() for turn in question.turns],
        "temperature": 0,
        "max_tokens": answer_tokens,
    }
    try:
        said = wire.request(endpoint, "POST", "/v1/chat/completions", body, timeout_seconds=_TIMEOUT_SECONDS)
    except (OSError, http.client.HTTPException, ssl.SSLError) as error:
        where = f" at {endpoint.base_url}" if endpoint.base_url else ""
        raise UnavailableError(
            "teacher-away",
            f"the teacher {model!r} does not answer{where}: {error}",
            hint=f"start it, then resume the job; {_ELSEWHERE}" if where else "resume the job",
        ) from error
    if said.status in (401, 403):
        raise RefusedError(
            "teacher-refuses",
            f"the teacher refuses the key, with status {said.status}: {said.message()}",
            hint="write a key that may use it into the file of key_file, then resume the job",
        )
    if said.status != 200:
        kind = InvalidError if said.status in (400, 404, 422) else UnavailableError
        raise kind(
            "teacher-refuses",
            f"the teacher {model!r} answered line {question.line} with status {said.status}: {said.message()}",
            hint=_ELSEWHERE if said.status == 404 else "look at its side, then resume the job",
        )
    try:
        choice = said.json()["choices"][0]
        content, reason = choice["message"].get("content"), choice["finish_reason"]
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise UnavailableError(
            "teacher-refuses", f"the teacher {model!r} gives no chat completion: {said.message()}", hint=_ELSEWHERE
        ) from error
    return content if isinstance(content, str) and content.strip() and reason == "stop" else None

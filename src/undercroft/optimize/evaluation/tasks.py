"""Task sets: what a model is for, as a file of questions whose answers can be checked."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from undercroft.checks.kinds import (
    Check,
    ExactCheck,
    JsonCheck,
    JudgeCheck,
    LanguageCheck,
    NumberCheck,
    SimilarityCheck,
)
from undercroft.checks.languages import check_language
from undercroft.checks.problems import field_names, place_of, problem_of_field
from undercroft.checks.questions import Message
from undercroft.core.errors import InvalidError
from undercroft.core.forms import of_form
from undercroft.core.yaml_places import read_with_places
from undercroft.optimize.json_lines import json_lines, read_bounded, refusal

_LIMIT_BYTES = 64 * 1024 * 1024
_LIMIT_TASKS = 50_000
_TEXT_LIMIT = 100_000
_BAD = "bad-tasks"
_GUIDE = "docs/guide/evaluation.md"
# What a probe file says beside its questions; see `undercroft.watch.probes.probe_files.Probe`.
PROBE_FIELDS = frozenset(
    ("model", "schedule", "time_zone", "jitter_minutes", "keep_answers", "alert_after_failures", "questions")
)

_Text = Annotated[str, Field(min_length=1, max_length=_TEXT_LIMIT)]


def _as_text(given: Any) -> Any:
    return str(given) if isinstance(given, int) and not isinstance(given, bool) else given


ItemId = Annotated[str, BeforeValidator(_as_text), Field(min_length=1, max_length=100)]
_Language = Annotated[str, of_form("[a-z]{2,3}", "the code of a language such as 'th'")]
_Seconds = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]


@dataclass(frozen=True, slots=True)
class Task:
    """One question.

    Args:
        id: Unlike those of the others.
        messages: ``role`` and ``content`` of each turn; the last is the user's.
        checks: What the answer must be like; at least one, or a limit of time.
        language: Code of the language that it is counted under; None is counted under none.
        max_tokens: Longest answer; None takes what the evaluation takes.
        first_token_seconds: Longest time to the first token; None is any.
        total_seconds: Longest time to the end; None is any.
    """

    id: str
    messages: tuple[Message, ...]
    checks: tuple[Check, ...]
    language: str | None = None
    max_tokens: int | None = None
    first_token_seconds: float | None = None
    total_seconds: float | None = None

    def turns(self) -> list[dict[str, str]]:
        """The messages as an engine takes them."""
        return [{"role": message.role, "content": message.content} for message in self.messages]


@dataclass(frozen=True, slots=True)
class TaskSet:
    """All questions of a file.

    Args:
        name: Of the file.
        digest: Of its content, ``sha256:`` and 64 hex digits.
        tasks: In the order of the file; at least one.
    """

    name: str
    digest: str
    tasks: tuple[Task, ...]

    @property
    def languages(self) -> tuple[str, ...]:
        """Codes that tasks are counted under, sorted."""
        return tuple(sorted({task.language for task in self.tasks if task.language is not None}))


class _Written(BaseModel):
    """One question as a line of JSON or a probe file has it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: ItemId | None = None
    prompt: _Text | None = None
    text: _Text | None = None
    messages: Annotated[list[Message], Field(min_length=1, max_length=200)] | None = None
    system: _Text | None = None
    answer: Any = None
    checks: Annotated[list[Check], Field(min_length=1, max_length=50)] | None = None
    language: _Language | None = None
    max_tokens: int | None = Field(None, ge=1, le=100_000)
    first_token_seconds: _Seconds | None = None
    total_seconds: _Seconds | None = None
    weight: float = Field(1.0, gt=0, le=1000, allow_inf_nan=False)
    variables: dict[str, str] = {}

    @model_validator(mode="after")
    def _asks_one_thing(self) -> Self:
        given = [name for name in ("prompt", "text", "messages") if getattr(self, name) is not None]
        if len(given) != 1:
            found = "none" if not given else " and ".join(given)
            raise ValueError(f"expected one of prompt, text and messages, got {found}")
        if self.messages is not None and self.system is not None:
            raise ValueError("system: expected only with prompt or text; with messages it is the first of them")
        if self.variables:
            raise ValueError("variables: an evaluation asks a model, which has no prompt with variables")
        return self

    @model_validator(mode="after")
    def _can_be_judged(self) -> Self:
        turns = self.messages or []
        if turns and turns[-1].role == "system":
            raise ValueError("messages: expected the last one to be the user's, or the assistant's as the right answer")
        is_answered = bool(turns) and turns[-1].role == "assistant"
        if is_answered and (len(turns) < 2 or turns[-2].role != "user"):
            raise ValueError("messages: expected a message of the user before the assistant's last one")
        if is_answered and "answer" in self.model_fields_set:
            raise ValueError("answer: the last of messages is an answer already")
        limits = (self.first_token_seconds, self.total_seconds)
        if not is_answered and self.checks is None and self.answer is None and limits == (None, None):
            raise ValueError("expected checks, an answer, or messages that end with the assistant's right answer")
        for check in self.checks or ():
            _refuse_advice(check)
        return self

    def task(self, number: int) -> Task:
        """The question, with what the answer is judged by.

        Args:
            number: Its line or position, which names it where it has no id.
        """
        turns = list(self.messages or ())
        answer = self.answer
        if not turns:
            system = [Message(role="system", content=self.system)] if self.system else []
            turns = [*system, Message(role="user", content=self.prompt or self.text or "")]
        elif turns[-1].role == "assistant":
            answer = turns.pop().content
        checks = [*(self.checks or ())]
        if answer is not None:
            checks.insert(0, answer_check(answer))
        return Task(
            id=f"item-{number}" if self.id is None else self.id,
            messages=tuple(turns),
            checks=tuple(checks),
            language=self.language,
            max_tokens=self.max_tokens,
            first_token_seconds=self.first_token_seconds,
            total_seconds=self.total_seconds,
        )


def answer_check(answer: Any) -> Check:
    """What it means that an answer is the right one: a text is the same, a number near, other JSON equal in value.

    Args:
        answer: As read from JSON; not None.
    """
    if isinstance(answer, str):
        return ExactCheck(kind="exact", text=answer)
    if isinstance(answer, int | float) and not isinstance(answer, bool):
        return NumberCheck(kind="number", value=answer)
    return JsonCheck.model_validate({"kind": "json", "schema": {"const": answer}})


def load_tasks(path: Path) -> TaskSet:
    """The task set of a file: JSON lines, or a probe file where it ends in ``.yaml`` or ``.yml``.

    Raises:
        NotFoundError: ``no-such-file``.
        UnavailableError: ``file-unreadable``.
        InvalidError: ``bad-tasks``: every problem with its line and the nearest right word.
    """
    raw = read_bounded(path, _LIMIT_BYTES)
    found = _of_yaml(raw, path) if path.suffix in (".yaml", ".yml") else _of_lines(raw, path)
    return TaskSet(path.name, "sha256:" + hashlib.sha256(raw).hexdigest(), tuple(found))


def _of_lines(raw: bytes, path: Path) -> list[Task]:
    problems: list[str] = []
    found: list[tuple[int, Task]] = []
    for number, document in json_lines(raw, problems):
        problems += (f"line {number}: {problem}" for problem in _read(document, number, number, found))
    return _checked(path, found, problems, "line")


def _of_yaml(raw: bytes, path: Path) -> list[Task]:
    try:
        document, places = read_with_places(raw)
    except ValueError as error:
        raise refusal(path, _BAD, [str(error)], _GUIDE) from error
    questions = document.get("questions") if isinstance(document, dict) else None
    if not isinstance(questions, list):
        raise refusal(path, _BAD, ["line 1: expected a probe file, which has questions"], _GUIDE)
    problems: list[str] = []
    if unknown := sorted(str(name) for name in document if name not in PROBE_FIELDS):
        item = {"type": "extra_forbidden", "loc": (unknown[0],)}
        what = problem_of_field(item, sorted(PROBE_FIELDS))
        problems.append(f"line {places.line_of((unknown[0],))}: {unknown[0][:60]}: {what}")
    found: list[tuple[int, Task]] = []
    for index, question in enumerate(questions):
        line = places.line_of(("questions", index))
        problems += (
            f"line {line}: questions[{index + 1}]: {problem}" for problem in _read(question, index + 1, line, found)
        )
    return _checked(path, found, problems, "line")


def _read(document: Any, number: int, line: int, found: list[tuple[int, Task]]) -> Iterator[str]:
    """Adds a task to those that were found, or gives its problems."""
    try:
        task = _WRITTEN.validate_python(document).task(number)
        _check_languages(task)
        found.append((line, task))
    except ValidationError as error:
        for item in error.errors():
            yield f"{place_of(item['loc'])}{problem_of_field(dict(item), _FIELD_NAMES)}"
    except InvalidError as error:
        yield error.message


def _checked(path: Path, found: Sequence[tuple[int, Task]], problems: list[str], what: str) -> list[Task]:
    first: dict[str, int] = {}
    for line, task in found:
        if task.id in first:
            problems.append(f"{what} {line}: id: {task.id[:60]!r} stands in {what} {first[task.id]}, too")
        first.setdefault(task.id, line)
    if not found and not problems:
        problems.append("line 1: expected at least one question, found none")
    if len(found) > _LIMIT_TASKS:
        problems.append(f"expected at most {_LIMIT_TASKS:,} questions, got {len(found):,}")
    if problems:
        raise refusal(path, _BAD, problems, _GUIDE)
    return [task for _, task in found]


def _refuse_advice(check: Check) -> None:
    if isinstance(check, JudgeCheck):
        raise ValueError("checks: a judge is another deployment, and an evaluation asks one model alone")
    if isinstance(check, SimilarityCheck) and check.encoder is not None:
        raise ValueError("checks: encoder is another deployment, and an evaluation asks one model alone; leave it out")


def _check_languages(task: Task) -> None:
    for check in task.checks:
        if isinstance(check, LanguageCheck):
            for code in (check.language, *check.among):
                check_language(code)


_WRITTEN: TypeAdapter[_Written] = TypeAdapter(_Written)
_FIELD_NAMES = field_names(_Written, Message)
# Of a question, as the guide explains them.
FIELDS = tuple(_Written.model_fields)

"""Probe files: the standard questions of a name, ``probes/NAME.yaml`` in the home, kept in git by whoever wants to."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from undercroft.core.errors import InvalidError, NotFoundError, UnavailableError
from undercroft.core.forms import of_form
from undercroft.core.home import Home
from undercroft.core.ids import NAME_PATTERN, check_name
from undercroft.core.wrong_values import problem_of
from undercroft.core.yaml_places import read_with_places
from undercroft.watch.probes.check_kinds import CHECK_KINDS, Check
from undercroft.watch.probes.schedule import check_schedule, check_time_zone
from undercroft.watch.probes.variables import Variables

_LIMIT_BYTES = 1024 * 1024
_TEXT_LIMIT = 100_000

_Name = Annotated[str, of_form(NAME_PATTERN.pattern, "a name of a-z, 0-9, '.', '_' and '-', up to 63 characters")]
_Text = Annotated[str, Field(min_length=1, max_length=_TEXT_LIMIT)]
_Seconds = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]


class Message(BaseModel):
    """One turn of a conversation."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    role: Literal["system", "user", "assistant"]
    content: _Text


class Question(BaseModel):
    """One question with what its answer must be like."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: _Name
    text: _Text | None = None
    messages: Annotated[list[Message], Field(min_length=1, max_length=100)] | None = None
    system: _Text | None = None
    variables: Variables = {}
    checks: Annotated[list[Check], Field(min_length=1, max_length=50)]
    weight: float = Field(1.0, gt=0, le=1000, allow_inf_nan=False)
    max_tokens: int | None = Field(None, ge=1, le=100_000)  # None: 512, or what the release allows where that is less
    first_token_seconds: _Seconds | None = None
    total_seconds: _Seconds | None = None

    @model_validator(mode="after")
    def _asks_one_thing(self) -> Self:
        if (self.text is None) == (self.messages is None):
            raise ValueError("expected either text or messages")
        if self.messages is not None and self.system is not None:
            raise ValueError("system: expected only with text; with messages it is the first of them")
        if self.messages is not None and self.messages[-1].role != "user":
            raise ValueError("messages: expected the last one to be the user's")
        return self

    def turns(self) -> list[dict[str, str]]:
        """The messages as the door takes them."""
        if self.messages is not None:
            return [{"role": message.role, "content": message.content} for message in self.messages]
        system = [{"role": "system", "content": self.system}] if self.system else []
        return [*system, {"role": "user", "content": self.text or ""}]

    def digest(self) -> str:
        """What it is, whatever it is called and weighs: a changed question has another."""
        plain = _without_empty_variables(self.model_dump(mode="json", by_alias=True, exclude={"id", "weight"}))
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]


def _without_empty_variables(question: dict[str, Any]) -> dict[str, Any]:
    """A question that gives none is the one that it was before there were any."""
    checks = [_without_empty_variables(check) for check in question.get("checks", ())]
    kept = {name: value for name, value in question.items() if name != "variables" or value}
    return {**kept, "checks": checks} if "checks" in kept else kept


class Probe(BaseModel):
    """The standard questions of a name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: _Name | None = None
    schedule: Annotated[str, AfterValidator(check_schedule)] | None = None
    time_zone: Annotated[str, AfterValidator(check_time_zone)] = "UTC"
    jitter_minutes: float = Field(0.0, ge=0, le=1440, allow_inf_nan=False)
    keep_answers: bool = False
    alert_after_failures: int | None = Field(None, ge=1, le=1000)
    questions: Annotated[list[Question], Field(min_length=1, max_length=500)]

    @model_validator(mode="after")
    def _ids_differ(self) -> Self:
        twice = [name for name, count in Counter(question.id for question in self.questions).items() if count > 1]
        if twice:
            raise ValueError(f"questions: expected an id of its own for each, {', '.join(twice)} stands twice")
        return self


def probe_file(home: Home, name: str) -> Path:
    """Where the probe of a name lies, whether it is there or not.

    Raises:
        InvalidError: The name is not usable.
    """
    return home.probes / f"{check_name(name, what='probe')}.yaml"


def probe_names(home: Home) -> list[str]:
    """Probes of a home, sorted; files whose name cannot be a probe's are left out."""
    if not home.probes.is_dir():
        return []
    return sorted(path.stem for path in home.probes.glob("*.yaml") if NAME_PATTERN.fullmatch(path.stem))


def load_probe(home: Home, name: str) -> Probe:
    """The probe of a name.

    Raises:
        NotFoundError: ``no-such-probe``.
        UnavailableError: ``probe-unreadable``: there is a file, and it cannot be read.
        InvalidError: ``bad-probe``: every problem with its line.
    """
    path = probe_file(home, name)
    try:
        with path.open("rb") as file:
            raw = file.read(_LIMIT_BYTES + 1)
    except FileNotFoundError:
        near = difflib.get_close_matches(name, probe_names(home), n=1)
        raise NotFoundError(
            "no-such-probe",
            f"there is no probe '{name}'" + (f"; nearest is '{near[0]}'" if near else f" in {home.probes}"),
            hint=f"undercroft probe init {name}",
        ) from None
    except OSError as error:
        raise UnavailableError("probe-unreadable", f"cannot read {path}: {error.strerror}") from error
    if len(raw) > _LIMIT_BYTES:
        raise _bad(path, [f"it is larger than the {_LIMIT_BYTES:,} bytes that a probe may have"])
    return parse_probe(raw, path)


def parse_probe(raw: bytes, path: Path) -> Probe:
    """A probe from the content of its file.

    Args:
        raw: YAML in UTF-8.
        path: For errors.

    Raises:
        InvalidError: ``bad-probe``: every problem with its line and its field.
    """
    try:
        document, places = read_with_places(raw)
    except ValueError as error:
        raise _bad(path, [str(error)]) from error
    try:
        return TypeAdapter(Probe).validate_python(document)
    except ValidationError as error:
        problems = [
            f"line {places.line_of(item['loc'])}: {_field(item['loc'])}{_problem(dict(item))}"
            for item in error.errors()
        ]
        raise _bad(path, problems) from error


def _field(location: tuple[int | str, ...]) -> str:
    """``questions[0].checks[1].text: ``; the names of kinds, which pydantic puts between, are left out."""
    shown = ""
    for position, step in enumerate(location):
        if isinstance(step, int):
            shown += f"[{step + 1}]"
        elif step not in CHECK_KINDS or position == 0 or not isinstance(location[position - 1], int):
            shown += f".{step}" if shown else step
    return f"{shown}: " if shown else ""


def _problem(item: dict[str, Any]) -> str:
    if item["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(item["loc"][-1]), _FIELD_NAMES, n=1)
        return "there is no such field" + (f"; nearest is '{near[0]}'" if near else "")
    if item["type"] == "union_tag_invalid":
        given = str(item["ctx"]["tag"])
        near = difflib.get_close_matches(given, CHECK_KINDS[:-2], n=1)
        kinds = ", ".join(CHECK_KINDS[:-2])
        return f"kind: expected one of {kinds}, got '{given[:40]}'" + (f"; nearest is '{near[0]}'" if near else "")
    if item["type"] == "union_tag_not_found":
        return f"kind: is missing; expected one of {', '.join(CHECK_KINDS[:-2])}"
    return problem_of(item, is_yaml=True)


def _bad(path: Path, problems: list[str]) -> InvalidError:
    return InvalidError(
        "bad-probe",
        f"{path} has problems:\n" + "\n".join(f"  - {problem}" for problem in problems[:50]),
        hint="correct the file; its form is in docs/guide/probes.md",
    )


_FIELD_NAMES = sorted(
    {
        (field.alias or name)
        for kind in (Probe, Question, Message, *Check.__origin__.__args__)  # type: ignore[attr-defined]
        for name, field in kind.model_fields.items()
    }
)

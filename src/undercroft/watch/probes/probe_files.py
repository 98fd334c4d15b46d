"""Probe files: the standard questions of a name, ``probes/NAME.yaml`` in the home, kept in git by whoever wants to."""

from __future__ import annotations

import difflib
from collections import Counter
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from undercroft.checks.problems import field_names, place_of, problem_of_field
from undercroft.checks.questions import Message, Question
from undercroft.core.errors import InvalidError, NotFoundError, UnavailableError
from undercroft.core.forms import of_form
from undercroft.core.home import Home
from undercroft.core.ids import NAME_PATTERN, check_name
from undercroft.core.yaml_places import read_with_places
from undercroft.watch.probes.schedule import check_schedule, check_time_zone

_LIMIT_BYTES = 1024 * 1024

_Name = Annotated[str, of_form(NAME_PATTERN.pattern, "a name of a-z, 0-9, '.', '_' and '-', up to 63 characters")]


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
            f"line {places.line_of(item['loc'])}: {place_of(item['loc'])}{problem_of_field(dict(item), _FIELD_NAMES)}"
            for item in error.errors()
        ]
        raise _bad(path, problems) from error


def _bad(path: Path, problems: list[str]) -> InvalidError:
    return InvalidError(
        "bad-probe",
        f"{path} has problems:\n" + "\n".join(f"  - {problem}" for problem in problems[:50]),
        hint="correct the file; its form is in docs/guide/probes.md",
    )


_FIELD_NAMES = field_names(Probe, Question, Message)

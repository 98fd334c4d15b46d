"""What rules do about incidents: a pure function of the rules, the incidents and what was done so far.

A rule acts once on an incident, and on one target at most so many times within a window; after that it asks a human, by
an incident of its own. Without a file of rules nothing is done.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from undercroft.core.errors import InvalidError, UnavailableError
from undercroft.core.forms import of_form
from undercroft.core.ids import NAME_PATTERN
from undercroft.core.yaml_places import read_with_places
from undercroft.registry.releases.problems import field_problems
from undercroft.watch.findings import Finding, Kind, Severity
from undercroft.watch.incidents.alert_texts import sentence_of
from undercroft.watch.incidents.incidents import Incident, is_at_least

_LIMIT_BYTES = 1024 * 1024
# What says that rules do not work is not for rules.
_ABOUT_RULES = frozenset({Kind.ACTION_FAILED, Kind.ACTIONS_EXHAUSTED, Kind.RULES_UNUSABLE})

_Name = Annotated[str, of_form(NAME_PATTERN.pattern, "a name of a-z, 0-9, '.', '_' and '-', up to 63 characters")]


class Deed(StrEnum):
    """What a rule can do to a deployment."""

    RESTART = "restart"  # its replicas end after their requests, others start
    ROLL_BACK = "roll-back"  # to ``previous``; while a promotion runs, that is ended instead
    PIN = "pin"  # it stays in memory
    STOP = "stop"  # it is not served any more, to shed load
    LOWER_PRIORITY = "lower-priority"  # others get the memory first


def _check_kind(kind: Kind) -> Kind:
    if kind in _ABOUT_RULES:
        raise ValueError(f"expected the kind of an incident that a rule can act on, got {kind.value!r}")
    return kind


class Rule(BaseModel):
    """What is done about which incidents."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: _Name
    when: Annotated[list[Annotated[Kind, AfterValidator(_check_kind)]], Field(min_length=1, max_length=50)]
    subject: str | None = Field(None, max_length=80)
    from_severity: Severity = Severity.NOTICE
    after_minutes: float = Field(0.0, ge=0, le=10_080, allow_inf_nan=False)
    do: Deed
    target: _Name | None = None
    priority: int = Field(-50, ge=-100, le=100)
    at_most: int = Field(2, ge=1, le=100)
    window_hours: float = Field(24.0, gt=0, le=8760, allow_inf_nan=False)


class Rules(BaseModel):
    """The rules of a home."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rules: Annotated[list[Rule], Field(max_length=200)] = []

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [rule.name for rule in self.rules]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"rules: expected a name of its own for each, {', '.join(twice)} stands twice")
        return self


@dataclass(frozen=True, slots=True)
class Done:
    """Something that a rule did, or tried.

    Args:
        at: When.
        incident: Its number.
        rule: Name of the rule.
        deed: What.
        target: The deployment.
        problem: Code of why it could not be done; empty where it was.
    """

    at: datetime
    incident: int
    rule: str
    deed: Deed
    target: str
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Action:
    """Something to do now.

    Args:
        rule: That says so.
        target: The deployment.
        incident: What it is about.
    """

    rule: Rule
    target: str
    incident: Incident


def next_actions(
    rules: Sequence[Rule], incidents: Sequence[Incident], done: Sequence[Done], now: datetime
) -> tuple[list[Action], list[Finding]]:
    """What rules do now, and what is for people because a rule cannot do more.

    Args:
        rules: Of the home.
        incidents: That are open.
        done: What was done within the longest window, and on these incidents.
        now: The current time.
    """
    actions: list[Action] = []
    findings: list[Finding] = []
    for incident in incidents:
        for rule in rules:
            if not _is_meant(rule, incident, now):
                continue
            target = target_of(rule, incident)
            before = [one for one in done if one.rule == rule.name and one.target == target]
            own = [one for one in before if one.incident == incident.id]
            if own:
                findings += [_failed(rule, target, one.at) for one in own if one.problem][:1]
                continue
            recent = [one for one in before if now - one.at < timedelta(hours=rule.window_hours)]
            planned = sum(one.rule.name == rule.name and one.target == target for one in actions)
            if len(recent) + planned >= rule.at_most:
                findings.append(_exhausted(rule, target, len(recent) + planned, now))
            else:
                actions.append(Action(rule, target, incident))
    return actions, findings


def target_of(rule: Rule, incident: Incident) -> str:
    """The deployment that a rule acts on: the one that it names, else the incident's."""
    return rule.target or str(incident.figures.get("deployment") or incident.subject)


def longest_window(rules: Sequence[Rule]) -> timedelta:
    """How far back what was done counts."""
    return timedelta(hours=max((rule.window_hours for rule in rules), default=0.0))


def read_rules(path: Path) -> Rules:
    """The rules of a file; none where there is no file.

    Raises:
        UnavailableError: ``rules-unreadable``.
        InvalidError: ``bad-rules-file``: every problem with its line.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(_LIMIT_BYTES + 1)
    except FileNotFoundError:
        return Rules()
    except OSError as error:
        raise UnavailableError("rules-unreadable", f"cannot read {path}: {error.strerror}") from error
    if len(raw) > _LIMIT_BYTES:
        raise _bad(path, [f"it is larger than the {_LIMIT_BYTES:,} bytes that it may have"])
    try:
        document, places = read_with_places(raw)
        return Rules.model_validate({} if document is None else document)
    except ValidationError as error:
        raise _bad(path, field_problems(error, _FIELDS, line_of=places.line_of)) from error
    except ValueError as error:
        raise _bad(path, [str(error)]) from error


def _is_meant(rule: Rule, incident: Incident, now: datetime) -> bool:
    return (
        incident.kind in rule.when
        and incident.is_open
        and incident.quiet_since is None
        and rule.subject in (None, incident.subject)
        and is_at_least(incident.severity, rule.from_severity)
        and now - incident.opened_at >= timedelta(minutes=rule.after_minutes)
    )


def _failed(rule: Rule, target: str, at: datetime) -> Finding:
    figures: dict[str, float | int | str] = {"rule": rule.name}
    sentence = sentence_of(Kind.ACTION_FAILED, target, figures)
    return Finding(Kind.ACTION_FAILED, target, at, Severity.CRITICAL, sentence, figures)


def _exhausted(rule: Rule, target: str, count: int, now: datetime) -> Finding:
    figures: dict[str, float | int | str] = {"rule": rule.name, "count": count}
    sentence = sentence_of(Kind.ACTIONS_EXHAUSTED, target, figures)
    return Finding(Kind.ACTIONS_EXHAUSTED, target, now, Severity.CRITICAL, sentence, figures)


def _bad(path: Path, problems: Sequence[str]) -> InvalidError:
    return InvalidError(
        "bad-rules-file",
        f"{path} has problems:\n" + "\n".join(f"  - {problem}" for problem in problems[:50]),
        hint="correct the file; its form is in docs/guide/alerts.md",
    )


_FIELDS: list[str] = [*Rules.model_fields, *Rule.model_fields]


def plain_rule(rule: Rule) -> dict[str, Any]:
    """A rule as plain data."""
    return rule.model_dump(mode="json")

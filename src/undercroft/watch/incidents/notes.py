"""What is told of an incident, as plain data: kept in the outbox until every sink has it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from undercroft.core.clock import from_iso, to_iso
from undercroft.watch.findings import Kind, Severity
from undercroft.watch.incidents.incidents import Incident


class Event(StrEnum):
    """Why something is told."""

    OPENED = "opened"
    ESCALATED = "escalated"  # it is open for long, or became graver
    RESOLVED = "resolved"
    ACTED = "acted"  # a rule did something about it
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Note:
    """One thing that is told. It holds names, numbers and times: no prompt, no answer, no path, nobody's name.

    Args:
        event: Why it is told.
        severity: Of the incident.
        since: When it began; for a test, when it was asked for.
        incident: Its number; None for a test.
        kind: Of the incident; None for a test.
        subject: Of the incident, or of what a rule did.
        sentence: What was found, in English; empty where the text of its kind says all.
        figures: Of the finding.
        cause: What probably caused it; None is not known.
        until: When it was resolved; None before.
        deed: What a rule did; empty otherwise.
    """

    event: Event
    severity: Severity
    since: datetime
    incident: int | None = None
    kind: Kind | None = None
    subject: str = ""
    sentence: str = ""
    figures: Mapping[str, float | int | str] = field(default_factory=dict)
    cause: str | None = None
    until: datetime | None = None
    deed: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "event": self.event.value,
            "severity": self.severity.value,
            "since": to_iso(self.since),
            "incident": self.incident,
            "kind": self.kind.value if self.kind is not None else None,
            "subject": self.subject,
            "sentence": self.sentence,
            "figures": dict(self.figures),
            "cause": self.cause,
            "until": to_iso(self.until) if self.until is not None else None,
            "deed": self.deed,
        }


def read_note(plain: Mapping[str, Any]) -> Note:
    """Reads what `Note.to_dict` gave."""
    return Note(
        event=Event(plain["event"]),
        severity=Severity(plain["severity"]),
        since=from_iso(plain["since"]),
        incident=plain["incident"],
        kind=Kind(plain["kind"]) if plain["kind"] is not None else None,
        subject=plain["subject"],
        sentence=plain["sentence"],
        figures=plain["figures"],
        cause=plain["cause"],
        until=from_iso(plain["until"]) if plain["until"] is not None else None,
        deed=plain["deed"],
    )


def note_of(incident: Incident, event: Event, *, until: datetime | None = None, deed: str = "", on: str = "") -> Note:
    """What is told of an incident.

    Args:
        incident: As it is now.
        event: Why it is told.
        until: When it was resolved.
        deed: What a rule did.
        on: What the rule did it to, where that is not the incident's subject.
    """
    return Note(
        event=event,
        severity=incident.severity,
        since=incident.since,
        incident=incident.id,
        kind=incident.kind,
        subject=on or incident.subject,
        sentence=incident.sentence,
        figures=incident.figures,
        cause=incident.cause,
        until=until,
        deed=deed,
    )


@dataclass(frozen=True, slots=True)
class Message:
    """What one sink gets at once.

    Args:
        key: The same each time that this message is tried, and of no other; 32 hex digits.
        language: Of its text.
        site: What this server is called.
        notes: One, or several that were gathered.
        is_repeat: Whether the sink may have it already.
    """

    key: str
    language: str
    site: str
    notes: tuple[Note, ...]
    is_repeat: bool = False

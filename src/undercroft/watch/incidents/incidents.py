"""Incidents: what happens to each when one looks again. A pure function of what is known and what was found.

    it is known that                                     step
    ───────────────────────────────────────────────────  ─────────────────────────────────────────────────────
    a finding has no incident                            open: it is told
    its incident is open                                 note what it is now; nobody is told again
    … and it became graver                               escalate: it is told once more
    … and it is open for as long as the settings say     escalate, once
    an open incident's finding is gone                   quiet: since when
    … and has been gone for as long as the settings say  resolve: it is told
    … and came back before                               back: the same incident goes on
    a person resolved it while its finding holds         nothing, until the finding was gone once: cleared

There is one open incident a kind and subject. What could not be looked at is neither well nor ill.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from undercroft.core.clock import to_iso
from undercroft.watch.findings import Finding, Kind, Severity

# Says what probably caused a finding; None where nothing is known.
Cause = Callable[[Finding], str | None]

_ORDER = list(Severity)


@dataclass(frozen=True, slots=True)
class Incident:
    """Something that went wrong, from when it was noticed until it is well again.

    Args:
        id: Its number.
        kind: Of its finding.
        subject: Of its finding.
        severity: The gravest that it had.
        since: When it began, as far as is known.
        opened_at: When it was noticed.
        sentence: What was found last, in English.
        figures: Of the finding.
        cause: What probably caused it; None is not known.
        quiet_since: Since when its finding is gone; None while it holds.
        escalated_at: When it was told once more; None for never.
        resolved_at: None while it is open.
        resolved_by: ``system`` or who did.
        reason: Why, in that person's words.
        cleared_at: When its finding was gone after it was resolved; until then none is opened for the same.
    """

    id: int
    kind: Kind
    subject: str
    severity: Severity
    since: datetime
    opened_at: datetime
    sentence: str
    figures: Mapping[str, float | int | str] = field(default_factory=dict)
    cause: str | None = None
    quiet_since: datetime | None = None
    escalated_at: datetime | None = None
    resolved_at: datetime | None = None
    resolved_by: str | None = None
    reason: str | None = None
    cleared_at: datetime | None = None

    @property
    def is_open(self) -> bool:
        """Whether nobody and nothing has resolved it."""
        return self.resolved_at is None

    @property
    def pair(self) -> tuple[Kind, str]:
        """What it is grouped by."""
        return self.kind, self.subject

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        moments = ("since", "opened_at", "quiet_since", "escalated_at", "resolved_at", "cleared_at")
        return {
            "id": self.id,
            "kind": self.kind.value,
            "subject": self.subject,
            "severity": self.severity.value,
            "state": "open" if self.is_open else "resolved",
            **{name: to_iso(at) if (at := getattr(self, name)) is not None else None for name in moments},
            "sentence": self.sentence,
            "figures": dict(self.figures),
            "cause": self.cause,
            "resolved_by": self.resolved_by,
            "reason": self.reason,
        }


class Step(StrEnum):
    """See the table above."""

    OPEN = "open"
    NOTE = "note"
    ESCALATE = "escalate"
    QUIET = "quiet"
    BACK = "back"
    RESOLVE = "resolve"
    CLEAR = "clear"


@dataclass(frozen=True, slots=True)
class Change:
    """One step of one incident.

    Args:
        step: Which.
        finding: What was found; None where it is gone.
        incident: Which one; None where it is to be opened.
    """

    step: Step
    finding: Finding | None = None
    incident: Incident | None = None


@dataclass(frozen=True, slots=True)
class Patience:
    """How long things may take.

    Args:
        quiet: Until an incident whose finding is gone is resolved.
        escalate: Until an open one is told once more; None is never.
    """

    quiet: timedelta
    escalate: timedelta | None


def decide(
    known: Iterable[Incident],
    findings: Sequence[Finding],
    looked: frozenset[Kind],
    patience: Patience,
    now: datetime,
) -> list[Change]:
    """What happens to every incident.

    Args:
        known: Incidents that are open, or were resolved and not cleared since.
        findings: All that hold now; of two of the same kind and subject the first counts.
        looked: Kinds that could be looked at; an incident of another kind stays as it is.
        patience: As the settings say.
        now: The current time.

    Returns:
        In the order: what was found, then what is gone.
    """
    held: dict[tuple[Kind, str], Finding] = {}
    for finding in findings:
        held.setdefault((finding.kind, finding.subject), finding)
    by_pair = {incident.pair: incident for incident in sorted(known, key=lambda one: one.id)}
    changes = []
    for pair, finding in held.items():
        changes += _found(by_pair.get(pair), finding, patience, now)
    for pair, incident in by_pair.items():
        if pair not in held and incident.kind in looked:
            changes += _gone(incident, patience, now)
    return changes


def _found(incident: Incident | None, finding: Finding, patience: Patience, now: datetime) -> list[Change]:
    if incident is None or incident.cleared_at is not None:
        return [Change(Step.OPEN, finding)]
    if not incident.is_open:
        return []
    changes = []
    if incident.quiet_since is not None:
        changes.append(Change(Step.BACK, finding, incident))
    is_graver = is_at_least(finding.severity, incident.severity) and finding.severity is not incident.severity
    if is_graver or _is_due(incident, patience, now):
        changes.append(Change(Step.ESCALATE, finding, incident))
    elif finding.sentence != incident.sentence or dict(finding.figures) != dict(incident.figures):
        changes.append(Change(Step.NOTE, finding, incident))
    return changes


def _gone(incident: Incident, patience: Patience, now: datetime) -> list[Change]:
    if not incident.is_open:
        return [] if incident.cleared_at is not None else [Change(Step.CLEAR, incident=incident)]
    if incident.quiet_since is not None and now - incident.quiet_since >= patience.quiet:
        return [Change(Step.RESOLVE, incident=incident)]
    if incident.quiet_since is None:
        step = Step.QUIET if patience.quiet else Step.RESOLVE
        return [Change(step, incident=incident)]
    return []


def _is_due(incident: Incident, patience: Patience, now: datetime) -> bool:
    has_waited = patience.escalate is not None and now - incident.opened_at >= patience.escalate
    return has_waited and incident.escalated_at is None


def is_at_least(severity: Severity, least: Severity) -> bool:
    """Whether one is as grave as another, or graver."""
    return _ORDER.index(severity) >= _ORDER.index(least)

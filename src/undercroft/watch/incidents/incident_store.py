"""Incidents as the database keeps them. Whoever writes one tells of it in the same transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, case, func, insert, or_, select, update

from undercroft.core.clock import from_iso, to_iso
from undercroft.core.errors import ConflictError, NotFoundError
from undercroft.storage import journal
from undercroft.storage.tables import incidents
from undercroft.watch.findings import Kind, Severity
from undercroft.watch.incidents.incidents import Cause, Change, Incident, Step, is_at_least
from undercroft.watch.incidents.notes import Event, Note, note_of

_MOMENTS = ("since", "opened_at", "quiet_since", "escalated_at", "resolved_at", "cleared_at")


def known(connection: Connection) -> list[Incident]:
    """Those that are open, or were resolved while their finding held."""
    query = select(incidents).where(incidents.c.cleared_at.is_(None)).order_by(incidents.c.id)
    return [_read(row) for row in connection.execute(query)]


def list_open(connection: Connection) -> list[Incident]:
    """Those that are open, the oldest first."""
    query = select(incidents).where(incidents.c.resolved_at.is_(None)).order_by(incidents.c.id)
    return [_read(row) for row in connection.execute(query)]


def list_newest(connection: Connection, *, limit: int, since: datetime | None = None) -> list[Incident]:
    """The newest, the newest first.

    Args:
        limit: Most.
        since: Only those that were open at that time or later; None is all.
    """
    query = select(incidents).order_by(incidents.c.id.desc()).limit(limit)
    if since is not None:
        query = query.where(or_(incidents.c.resolved_at.is_(None), incidents.c.resolved_at >= to_iso(since)))
    return [_read(row) for row in connection.execute(query)]


def count_open(connection: Connection) -> dict[tuple[Kind, Severity], int]:
    """How many are open of each kind and severity; 0 where there was one and is none now."""
    is_open = case((incidents.c.resolved_at.is_(None), 1), else_=0)
    columns = incidents.c.kind, incidents.c.severity
    query = select(*columns, func.sum(is_open).label("open")).group_by(*columns).order_by(*columns)
    return {(Kind(row.kind), Severity(row.severity)): int(row.open) for row in connection.execute(query)}


def get(connection: Connection, number: int) -> Incident:
    """One incident.

    Raises:
        NotFoundError: There is none of that number.
    """
    row = connection.execute(select(incidents).where(incidents.c.id == number)).first()
    if row is None:
        raise NotFoundError("no-such-incident", f"there is no incident {number}", hint="undercroft incident list --all")
    return _read(row)


def apply(connection: Connection, changes: Sequence[Change], cause: Cause, now: datetime) -> list[Note]:
    """Makes incidents what was decided; what has to be told of them, in order.

    Args:
        connection: Of a transaction that writes.
        changes: As `incidents.decide` gave them.
        cause: Says what probably caused a finding; asked when an incident opens.
        now: The current time.
    """
    notes = []
    for change in changes:
        if change.incident is None:
            notes.append(note_of(_open(connection, change, cause, now), Event.OPENED))
            continue
        values, event = _values(change, change.incident, now)
        connection.execute(update(incidents).where(incidents.c.id == change.incident.id).values(**values))
        if event is not None:
            until = now if event is Event.RESOLVED else None
            notes.append(note_of(get(connection, change.incident.id), event, until=until))
    return notes


def resolve(connection: Connection, number: int, *, actor: str, reason: str | None, now: datetime) -> Note:
    """A person says that it is over; the same finding opens no other until all was well once. What is to be told of it.

    Raises:
        NotFoundError: There is none of that number.
        ConflictError: It is resolved already.
    """
    before = get(connection, number)
    if not before.is_open:
        raise ConflictError("incident-resolved", f"incident {number} was resolved by {before.resolved_by} already")
    connection.execute(
        update(incidents)
        .where(incidents.c.id == number)
        .values(
            resolved_at=to_iso(now),
            resolved_by=actor,
            reason=reason,
            cleared_at=to_iso(now) if before.quiet_since is not None else None,
        )
    )
    journal.record(
        connection,
        actor=actor,
        action="incident.resolve",
        subject=f"incident {number}",
        before={"kind": before.kind.value, "subject": before.subject, "severity": before.severity.value},
        reason=reason,
    )
    return note_of(get(connection, number), Event.RESOLVED, until=now)


def _open(connection: Connection, change: Change, cause: Cause, now: datetime) -> Incident:
    found = change.finding
    assert found is not None
    made = Incident(
        id=0,
        kind=found.kind,
        subject=found.subject,
        severity=found.severity,
        since=min(found.since, now),
        opened_at=now,
        sentence=found.sentence,
        figures=dict(found.figures),
        cause=cause(found),
    )
    key = connection.execute(
        insert(incidents).values(
            kind=made.kind.value,
            subject=made.subject,
            severity=made.severity.value,
            since=to_iso(made.since),
            opened_at=to_iso(made.opened_at),
            sentence=made.sentence,
            figures=made.figures,
            cause=made.cause,
        )
    ).inserted_primary_key
    assert key is not None
    return replace(made, id=int(key[0]))


def _values(change: Change, incident: Incident, now: datetime) -> tuple[Mapping[str, Any], Event | None]:
    """What the row becomes, and what is told of it."""
    moment = to_iso(now)
    if change.step is Step.QUIET:
        return {"quiet_since": moment}, None
    if change.step is Step.RESOLVE:
        return {"resolved_at": moment, "resolved_by": "system", "cleared_at": moment}, Event.RESOLVED
    if change.step is Step.CLEAR:
        return {"cleared_at": moment}, None
    found = change.finding
    assert found is not None
    values: dict[str, Any] = {"sentence": found.sentence, "figures": dict(found.figures)}
    if change.step is Step.BACK:
        return {**values, "quiet_since": None}, None
    if change.step is Step.NOTE:
        return values, None
    graver = found.severity if is_at_least(found.severity, incident.severity) else incident.severity
    return {**values, "severity": graver.value, "escalated_at": moment}, Event.ESCALATED


def _read(row: Row[Any]) -> Incident:
    values = dict(row._mapping)
    moments = {name: from_iso(values[name]) if values[name] is not None else None for name in _MOMENTS}
    return Incident(**{**values, **moments, "kind": Kind(row.kind), "severity": Severity(row.severity)})

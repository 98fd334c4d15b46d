"""What people ask of incidents, by command and by route: which there are, all of one, and to say that one is over."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from undercroft.core.clock import to_iso
from undercroft.core.settings import AlertSettings
from undercroft.storage.database import Database
from undercroft.watch.incidents import incident_store, outbox
from undercroft.watch.incidents.acting import done_about
from undercroft.watch.incidents.actions import Done
from undercroft.watch.incidents.alert_texts import commands_for
from undercroft.watch.incidents.alerting import told_notes
from undercroft.watch.incidents.incidents import Incident
from undercroft.watch.incidents.notes import Event, note_of


@dataclass(frozen=True, slots=True)
class Inquired:
    """All that is known of an incident.

    Args:
        incident: Itself.
        done: What rules did about it, the first thing first.
        commands: What helps; words of a shell.
    """

    incident: Incident
    done: tuple[Done, ...]
    commands: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            **self.incident.to_dict(),
            "actions": [_plain(one) for one in self.done],
            "commands": list(self.commands),
        }


def list_incidents(
    connection: Connection, *, include_resolved: bool, since: datetime | None, limit: int
) -> list[Incident]:
    """Incidents, the newest first.

    Args:
        connection: To read.
        include_resolved: Those that are over, too.
        since: Those that were open then or later, resolved or not; None is any time.
        limit: Most.
    """
    if include_resolved or since is not None:
        return incident_store.list_newest(connection, limit=limit, since=since)
    return incident_store.list_open(connection)[::-1][:limit]


def inquire(connection: Connection, number: int) -> Inquired:
    """All that is known of one.

    Args:
        connection: To read.
        number: Of the incident.

    Raises:
        NotFoundError: There is none of that number.
    """
    incident = incident_store.get(connection, number)
    commands = commands_for(note_of(incident, Event.OPENED if incident.is_open else Event.RESOLVED))
    helpful = tuple(command for command in commands if command != f"undercroft incident show {number}")
    return Inquired(incident, tuple(done_about(connection, number)), helpful)


def resolve(
    database: Database, settings: AlertSettings, number: int, *, actor: str, reason: str | None, now: datetime
) -> Incident:
    """A person says that one is over: kept, journalled and told to who was told of it, in one transaction.

    Args:
        database: Of the home.
        settings: Say who is told.
        number: Of the incident.
        actor: Who says so.
        reason: Why; it stays in the house.
        now: The current time.

    Raises:
        NotFoundError: There is none of that number.
        ConflictError: It is resolved already.
    """
    with database.write() as connection:
        note = incident_store.resolve(connection, number, actor=actor, reason=reason, now=now)
        for told, sinks in told_notes([note], settings):
            outbox.put(connection, told, sinks, now)
        return incident_store.get(connection, number)


def _plain(done: Done) -> dict[str, Any]:
    return {
        "at": to_iso(done.at),
        "rule": done.rule,
        "deed": done.deed.value,
        "target": done.target,
        "problem": done.problem,
    }

"""Does what rules say, and writes down that it does before it begins: what was begun counts, whoever is killed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol

from sqlalchemy import Connection, insert, or_, select, update

from undercroft.core.clock import from_iso, to_iso
from undercroft.core.errors import ConflictError, UndercroftError
from undercroft.registry.releases import store
from undercroft.serving import deployments, promotions, releasing
from undercroft.storage import journal
from undercroft.storage.database import Database
from undercroft.storage.tables import actions
from undercroft.watch.incidents import outbox
from undercroft.watch.incidents.actions import Action, Deed, Done
from undercroft.watch.incidents.notes import Event, note_of

# A deed that a kill interrupted: nobody knows how far it came.
_UNFINISHED = "unfinished"
_ACTOR = "system"


class Server(Protocol):
    """What is asked of the reconciler."""

    def restart(self, name: str) -> None:
        """Ends the replicas of a name after their requests; others start in their place.

        Raises:
            NotFoundError: It has none.
        """

    def wake(self) -> None:
        """Something changed."""


def done_since(connection: Connection, since: datetime, incidents: Sequence[int]) -> list[Done]:
    """What rules did since a time, and on some incidents at any time."""
    query = select(actions).where(or_(actions.c.at >= to_iso(since), actions.c.incident.in_(incidents)))
    return [
        Done(from_iso(row.at), row.incident, row.rule, Deed(row.deed), row.target, row.problem)
        for row in connection.execute(query.order_by(actions.c.id))
    ]


def done_about(connection: Connection, incident: int) -> list[Done]:
    """What rules did about one incident."""
    query = select(actions).where(actions.c.incident == incident).order_by(actions.c.id)
    return [
        Done(from_iso(row.at), row.incident, row.rule, Deed(row.deed), row.target, row.problem)
        for row in connection.execute(query)
    ]


def act(database: Database, server: Server, action: Action, sinks: Sequence[str], now: datetime) -> Done:
    """One action: written down, done, told.

    Args:
        database: Of the home.
        server: The reconciler.
        action: What to do.
        sinks: Who is told.
        now: The current time.

    Returns:
        How it went; a deed that failed has a problem, and is for people from then on.
    """
    rule, incident = action.rule, action.incident
    reason = f"rule {rule.name}, incident {incident.id}: {incident.kind.value} of {incident.subject}"
    with database.write() as connection:
        key = connection.execute(
            insert(actions).values(
                at=to_iso(now),
                incident=incident.id,
                rule=rule.name,
                deed=rule.do.value,
                target=action.target,
                problem=_UNFINISHED,
            )
        ).inserted_primary_key
        journal.record(
            connection,
            actor=_ACTOR,
            action=f"action.{rule.do.value}",
            subject=action.target,
            after={"rule": rule.name, "incident": incident.id, "kind": incident.kind.value},
            reason=reason,
        )
    assert key is not None
    try:
        _DEEDS[rule.do](database, server, action, reason)
        problem = ""
    except UndercroftError as error:
        problem = error.code
    with database.write() as connection:
        connection.execute(update(actions).where(actions.c.id == key[0]).values(problem=problem))
        if not problem:
            told = note_of(incident, Event.ACTED, deed=rule.do.value, on=action.target)
            outbox.put(connection, [told], sinks, now)
    return Done(now, incident.id, rule.name, rule.do, action.target, problem)


def _restart(_database: Database, server: Server, action: Action, _reason: str) -> None:
    server.restart(action.target)


def _roll_back(database: Database, server: Server, action: Action, reason: str) -> None:
    with database.read() as connection:
        tags = store.tags_of(connection, action.target)
        is_tried = promotions.find_running(connection, action.target) is not None
    # After one rollback `previous` is what was left as bad: going there would be no way back.
    if not is_tried and tags.get("previous", 0) > tags.get("production", 0):
        raise ConflictError(
            "rolled-back-already",
            f"{action.target}@{tags['previous']} was left for @{tags.get('production')}, and both fail",
            hint=f"undercroft release list {action.target}",
        )
    releasing.rollback(database, action.target, None, actor=_ACTOR, reason=reason)
    server.wake()


def _pin(database: Database, server: Server, action: Action, reason: str) -> None:
    deployments.change(database, action.target, settings={"is_pinned": True}, actor=_ACTOR, reason=reason)
    server.wake()


def _stop(database: Database, server: Server, action: Action, reason: str) -> None:
    deployments.set_running(database, action.target, False, actor=_ACTOR, reason=reason)
    server.wake()


def _lower_priority(database: Database, server: Server, action: Action, reason: str) -> None:
    settings = {"priority": action.rule.priority}
    deployments.change(database, action.target, settings=settings, actor=_ACTOR, reason=reason)
    server.wake()


_DEEDS: dict[Deed, Callable[[Database, Server, Action, str], None]] = {
    Deed.RESTART: _restart,
    Deed.ROLL_BACK: _roll_back,
    Deed.PIN: _pin,
    Deed.STOP: _stop,
    Deed.LOWER_PRIORITY: _lower_priority,
}

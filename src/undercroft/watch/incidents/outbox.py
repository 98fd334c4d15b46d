"""What is to be told to whom, as the database keeps it, so that a server that is killed loses nothing."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from undercroft.core.clock import from_iso, to_iso
from undercroft.storage.tables import alerts
from undercroft.watch.incidents.delivery import State, Verdict, Waiting
from undercroft.watch.incidents.notes import Note, read_note

_KEPT = timedelta(days=90)


@dataclass(frozen=True, slots=True)
class SinkState:
    """How it goes with one sink.

    Args:
        sink: Its name.
        waiting: Notes that it is to get; count.
        dead: Notes that it did not take; count.
        sent_at: When it took the last message; ISO 8601, UTC; None for never.
        problem: Of the last try that failed, of what waits or is dead; empty where there is none.
    """

    sink: str
    waiting: int = 0
    dead: int = 0
    sent_at: str | None = None
    problem: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def put(connection: Connection, notes: Iterable[Note], sinks: Sequence[str], now: datetime) -> None:
    """A note for each sink, in the transaction of what it tells of."""
    for note in notes:
        for sink in sinks:
            connection.execute(
                insert(alerts).values(
                    at=to_iso(now),
                    sink=sink,
                    incident=note.incident,
                    event=note.event.value,
                    content=note.to_dict(),
                    state=State.WAITING.value,
                    attempts=0,
                    not_before=to_iso(now),
                    is_repeat=False,
                    problem="",
                )
            )


def waiting_for(connection: Connection, sink: str) -> list[Waiting]:
    """What a sink is to get, the oldest first."""
    query = select(alerts).where(alerts.c.state == State.WAITING.value, alerts.c.sink == sink).order_by(alerts.c.id)
    return [_waiting(row) for row in connection.execute(query)]


def count_sent(connection: Connection, sink: str, since: datetime) -> int:
    """Messages that a sink took since a time; count."""
    query = select(func.count(func.distinct(alerts.c.message))).where(
        alerts.c.state == State.SENT.value, alerts.c.sink == sink, alerts.c.ended_at > to_iso(since)
    )
    return int(connection.execute(query).scalar_one())


def take(connection: Connection, group: Sequence[Waiting]) -> str:
    """Begins a try of a message; its key."""
    key = group[0].message or secrets.token_hex(16)
    connection.execute(
        update(alerts)
        .where(alerts.c.id.in_([one.id for one in group]))
        .values(state=State.SENDING.value, message=key, attempts=alerts.c.attempts + 1)
    )
    return key


def settle(connection: Connection, group: Sequence[Waiting], verdict: Verdict, now: datetime) -> None:
    """Ends a try."""
    is_over = verdict.state is not State.WAITING
    connection.execute(
        update(alerts)
        .where(alerts.c.id.in_([one.id for one in group]))
        .values(
            state=verdict.state.value,
            not_before=to_iso(verdict.not_before),
            ended_at=to_iso(now) if is_over else None,
            problem=verdict.problem,
        )
    )


def recover(connection: Connection, with_memory: Iterable[str]) -> None:
    """After a kill in the middle of a try nobody knows whether the sink has the message: it is tried again.

    Args:
        with_memory: Sinks that drop what they have seen; the others get it marked as a possible copy.
    """
    was_sending = alerts.c.state == State.SENDING.value
    connection.execute(
        update(alerts).where(was_sending, alerts.c.sink.not_in(list(with_memory))).values(is_repeat=True)
    )
    connection.execute(update(alerts).where(was_sending).values(state=State.WAITING.value))


def give_up(connection: Connection, sinks: Sequence[str], now: datetime) -> None:
    """What waits for a sink that the settings no longer name is dead."""
    connection.execute(
        update(alerts)
        .where(alerts.c.state == State.WAITING.value, alerts.c.sink.not_in(list(sinks)))
        .values(state=State.DEAD.value, ended_at=to_iso(now), problem="the settings do not name this sink any more")
    )


def retry(connection: Connection, sink: str | None, now: datetime) -> int:
    """Tries again what is dead, of one sink or of all; how many notes that are."""
    which = [alerts.c.state == State.DEAD.value, *([alerts.c.sink == sink] if sink is not None else [])]
    values = {"state": State.WAITING.value, "attempts": 0, "not_before": to_iso(now), "ended_at": None}
    return connection.execute(update(alerts).where(*which).values(**values, message=None)).rowcount


def forget_old(connection: Connection, now: datetime) -> None:
    """What was sent or given up long ago."""
    connection.execute(delete(alerts).where(alerts.c.ended_at < to_iso(now - _KEPT)))


def list_newest(connection: Connection, *, limit: int, state: State | None = None) -> list[dict[str, Any]]:
    """The newest notes, the newest first, as plain data."""
    query = select(alerts).order_by(alerts.c.id.desc()).limit(limit)
    if state is not None:
        query = query.where(alerts.c.state == state.value)
    return [_plain(row) for row in connection.execute(query)]


def states_of(connection: Connection, sinks: Sequence[str]) -> list[SinkState]:
    """How it goes with sinks: those that the settings name, then those that something is kept for."""
    counted: dict[str, dict[str, int]] = {sink: {} for sink in sinks}
    unsent = [State.WAITING.value, State.SENDING.value, State.DEAD.value]
    query = select(alerts.c.sink, alerts.c.state, func.count()).where(alerts.c.state.in_(unsent))
    for sink, state, count in connection.execute(query.group_by(alerts.c.sink, alerts.c.state)):
        counted.setdefault(sink, {})[state] = count
    return [_sink_state(connection, sink, counts) for sink, counts in counted.items()]


def _sink_state(connection: Connection, sink: str, counts: Mapping[str, int]) -> SinkState:
    sent = select(func.max(alerts.c.ended_at)).where(alerts.c.sink == sink, alerts.c.state == State.SENT.value)
    failed = (
        select(alerts.c.problem)
        .where(alerts.c.sink == sink, alerts.c.state != State.SENT.value, alerts.c.problem != "")
        .order_by(alerts.c.id.desc())
        .limit(1)
    )
    return SinkState(
        sink=sink,
        waiting=counts.get(State.WAITING.value, 0) + counts.get(State.SENDING.value, 0),
        dead=counts.get(State.DEAD.value, 0),
        sent_at=connection.execute(sent).scalar(),
        problem=connection.execute(failed).scalar() or "",
    )


def _waiting(row: Row[Any]) -> Waiting:
    note = read_note(row.content)
    return Waiting(row.id, note, row.message, row.attempts, from_iso(row.not_before), row.is_repeat)


def _plain(row: Row[Any]) -> dict[str, Any]:
    values = dict(row._mapping)
    return {**values, "content": dict(values["content"])}

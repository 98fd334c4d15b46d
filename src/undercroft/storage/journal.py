"""The journal: the append-only, hash-chained diary of every change.

An entry is written in the transaction of the change that it tells of, so both happen or neither does.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Text, cast, func, insert, or_, select

from undercroft.core.clock import to_iso, utc_now
from undercroft.storage.tables import journal

FIRST = "0" * 64


@dataclass(frozen=True, slots=True)
class Entry:
    """One change.

    Args:
        seq: 1, 2, 3 … without gaps.
        at: ISO 8601, UTC.
        actor: Who: ``cli:anna``, ``key:key_…``, ``system``.
        action: What: ``model.add``, ``key.revoke`` …
        subject: On which thing.
        before: The thing before; None where it was not there.
        after: The thing after; None where it is gone.
        reason: Why, in the actor's words.
        previous: Hash of the entry before.
    """

    seq: int
    at: str
    actor: str
    action: str
    subject: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
    reason: str | None
    previous: str

    def hash(self) -> str:
        """SHA-256, hex, of the entry as JSON with sorted keys and no spaces."""
        text = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()


def record(
    connection: Connection,
    *,
    actor: str,
    action: str,
    subject: str,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    reason: str | None = None,
    at: datetime | None = None,
) -> Entry:
    """Appends an entry inside the caller's transaction."""
    last = connection.execute(select(journal.c.seq, journal.c.hash).order_by(journal.c.seq.desc()).limit(1)).first()
    entry = Entry(
        seq=last.seq + 1 if last else 1,
        at=to_iso(at or utc_now()),
        actor=actor,
        action=action,
        subject=subject,
        before=before,
        after=after,
        reason=reason,
        previous=last.hash if last else FIRST,
    )
    connection.execute(insert(journal).values(**asdict(entry), hash=entry.hash()))
    return entry


@dataclass(frozen=True, slots=True)
class Search:
    """Which entries are wanted; what is None does not matter.

    Args:
        text: Stands in actor, action, subject, reason, before or after; case does not matter for ASCII letters.
        actor: Who.
        action: What: all of it, or the part before a dot: ``release`` finds ``release.create``.
        subject: On which thing.
        since: Not earlier, ISO 8601, UTC.
        until: Earlier than that.
        limit: Most, the newest ones; None is all.
        name: The name that it is about: ``bot`` finds ``bot``, ``bot@3`` and ``bot:production``.
    """

    text: str | None = None
    actor: str | None = None
    action: str | None = None
    subject: str | None = None
    since: str | None = None
    until: str | None = None
    limit: int | None = None
    name: str | None = None


def find(connection: Connection, search: Search) -> list[tuple[Entry, str]]:
    """Entries in order, each with the hash that is stored for it."""
    columns = journal.c
    query = select(journal).order_by(columns.seq.desc()).limit(search.limit)
    if search.text is not None:
        places = (columns.actor, columns.action, columns.subject, columns.reason)
        stored = (cast(column, Text) for column in (columns.before, columns.after))
        # JSON is stored with everything beyond ASCII escaped, so it is searched for as it would be escaped.
        escaped = json.dumps(search.text)[1:-1]
        query = query.where(
            or_(
                *(column.icontains(search.text, autoescape=True) for column in places),
                *(column.icontains(escaped, autoescape=True) for column in stored),
            )
        )
    if search.actor is not None:
        query = query.where(columns.actor == search.actor)
    if search.action is not None:
        begins = columns.action.startswith(f"{search.action}.", autoescape=True)
        query = query.where(or_(columns.action == search.action, begins))
    if search.subject is not None:
        query = query.where(columns.subject == search.subject)
    if search.name is not None:
        places_of_it = [columns.subject.startswith(f"{search.name}{mark}", autoescape=True) for mark in "@:"]
        query = query.where(or_(columns.subject == search.name, *places_of_it))
    if search.since is not None:
        query = query.where(columns.at >= search.since)
    if search.until is not None:
        query = query.where(columns.at < search.until)
    return [_read(row) for row in connection.execute(query)][::-1]


def get(connection: Connection, seq: int) -> tuple[Entry, str] | None:
    """One entry and the hash that is stored for it; None where there is none of that number."""
    row = connection.execute(select(journal).where(journal.c.seq == seq)).first()
    return _read(row) if row is not None else None


def count(connection: Connection) -> int:
    """How many entries there are."""
    return int(connection.execute(select(func.count()).select_from(journal)).scalar_one())


def entries(connection: Connection) -> Iterator[tuple[Entry, str]]:
    """All entries in order, each with the hash that is stored for it."""
    for row in connection.execute(select(journal).order_by(journal.c.seq)):
        yield _read(row)


def _read(row: Row[Any]) -> tuple[Entry, str]:
    values = dict(row._mapping)
    stored = str(values.pop("hash"))
    return Entry(**values), stored


def find_damage(connection: Connection, known: Mapping[int, str] | None = None) -> str | None:
    """The first place where the chain does not hold, as a sentence; None where all of it holds.

    Args:
        connection: Of the database.
        known: What checkpoints say: number of an entry → its hash. Whoever may write to the database can make a new
            chain that holds; not one that has these hashes.
    """
    expected_seq, previous = 1, FIRST
    wanted = dict(known or {})
    for entry, stored in entries(connection):
        if entry.seq != expected_seq:
            return f"entry {expected_seq} is missing: found {entry.seq} in its place"
        if entry.previous != previous:
            return f"entry {entry.seq} does not follow the one before it"
        if entry.hash() != stored:
            return f"entry {entry.seq} was changed after it was written"
        if wanted.pop(entry.seq, stored) != stored:
            return f"entry {entry.seq}, or one before it, is not what it was when its checkpoint was made"
        expected_seq, previous = entry.seq + 1, stored
    if wanted:
        return f"it ends at entry {expected_seq - 1}, a checkpoint has seen entry {max(wanted)}: the end was cut off"
    return None

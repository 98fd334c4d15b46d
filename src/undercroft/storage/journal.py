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

from sqlalchemy import Connection, insert, select

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


def entries(connection: Connection) -> Iterator[tuple[Entry, str]]:
    """All entries in order, each with the hash that is stored for it."""
    for row in connection.execute(select(journal).order_by(journal.c.seq)):
        values = dict(row._mapping)
        stored = str(values.pop("hash"))
        yield Entry(**values), stored


def find_damage(connection: Connection) -> str | None:
    """The first place where the chain does not hold, as a sentence; None where all of it holds."""
    expected_seq, previous = 1, FIRST
    for entry, stored in entries(connection):
        if entry.seq != expected_seq:
            return f"entry {expected_seq} is missing: found {entry.seq} in its place"
        if entry.previous != previous:
            return f"entry {entry.seq} does not follow the one before it"
        if entry.hash() != stored:
            return f"entry {entry.seq} was changed after it was written"
        expected_seq, previous = entry.seq + 1, stored
    return None

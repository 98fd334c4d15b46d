"""The journal's entries of changed settings: what the server reads is compared with what it read before.

Nobody tells the server that a file was edited, so that the entry is of the moment from which the new values hold: a
start, or whenever settings are read anew. The first start of a home keeps what it read and writes no entry, because
nothing was changed and nobody knows what was before.
"""

from __future__ import annotations

import pwd
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection, delete, insert, select

import undercroft
from undercroft.core.changed_settings import (
    KnownSetting,
    actor_of,
    compare_settings,
    evidence_of,
    known_settings,
)
from undercroft.core.settings import Loaded
from undercroft.storage import journal
from undercroft.storage.database import Database
from undercroft.storage.journal import Entry
from undercroft.storage.tables import known_settings as known_table

SETTINGS_CHANGE = "settings.change"


def note_settings(
    database: Database, loaded: Loaded, config_file: Path, *, sections: Iterable[str] | None = None
) -> Entry | None:
    """Keeps what was read and writes down what was changed since the last time, in one transaction.

    Args:
        database: Of the home.
        loaded: What was just read.
        config_file: Where from.
        sections: What of it holds from now on: a process that reads all uses some; None is all. Before the first whole
            look nothing is kept of a part.

    Returns:
        The entry; None where nothing was changed, or nothing was known.

    Raises:
        UnavailableError: The database cannot be written; nothing was kept, and the next look finds the same.
    """
    only = None if sections is None else frozenset(sections)
    read = known_settings(loaded)
    with database.read() as connection:
        # Nearly always nothing was changed, and then nobody has to wait for the writer's lock.
        if _read(connection) == read:
            return None
    with database.write() as connection:
        known = _read(connection)
        if not known and only is not None:
            return None
        change = compare_settings(known, read, only)
        _keep(connection, known, read, only)
        if change is None:
            return None
        return journal.record(
            connection,
            actor=actor_of(change, config_file.name),
            action=SETTINGS_CHANGE,
            subject="settings",
            before=change.before,
            after=change.after,
            reason=evidence_of(change, describe_file(config_file), undercroft.__version__),
        )


def describe_file(file: Path) -> str:
    """Whose a settings file is, and when it was written; who wrote it nobody knows."""
    try:
        seen = file.stat()
    except OSError:
        return f"{file.name} cannot be looked at, or is not there any more"
    try:
        owner = pwd.getpwuid(seen.st_uid).pw_name
    except KeyError:
        owner = f"user {seen.st_uid}"
    written = datetime.fromtimestamp(seen.st_mtime, UTC)
    return f"{file.name} belongs to {owner} and was written {written:%Y-%m-%d %H:%M} UTC"


def _read(connection: Connection) -> dict[str, KnownSetting]:
    rows = connection.execute(select(known_table))
    return {row.name: KnownSetting(row.value, row.digest, row.origin) for row in rows}


def _keep(
    connection: Connection,
    known: dict[str, KnownSetting],
    read: dict[str, KnownSetting],
    only: frozenset[str] | None,
) -> None:
    """Makes the rows what was read; of names below other sections they stay as they are."""

    def is_meant(name: str) -> bool:
        return only is None or name.partition(".")[0] in only

    kept = {name: one for name, one in read.items() if is_meant(name)}
    stale = [name for name, one in known.items() if is_meant(name) and kept.get(name) != one]
    if stale:
        connection.execute(delete(known_table).where(known_table.c.name.in_(stale)))
    new = [
        {"name": name, "value": one.value, "digest": one.digest, "origin": one.origin}
        for name, one in kept.items()
        if known.get(name) != one
    ]
    if new:
        connection.execute(insert(known_table), new)

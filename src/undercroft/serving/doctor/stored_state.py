"""What the home holds: the database, the journal, the stored files. Opened for reading only, never migrated."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Row, create_engine, func, select, text
from sqlalchemy.exc import DatabaseError
from sqlalchemy.pool import NullPool

from undercroft.core.errors import UndercroftError
from undercroft.core.home import Home
from undercroft.core.units import format_bytes
from undercroft.serving.doctor.findings import Check, Verdict, fail, fine, warn
from undercroft.storage import checkpoints, journal
from undercroft.storage.blobs import DISTRUSTED, BlobStore, Fingerprint, fingerprint
from undercroft.storage.database import SCHEMA_REVISION
from undercroft.storage.tables import blobs, measurements
from undercroft.storage.tables import journal as journal_table
from undercroft.storage.upgrading import copies_of

# Read through here up to this size; a larger file takes longer than a check may.
_READ_THROUGH_BYTES = 200 * 1024**2
_HASHED_ENTRIES = 20_000
_FILES = 10_000

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class DatabaseState:
    """What was seen of the database.

    Args:
        damage: In SQLite's words; empty where it found none.
        revision: Of its schema; empty where it has none yet.
        journal_damage: The first place where the chain does not hold; empty where it holds.
        entries: Journal entries; count.
        size_bytes: Of the file.
        copies: Names of the copies from before its schema was upgraded, the newest last.
    """

    damage: str
    revision: str
    journal_damage: str
    entries: int
    size_bytes: int
    copies: tuple[str, ...] = ()


@contextmanager
def read_only(file: Path) -> Iterator[Connection]:
    """A connection that can change nothing.

    Raises:
        DatabaseError: It cannot be opened, or is no database.
    """
    # Without its log nobody has the file open, and it is whole by itself. Opened in the ordinary way it would get a new
    # log, which a reader cannot remove again: with sudo, one that its owner cannot use.
    is_in_use = Path(f"{file}-wal").exists()
    address = f"{file.absolute().as_uri()}?{'mode=ro' if is_in_use else 'immutable=1'}"
    engine = create_engine(
        "sqlite://", creator=lambda: sqlite3.connect(address, uri=True, timeout=1.0), poolclass=NullPool
    )
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def judge_database(state: DatabaseState | None, file: Path) -> Verdict:
    """Whether the database and its journal are whole.

    Args:
        state: None where there is no database yet.
        file: Of the database.
    """
    kept = f"{file.with_name(state.copies[-1])}, or another copy of" if state and state.copies else "a copy of"
    restore = f"undercroft down; put back {kept} {file}"
    if state is None:
        return fine("none yet; undercroft up makes it")
    if state.damage:
        return fail(f"the database is damaged: {state.damage}", restore)
    if state.revision > SCHEMA_REVISION:
        saw = f"it has schema {state.revision}, this Undercroft knows up to {SCHEMA_REVISION}"
        return fail(saw, "pip install --upgrade undercroft", why="A newer Undercroft wrote it; this one refuses it.")
    if state.journal_damage:
        why = "Somebody or something changed the diary of changes afterwards: it proves nothing any more."
        return fail(f"the journal does not hold together: {state.journal_damage}", "undercroft journal verify", why=why)
    parts = []
    if state.size_bytes > _READ_THROUGH_BYTES:
        parts.append(f"{format_bytes(state.size_bytes)} were not read through")
    if state.entries > _HASHED_ENTRIES:
        parts.append(f"{state.entries:,} journal entries were not checked: undercroft journal verify")
    told = [f"opens; {'; '.join(parts)}" if parts else "whole, and so is the journal"]
    if state.revision and state.revision < SCHEMA_REVISION:
        told.append(f"the next start brings it from schema {state.revision} to {SCHEMA_REVISION} and keeps a copy")
    if state.copies:
        told.append(f"as it was before upgrades: {', '.join(state.copies)}")
    return fine("; ".join(told))


def judge_files(expected: Iterable[tuple[str, Fingerprint, Fingerprint | None]]) -> list[Verdict]:
    """Whether stored files look as they did when they were hashed.

    Args:
        expected: Digest, what was written down, what is there now (None: nothing that can be read).
    """
    every = list(expected)
    gone = [digest for digest, _, now in every if now is None]
    damaged = [digest for digest, then, now in every if now is not None and then == DISTRUSTED]
    rows = [row for row in every if row[1] != DISTRUSTED]
    resized = [digest for digest, then, now in rows if now is not None and now.size_bytes != then.size_bytes]
    touched = [d for d, then, now in rows if now is not None and now.size_bytes == then.size_bytes and now != then]
    verdicts = []
    if gone:
        verdicts.append(
            fail(f"{_files(gone)} gone or cannot be read", "undercroft model verify names the models; pull again")
        )
    if damaged:
        verdicts.append(
            fail(
                f"{_files(damaged)} not what it was when hashed, as undercroft model verify has found",
                "undercroft model verify again where it was put back since; else pull again",
                why="No engine gets it until it was read again and found whole.",
            )
        )
    if resized:
        verdicts.append(
            fail(f"{_files(resized)} of another size than when hashed", "undercroft model verify; pull again")
        )
    if touched:
        verdicts.append(warn(f"{_files(touched)} written or replaced since hashed", "undercroft model verify"))
    return verdicts or [fine(f"as they were when hashed: {len(every):,}")]


def _files(digests: list[str]) -> str:
    first = digests[0][:19]
    return f"1 stored file ({first}…) is" if len(digests) == 1 else f"{len(digests)} stored files ({first}… first) are"


def observe_database(file: Path) -> DatabaseState | None:
    """Looks through the database; None where there is none."""
    if not file.exists():
        return None
    size_bytes = file.stat().st_size
    damage = revision = journal_damage = ""
    entries = 0
    try:
        with read_only(file) as connection:
            if size_bytes <= _READ_THROUGH_BYTES:
                found = connection.execute(text("PRAGMA quick_check(1)")).scalar()
                damage = "" if found == "ok" else str(found)
            if not damage and _has_table(connection, "alembic_version"):
                revision = str(connection.execute(text("SELECT version_num FROM alembic_version")).scalar() or "")
            if not damage and _has_table(connection, "journal"):
                entries = int(connection.execute(select(func.count()).select_from(journal_table)).scalar_one())
                if entries <= _HASHED_ENTRIES:
                    journal_damage = journal.find_damage(connection, _checkpoints(Home(file.parent))) or ""
    except DatabaseError as error:
        damage = str(error.orig)
    except ValueError as error:
        journal_damage = f"an entry cannot be read: {error}"
    except UndercroftError as error:
        journal_damage = error.message
    copies = tuple(path.name for path in copies_of(file))
    return DatabaseState(damage, revision, journal_damage, entries, size_bytes, copies)


def _checkpoints(home: Home) -> dict[int, str]:
    """What the home's own checkpoints have seen; nothing where none was made, and then no key is made either."""
    if not home.signing_key_file.exists():
        return {}
    return checkpoints.gather([home.checkpoints], own_key=checkpoints.public_key(checkpoints.signing_key(home)))


def observe_files(home: Home) -> list[tuple[str, Fingerprint, Fingerprint | None]]:
    """Every stored file that the database knows, as it was and as it is; at most 10,000."""
    store = BlobStore(home.blobs)
    nothing: list[Row[Any]] = []
    rows = read(home, lambda connection: list(connection.execute(select(blobs).limit(_FILES))), nothing)
    return [
        (row.digest, Fingerprint(row.size_bytes, row.inode, row.modified_ns), _look(store, row.digest)) for row in rows
    ]


def _look(store: BlobStore, digest: str) -> Fingerprint | None:
    try:
        return fingerprint(store.path(digest))
    except (OSError, UndercroftError):
        return None


def read_disk_speed(home: Home) -> float | None:
    """Bytes a second of the newest measured cold read; None where none is stored."""
    newest = (
        select(measurements.c.value)
        .where(measurements.c.kind == "disk-read")
        .order_by(measurements.c.at.desc())
        .limit(1)
    )
    value = read(home, lambda connection: connection.execute(newest).scalar(), None)
    return None if value is None else float(value)


def read(home: Home, work: Callable[[Connection], _Result], otherwise: _Result) -> _Result:
    """Reads, or gives ``otherwise`` where there is no usable database: what is wrong with it, its own check says."""
    if not home.database_file.exists():
        return otherwise
    try:
        with read_only(home.database_file) as connection:
            return work(connection)
    except (DatabaseError, ValueError):
        return otherwise


def _has_table(connection: Connection, name: str) -> bool:
    query = text("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = :name")
    return connection.execute(query, {"name": name}).first() is not None


CHECKS = (
    Check(
        "database",
        "the SQLite file, its schema, and the chain of the journal",
        "Deployments, keys and the journal can be lost; the server does not start.",
        lambda scene: judge_database(observe_database(scene.home.database_file), scene.home.database_file),
    ),
    Check(
        "stored files",
        "size, inode and time of every stored file against the database; `undercroft model verify` reads the content",
        "A model does not load, or is refused because nobody knows what is in it.",
        lambda scene: judge_files(observe_files(scene.home)),
    ),
)

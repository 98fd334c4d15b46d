"""Care of the stored files: read them again, and remove what nobody uses."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

import psutil
from sqlalchemy import delete, select

from undercroft.core.clock import to_iso, utc_now
from undercroft.core.home import Home
from undercroft.registry import entries
from undercroft.registry.progress import Progress, Stage, counted, silent
from undercroft.registry.quarantine import Cleaned, clean_quarantine
from undercroft.storage import journal
from undercroft.storage.blobs import DISTRUSTED, BlobStore, BytesDone, digest_file, fingerprint
from undercroft.storage.database import Database
from undercroft.storage.tables import blobs, model_files, models

_WEEK_SECONDS = 7 * 86400.0
_LONG_AGO = "1970-01-01T00:00:00.000Z"


@dataclass(frozen=True, slots=True)
class Finding:
    """What reading a stored file again has shown.

    Args:
        model: Whose it is.
        path: As its source called it.
        digest: What its content had.
        problem: In plain words; None where it is whole.
    """

    model: str
    path: str
    digest: str
    problem: str | None


@dataclass(frozen=True, slots=True)
class Swept:
    """What ``gc`` removed, or would.

    Args:
        files: Stored files that no model has; count.
        files_bytes: What they hold. One that is a hard link frees its room only when its other names are gone too.
        quarantine: What was found there.
    """

    files: int
    files_bytes: int
    quarantine: Cleaned


def verify(database: Database, home: Home, names: list[str], *, progress: Progress = silent) -> list[Finding]:
    """Reads and hashes every file of some models again. A whole file counts as checked from now on.

    Args:
        names: Of models that exist.
        progress: Told of every piece that is hashed.
    """
    store = BlobStore(home.blobs)
    problems: dict[str, str | None] = {}
    findings = []
    for name in names:
        with database.read() as connection:
            model = entries.find(connection, name)
        for file in model.files if model is not None else ():
            if file.digest not in problems:
                done = counted(progress, Stage.CHECK, f"{name}: {file.path}", file.size_bytes)
                problems[file.digest] = _reread(database, store.path(file.digest), file.digest, done)
            findings.append(Finding(name, file.path, file.digest, problems[file.digest]))
    return findings


def scrub(database: Database, home: Home, *, older_than: datetime) -> list[str]:
    """Reads again what was not read since a time, with the lowest priority for the disk that there is.

    Returns:
        The damaged: ``model: file: problem``, one line each.
    """
    store = BlobStore(home.blobs)
    with database.read() as connection:
        due = connection.execute(
            select(blobs.c.digest, model_files.c.model, model_files.c.path)
            .join(model_files, model_files.c.digest == blobs.c.digest)
            .where(blobs.c.verified_at < to_iso(older_than))
            .order_by(blobs.c.verified_at)
        ).all()
    damaged = []
    problems: dict[str, str | None] = {}
    for row in due:
        if row.digest not in problems:
            work = partial(_reread, database, store.path(row.digest), row.digest, None)
            problems[row.digest] = _at_lowest_priority(work)
        if problems[row.digest] is not None:
            damaged.append(f"{row.model}: {row.path}: {problems[row.digest]}")
    return damaged


def gc(database: Database, home: Home, *, actor: str, is_dry_run: bool = False, with_downloads: bool = False) -> Swept:
    """Removes stored files that no model has, and what nobody works on in the quarantine.

    Args:
        is_dry_run: Only says what would go.
        with_downloads: Interrupted downloads go too, however young.
    """
    store = BlobStore(home.blobs)
    cleaned = clean_quarantine(
        home, downloads_older_than_seconds=-1.0 if with_downloads else _WEEK_SECONDS, is_dry_run=is_dry_run
    )
    with store.sweeping():
        with database.read() as connection:
            used = set(connection.execute(select(model_files.c.digest)).scalars())
            names = set(connection.execute(select(models.c.digest)).scalars())
        unused = [(digest, path) for digest, path in store.digests() if digest not in used]
        size_bytes = sum(path.lstat().st_size for _, path in unused)
        if not is_dry_run:
            store.drop_parts(keep=names)
            for _, path in unused:
                path.unlink(missing_ok=True)
            _forget(database, used, [digest for digest, _ in unused], size_bytes, actor)
    return Swept(len(unused), size_bytes, cleaned)


def _forget(database: Database, used: set[str], removed: list[str], size_bytes: int, actor: str) -> None:
    with database.write() as connection:
        known = set(connection.execute(select(blobs.c.digest)).scalars())
        for digest in known - used:
            connection.execute(delete(blobs).where(blobs.c.digest == digest))
        if removed:
            journal.record(
                connection,
                actor=actor,
                action="model.gc",
                subject="blobs",
                before={"files": removed[:1000], "size_bytes": size_bytes},
            )


def _reread(database: Database, path: Path, digest: str, done: BytesDone | None) -> str | None:
    """Hashes a stored file; keeps what it looks like now where its content is whole."""
    try:
        before = fingerprint(path)
        found = digest_file(path, done=done)
        after = fingerprint(path)
    except FileNotFoundError:
        return "it is gone"
    except OSError as error:
        return f"it cannot be read: {error.strerror or error}"
    if found != digest:
        _distrust(database, digest)
        return f"its content was changed: expected {digest[:19]}…, got {found[:19]}…"
    if before != after:
        return "it was written while it was read"
    with database.write() as connection:
        entries.write_fingerprint(connection, digest, after, verified_at=to_iso(utc_now()))
    return None


def _distrust(database: Database, digest: str) -> None:
    """Makes a stored file look changed, so that no engine gets it, the next scrub names it, and a pull replaces it."""
    with database.write() as connection:
        if entries.fingerprint_of(connection, digest) is not None:
            entries.write_fingerprint(connection, digest, DISTRUSTED, verified_at=_LONG_AGO)


def _at_lowest_priority(work: Callable[[], str | None]) -> str | None:
    """Runs in a thread of its own: a thread that has made itself less important may not undo it."""

    def run() -> str | None:
        me = threading.get_native_id()
        # Linux gives threads priorities of their own; elsewhere it reads at the usual one.
        with contextlib.suppress(psutil.Error, OSError, AttributeError):
            os.setpriority(os.PRIO_PROCESS, me, 19)
            psutil.Process(me).ionice(psutil.IOPRIO_CLASS_IDLE)
        return work()

    with ThreadPoolExecutor(1, thread_name_prefix="scrub") as pool:
        return pool.submit(run).result()

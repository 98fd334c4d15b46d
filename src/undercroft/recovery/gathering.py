"""What of a home goes into a backup, and a copy of its database while others write to it."""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import stat
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from undercroft.core.errors import ConflictError, UnavailableError
from undercroft.core.home import Home
from undercroft.core.settings import Settings
from undercroft.recovery.manifests import check_paths
from undercroft.recovery.sealing import DamagedError
from undercroft.storage.copying import copy_whole, reading_only

# What is made anew by itself, or is copied in a way of its own.
_SKIPPED_FOLDERS = {"run", "logs", "quarantine", "blobs"}
DATABASE_NAME = "undercroft.db"
_SKIPPED_FILES = {DATABASE_NAME, f"{DATABASE_NAME}-wal", f"{DATABASE_NAME}-shm", f"{DATABASE_NAME}-journal"}


@dataclass(frozen=True, slots=True)
class Seen:
    """Something in the home.

    Args:
        path: Relative to the home, with ``/``.
        is_file: An ordinary file; links, sockets and pipes are not.
    """

    path: str
    is_file: bool


@dataclass(frozen=True, slots=True)
class Chosen:
    """What is copied file by file.

    Args:
        paths: Relative to the home, sorted.
        left_out: What is not, and why; one sentence each.
    """

    paths: tuple[str, ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A copy of the database.

    Args:
        file: Whole by itself.
        schema: Its revision; empty where it has none.
        model_files: Digest → whose it is, of every stored file that its models have.
    """

    file: Path
    schema: str
    model_files: dict[str, str]


def choose(seen: Sequence[Seen], *, secrets: Collection[str], never: Collection[str], is_encrypted: bool) -> Chosen:
    """Everything but links, hidden files, and, where anybody could read them, secrets. Pure.

    What is not known here is copied, too: a file that a later version keeps is not forgotten.

    Args:
        seen: All of the home but its database, stored files, logs and sockets.
        secrets: Paths of files that only an encrypted backup may hold.
        never: Paths of files that no backup may hold.
        is_encrypted: Whether this one is.
    """
    paths, left_out = [], []
    for one in sorted(seen, key=lambda entry: entry.path):
        name = one.path.rpartition("/")[2]
        if name.startswith(".") or one.path in never:
            continue
        if not one.is_file:
            left_out.append(f"{one.path}: it is a link or no ordinary file")
        elif one.path in secrets and not is_encrypted:
            left_out.append(f"{one.path}: it is secret, and the backup is not encrypted")
        elif not _can_be_restored(one.path):
            left_out.append(f"{one.path.encode(errors='replace').decode()}: its name cannot be kept")
        else:
            paths.append(one.path)
    return Chosen(tuple(paths), tuple(left_out))


def _can_be_restored(path: str) -> bool:
    try:
        check_paths([path])
    except DamagedError:
        return False
    return True


def secret_paths(home: Home, settings: Settings) -> set[str]:
    """The files with secrets that lie in the home, relative to it."""
    named = (home.signing_key_file, settings.gateway.tls_key_file, settings.registry.hub_token_file)
    return {_relative(home, path) for path in named if path is not None}


def walk(home: Home, *, besides: Path | None) -> Iterator[Seen]:
    """Everything in the home that is copied file by file; hidden folders are not entered.

    Args:
        home: Prepared.
        besides: A folder that is not entered: the store may lie in the home; None for none.
    """
    root, avoided = home.root, None if besides is None else besides.absolute()
    for folder, folders, files in os.walk(root):
        here = Path(folder)
        is_top = here == root
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".") and not (is_top and name in _SKIPPED_FOLDERS) and here / name != avoided
        ]
        links = [name for name in folders if (here / name).is_symlink()]
        for name in (*links, *files):
            if not (is_top and name in _SKIPPED_FILES):
                path = here / name
                yield Seen(str(path.relative_to(root)), stat.S_ISREG(path.lstat().st_mode) if path.exists() else False)


@contextmanager
def work_folder(home: Home) -> Iterator[Path]:
    """An empty folder in the home for one backup or trial at a time; gone afterwards.

    Raises:
        ConflictError: ``backup-running``: another one works on this home.
        UnavailableError: It cannot be made.
    """
    folder = home.backup_work
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as error:
        raise UnavailableError("home-unusable", f"cannot write into the home: {folder}: {error.strerror}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConflictError(
                "backup-running",
                f"another backup or trial restore of the home {home.root} runs just now",
                hint="wait until it has ended; undercroft backup list",
            ) from error
        _clear(folder)
        try:
            yield folder
        finally:
            _clear(folder)
    finally:
        os.close(descriptor)


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def copy_database(source: Path, target: Path) -> Snapshot:
    """Copies a database that others may write to at the same time: what was committed at one moment, and no more.

    Pages keep their places, so that a copy of tomorrow shares most pieces with today's.

    Raises:
        ConflictError: ``database-damaged``: SQLite finds it damaged; a copy of that is no backup.
        UnavailableError: It cannot be read, or the copy not written.
    """
    if not source.exists():
        raise UnavailableError("no-database", f"there is no database {source}", hint="undercroft up makes it")
    try:
        damage = copy_whole(source, target)
        if not damage:
            with reading_only(target) as copy:
                return Snapshot(target, _schema(copy), _model_files(copy))
    except sqlite3.DatabaseError as error:
        raise UnavailableError(
            "database-unusable",
            f"cannot copy the database {source}: {error}",
            hint="undercroft doctor; earlier backups are as they were",
        ) from error
    raise ConflictError(
        "database-damaged",
        f"the database {source} is damaged and was not backed up: {damage[:200]}",
        hint="undercroft backup list; restore the newest one that counts",
    )


def _schema(copy: sqlite3.Connection) -> str:
    row = copy.execute("SELECT version_num FROM alembic_version").fetchone()
    return str(row[0]) if row else ""


def _model_files(copy: sqlite3.Connection) -> dict[str, str]:
    rows = copy.execute("SELECT digest, model, path FROM model_files ORDER BY model, path").fetchall()
    return {str(digest): f"model {model}, file {path}" for digest, model, path in rows}


def _relative(home: Home, path: Path) -> str:
    try:
        return str(path.expanduser().absolute().relative_to(home.root.absolute()))
    except ValueError:
        return str(path)

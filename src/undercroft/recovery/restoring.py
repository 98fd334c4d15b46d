"""Brings a backup back: into a new folder beside the target, which gets its name when every digest was compared."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from undercroft.core.clock import to_iso, utc_now
from undercroft.core.errors import ConflictError
from undercroft.core.files import make_folder, sync_folder
from undercroft.core.home import Home
from undercroft.core.ids import new_id
from undercroft.recovery.checks import Listed, keep_damage, keep_trial
from undercroft.recovery.gathering import DATABASE_NAME, work_folder
from undercroft.recovery.manifests import Manifest, StoredFile
from undercroft.recovery.objects.folder import explained
from undercroft.recovery.reading import read_file
from undercroft.recovery.sealing import DamagedError
from undercroft.recovery.store import BackupStore
from undercroft.registry.entries import write_fingerprint
from undercroft.registry.progress import Progress, Stage, counted, silent
from undercroft.storage import journal
from undercroft.storage.blobs import check_room, fingerprint
from undercroft.storage.database import SCHEMA_REVISION, Database

_BLOB_PREFIX = "blobs/sha256/"


@dataclass(frozen=True, slots=True)
class Restored:
    """What came of it.

    Args:
        manifest: Of the backup.
        files: Whose digests were compared; count.
        size_bytes: What they hold.
    """

    manifest: Manifest
    files: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Tried:
    """A trial restore that compared every digest.

    Args:
        restored: What it was.
        was_kept: Whether the store could be told.
    """

    restored: Restored
    was_kept: bool


def restore(
    store: BackupStore,
    backup: Listed,
    into: Path,
    *,
    actor: str,
    reason: str | None = None,
    progress: Progress = silent,
) -> Restored:
    """Writes a home.

    Args:
        store: Locked to be read.
        backup: Of the store.
        into: Does not exist, or is an empty folder.
        actor: For the journal of the new home.
        reason: Why, for the same.
        progress: Told how far each file is.

    Raises:
        ConflictError: Something is in the folder, the backup is damaged, or a newer Undercroft made it.
        UnavailableError: The folder cannot be written, or there is no room.
    """
    manifest = _usable(backup)
    target = into.absolute()
    with explained(target.parent):
        _check_empty(target)
        make_folder(target.parent)
        with _folder_beside(target) as folder:
            check_room(folder, manifest.size_bytes, what=f"backup {manifest.id}")
            _write_all(store, manifest, folder, progress)
            _prepare_home(manifest, folder, actor=actor, reason=reason)
            _check_empty(target)
            os.rename(folder, target)
            sync_folder(target.parent)
    return Restored(manifest, len(manifest.files), manifest.size_bytes)


def try_restore(
    home: Home, store: BackupStore, backup: Listed, *, at: datetime, actor: str, progress: Progress = silent
) -> Tried:
    """Restores into a scratch home, compares every digest, writes down that this backup counts, removes the scratch.

    Args:
        home: Its disk lends the room.
        store: Locked to be read.
        backup: Of the store.
        at: Now.
        actor: For the journal of the scratch home.
        progress: Told how far each file is.

    Raises:
        ConflictError: It is damaged, which is written down, too; or another backup or trial of the home runs.
        UnavailableError: There is no room.
    """
    with work_folder(home) as work:
        try:
            restored = restore(store, backup, work / "trial", actor=actor, progress=progress)
        except ConflictError as error:
            if backup.manifest is not None and error.code == "backup-damaged":
                keep_damage(store, backup.manifest, [error.message])
            raise
    return Tried(restored, keep_trial(store, restored.manifest, at))


def _usable(backup: Listed) -> Manifest:
    if backup.manifest is None:
        raise ConflictError(
            "backup-damaged", f"backup {backup.id} cannot be read: {backup.problem}", hint="undercroft backup list"
        )
    if backup.manifest.schema > SCHEMA_REVISION:
        raise ConflictError(
            "database-newer",
            f"backup {backup.id} was made by Undercroft {backup.manifest.version[:40]} with schema "
            f"{backup.manifest.schema[:40]}, this one knows up to {SCHEMA_REVISION}",
            hint="install that version or a newer one",
        )
    return backup.manifest


def _check_empty(target: Path) -> None:
    if target.is_symlink() or (target.exists() and not target.is_dir()) or (target.is_dir() and any(target.iterdir())):
        raise ConflictError(
            "home-not-empty",
            f"{target} is not empty, and a restore never overwrites a home",
            hint="name a new folder with --into, or move the old home away first",
        )


@contextmanager
def _folder_beside(target: Path) -> Iterator[Path]:
    """A new folder on the target's disk, locked while it is written to; those of killed restores are removed first."""
    prefix = f".{target.name}.restoring-"
    for left in target.parent.glob(f"{prefix}*"):
        _remove_if_left(left)
    folder = target.parent / f"{prefix}{new_id('r')[2:]}"
    folder.mkdir(mode=0o700)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def _remove_if_left(folder: Path) -> None:
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    except BlockingIOError:
        return  # somebody restores there just now
    finally:
        os.close(descriptor)


def _write_all(store: BackupStore, manifest: Manifest, folder: Path, progress: Progress) -> None:
    damaged: list[str] = []
    for file in manifest.files:
        try:
            _write(store, file, folder / file.path, counted(progress, Stage.COPY, file.path, file.size_bytes))
        except DamagedError as error:
            damaged.append(f"{file.path}: {error}")
    if damaged:
        more = f" and {len(damaged) - 1} more files" if len(damaged) > 1 else ""
        raise ConflictError(
            "backup-damaged",
            f"backup {manifest.id} is damaged and was not restored: {damaged[0][:300]}{more}",
            hint="undercroft backup list; restore one that counts",
        )
    for path, _, _ in os.walk(folder):
        sync_folder(Path(path))


def _write(store: BackupStore, file: StoredFile, target: Path, told: Callable[[int], None]) -> None:
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as out:
        for content in read_file(store, file):
            out.write(content)
            told(len(content))
        out.flush()
        os.fsync(out.fileno())


def _prepare_home(manifest: Manifest, folder: Path, *, actor: str, reason: str | None) -> None:
    """Stored files have other numbers on this disk: their rows say so now, since every digest was compared."""
    database_file = folder / DATABASE_NAME
    if not database_file.is_file():
        raise ConflictError("backup-damaged", f"backup {manifest.id} has no database and is no backup of a home")
    now = to_iso(utc_now())
    blobs = [file for file in manifest.files if file.path.startswith(_BLOB_PREFIX)]
    for file in blobs:
        (folder / file.path).chmod(0o400)
    database = Database(database_file)
    try:
        with database.write() as connection:
            for file in blobs:
                write_fingerprint(connection, file.digest, fingerprint(folder / file.path), verified_at=now)
            journal.record(
                connection,
                actor=actor,
                action="backup.restore",
                subject=manifest.id,
                after={"origin": manifest.origin, "at": manifest.at, "files": len(manifest.files)},
                reason=reason,
            )
    finally:
        database.close()
    sync_folder(folder)

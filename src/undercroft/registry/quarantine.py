"""Where files lie that came in and have no name yet. Each folder is locked by the process that works in it."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from undercroft.core.home import Home
from undercroft.core.ids import new_id

_IMPORT = "import_"
_DOWNLOAD = "download_"
_LOCK = ".lock"
_TREE_LIMIT = 100_000


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What cleaning found.

    Args:
        removed: Folders that nobody worked in any more; count.
        removed_bytes: What they held.
        kept_downloads: Interrupted downloads that the next pull of the same reference continues; count.
        kept_bytes: What these hold.
    """

    removed: int
    removed_bytes: int
    kept_downloads: int
    kept_bytes: int


@contextmanager
def workspace(home: Home) -> Iterator[Path]:
    """A fresh folder; gone afterwards, whatever happened."""
    folder = home.quarantine / new_id(_IMPORT.rstrip("_"))
    descriptor = _lock_folder(folder, lambda: None)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


@contextmanager
def download_folder(home: Home, reference: str, *, waiting: Callable[[], None]) -> Iterator[Path]:
    """The folder of one download; it stays where the download does not end well, so that it can go on.

    Args:
        reference: What is downloaded, down to its commit; the same text is the same folder.
        waiting: Called once where another process downloads the same; then this one waits for it.
    """
    folder = home.quarantine / (_DOWNLOAD + hashlib.sha256(reference.encode()).hexdigest()[:24])
    descriptor = _lock_folder(folder, waiting)
    try:
        yield folder
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(descriptor)


def _lock_folder(folder: Path, waiting: Callable[[], None]) -> int:
    has_told = False
    while True:
        folder.mkdir(mode=0o700, exist_ok=True)
        try:
            descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            continue  # removed by its last user between the two calls
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not has_told:
                waiting()
                has_told = True
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if _is_still(folder, descriptor):
            os.utime(folder)
            return descriptor
        os.close(descriptor)


def _is_still(folder: Path, descriptor: int) -> bool:
    """Whether the lock that we hold is the one that others see: its folder may have been removed while we waited."""
    try:
        return os.stat(folder / _LOCK).st_ino == os.fstat(descriptor).st_ino
    except FileNotFoundError:
        return False


def clean_quarantine(
    home: Home, *, downloads_older_than_seconds: float = 7 * 86400.0, is_dry_run: bool = False
) -> Cleaned:
    """Removes what imports that ended badly have left, and interrupted downloads that nobody went on with.

    Args:
        home: The installation.
        downloads_older_than_seconds: Younger interrupted downloads stay.
        is_dry_run: Only says what would go.
    """
    removed = removed_bytes = kept = kept_bytes = 0
    for folder in sorted(home.quarantine.iterdir()) if home.quarantine.is_dir() else ():
        if folder.is_symlink() or not folder.is_dir():
            removed += 1
            if not is_dry_run:
                folder.unlink(missing_ok=True)
            continue
        descriptor = _try_lock(folder)
        if descriptor is None:
            continue  # somebody works in it
        try:
            size = _size_bytes(folder)
            is_young = time.time() - folder.stat().st_mtime < downloads_older_than_seconds
            if folder.name.startswith(_DOWNLOAD) and is_young:
                kept, kept_bytes = kept + 1, kept_bytes + size
                continue
            removed, removed_bytes = removed + 1, removed_bytes + size
            if not is_dry_run:
                shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(descriptor)
    return Cleaned(removed, removed_bytes, kept, kept_bytes)


def _try_lock(folder: Path) -> int | None:
    try:
        descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _size_bytes(folder: Path) -> int:
    return sum(path.lstat().st_size for path, _ in zip(folder.rglob("*"), range(_TREE_LIMIT), strict=False))

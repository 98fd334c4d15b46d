"""Objects in a folder: files that get their name when they are whole and durable.

incoming/   what is being written
lock        shared by all who read or add, exclusive for who removes
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from undercroft.core.errors import ConflictError, UnavailableError, UndercroftError
from undercroft.core.files import make_folder, sync_folder
from undercroft.recovery.objects.contract import FOLDERS, MARKER
from undercroft.recovery.sealing import DamagedError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_ADDS, _REMOVES = (
    "another backup, restore or verification uses it just now",
    "somebody removes backups from it just now",
)


class FolderObjects:
    """Objects of a folder.

    Args:
        root: The folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._unsynced: set[Path] = set()

    @property
    def where(self) -> str:
        return str(self.root)

    @property
    def folder(self) -> Path | None:
        return self.root

    def prepare(self) -> None:
        with explained(self.root):
            make_folder(self.root, mode=0o700)
            self._check_ours()
            for name in (*FOLDERS, "incoming"):
                make_folder(self.root / name, mode=0o700)

    def _check_ours(self) -> None:
        """A maker that was killed leaves empty folders; anything else is somebody's."""
        ours = {*FOLDERS, "incoming", "lost+found"}
        others = sorted(entry.name for entry in self.root.iterdir() if entry.name not in ours)
        if others and MARKER not in others:
            raise ConflictError(
                "folder-not-empty",
                f"{self.root} holds other things ({others[0][:60]!r})",
                hint="give a folder of its own",
            )

    def get(self, name: str, limit_bytes: int) -> bytes | None:
        try:
            return _read_bounded(self.root / name, limit_bytes)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DamagedError(f"it cannot be read: {error.strerror}") from error

    def size_bytes(self, name: str) -> int | None:
        path = self.root / name
        try:
            size = path.lstat().st_size
        except OSError:
            return None
        # Whoever wrote it may have been killed before its name was durable.
        self._unsynced.update((path.parent, path.parent.parent))
        return size

    def add(self, name: str, content: bytes) -> bool:
        # Nothing replaces without a test where a disk has no links, as those of cameras and sticks; what has the same
        # name is the same thing.
        if os.path.lexists(self.root / name):
            return False
        self.replace(name, content)
        return True

    def replace(self, name: str, content: bytes) -> None:
        path = self.root / name
        with explained(self.root):
            if not path.parent.is_dir():
                path.parent.mkdir(mode=0o700, exist_ok=True)
                self._unsynced.add(path.parent.parent)
            self._write(path, content)
        self._unsynced.add(path.parent)

    def _write(self, path: Path, content: bytes) -> None:
        temporary = self.root / "incoming" / secrets.token_hex(16)
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise

    def names(self, folder: str) -> Iterator[str]:
        with explained(self.root):
            yield from self._below(folder)

    def _below(self, folder: str) -> Iterator[str]:
        for path in sorted((self.root / folder).iterdir()):
            name = f"{folder}/{path.name}"
            if path.is_dir() and not path.is_symlink():
                yield from self._below(name)
            else:
                yield name

    def remove(self, name: str) -> bool:
        path = self.root / name
        with explained(self.root):
            path.unlink(missing_ok=True)
        self._unsynced.add(path.parent)
        return True

    def settle(self) -> None:
        with explained(self.root):
            for folder in sorted(self._unsynced):
                sync_folder(folder)
        self._unsynced.clear()

    def sweep(self) -> None:
        with explained(self.root):
            for path in (self.root / "incoming").iterdir():
                path.unlink(missing_ok=True)

    @contextmanager
    def locked(self, *, is_exclusive: bool) -> Iterator[None]:
        kind = fcntl.LOCK_EX if is_exclusive else fcntl.LOCK_SH
        with explained(self.root):
            descriptor = self._open_lock(kind)
        try:
            if descriptor is not None and not _took(descriptor, kind):
                who = _ADDS if is_exclusive else _REMOVES
                raise ConflictError(
                    "store-busy", f"the store {self.root} is in use: {who}", hint="wait until that has ended"
                )
            yield
        finally:
            if descriptor is not None:
                os.close(descriptor)

    def _open_lock(self, kind: int) -> int | None:
        """None where there is no lock and nobody may make one: where nobody may write, nobody removes anything."""
        path = self.root / "lock"
        try:
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            if kind == fcntl.LOCK_EX or error.errno not in {errno.EROFS, errno.EACCES, errno.EPERM}:
                raise
        try:
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None


def _read_bounded(path: Path, limit_bytes: int) -> bytes:
    """At most one byte more than the limit. A link is not followed, a pipe not waited for."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        return file.read(limit_bytes + 1) or b""


def _took(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def explained(root: Path) -> Iterator[None]:
    """Errors of the file system in our words.

    Raises:
        UnavailableError: ``disk-full``, ``store-unusable``.
    """
    try:
        yield
    except OSError as error:
        raise _explanation(error, root) from error


def _explanation(error: OSError, root: Path) -> UndercroftError:
    if error.errno in _FULL:
        return UnavailableError(
            "disk-full",
            f"no room in {root}: {error.strerror}; the backups that were there are as they were",
            hint="undercroft backup prune, or make room there",
        )
    return UnavailableError(
        "store-unusable",
        f"cannot use {root}: {error.filename or root}: {error.strerror}",
        hint="check that it is there, is yours and can be written",
    )

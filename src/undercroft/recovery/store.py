"""A folder of backups: objects by the digest of their content, a manifest a backup, and what was found of each.

undercroft-backups.json     which key, which format
objects/ab/cdef…            pieces of files; a name is given once and what it names never changes
backups/ID                  manifests, written last: a backup without one does not exist
checks/ID                   what the last trial restore or verification found
incoming/                   what is being written; renamed when it is whole
lock                        shared by all who read or add, exclusive for who removes
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from undercroft.core.errors import ConflictError, InvalidError, NotFoundError, UnavailableError, UndercroftError
from undercroft.core.files import sync_folder
from undercroft.recovery.documents import from_document, to_document
from undercroft.recovery.keys import BackupKey
from undercroft.recovery.manifests import ID_PATTERN
from undercroft.recovery.sealing import Clear, DamagedError, Encrypted, Sealing

_MARKER = "undercroft-backups.json"
_KIND = "undercroft-backups"
_FORMAT = 1
_MARKER_LIMIT_BYTES = 4096
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class FolderStore:
    """Backups in a folder.

    Args:
        root: The folder; has its marker.
        sealing: How it keeps what it is given.
    """

    def __init__(self, root: Path, sealing: Sealing) -> None:
        self.root = root
        self.sealing = sealing
        self._unsynced: set[Path] = set()

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Held while something is read or added.

        Raises:
            ConflictError: ``store-busy``: somebody removes backups just now.
        """
        with self._locked(fcntl.LOCK_SH, "somebody removes backups from it just now"):
            yield

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Held while something is removed.

        Raises:
            ConflictError: ``store-busy``: somebody reads or adds just now.
        """
        with self._locked(fcntl.LOCK_EX, "another backup, restore or verification uses it just now"):
            yield

    @contextmanager
    def _locked(self, kind: int, who: str) -> Iterator[None]:
        with explained(self.root):
            descriptor = self._open_lock(kind)
        try:
            if descriptor is not None and not _took(descriptor, kind):
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

    def has(self, digest: str, size_bytes: int) -> bool:
        """Whether an object is there and as long as it should be; it is not read.

        Args:
            digest: Of its plain content.
            size_bytes: Of its plain content.
        """
        path = self._object(digest)
        try:
            is_there = path.lstat().st_size == self.sealing.sealed_bytes(size_bytes)
        except OSError:
            return False
        # Whoever wrote it may have been killed before its name was durable.
        self._unsynced.update((path.parent, path.parent.parent))
        return is_there

    def put(self, digest: str, plain: bytes) -> int:
        """Writes an object in the place of whatever has its name; returns the bytes written.

        Raises:
            UnavailableError: ``disk-full``, ``store-unusable``.
        """
        sealed = self.sealing.seal(plain, f"object {digest}")
        path = self._object(digest)
        with explained(self.root):
            if not path.parent.is_dir():
                path.parent.mkdir(mode=0o700, exist_ok=True)
                self._unsynced.add(path.parent.parent)
            self._write(path, sealed)
        self._unsynced.add(path.parent)
        return len(sealed)

    def get(self, digest: str, size_bytes: int) -> bytes:
        """The plain content of an object. Whether it has that digest is for the caller to see.

        Raises:
            DamagedError: It is gone, has another length, or its seal does not hold.
        """
        expected = self.sealing.sealed_bytes(size_bytes)
        sealed = self._read(self._object(digest), expected)
        if len(sealed) != expected:
            raise DamagedError(f"it has another length than the {expected:,} bytes that were written")
        return self.sealing.open(sealed, f"object {digest}")

    def sync(self) -> None:
        """Makes every name that was given survive power loss."""
        with explained(self.root):
            for folder in sorted(self._unsynced):
                sync_folder(folder)
        self._unsynced.clear()

    def put_document(self, folder: str, backup_id: str, content: bytes) -> None:
        """Writes a manifest (``backups``) or what was found (``checks``), durably.

        Raises:
            UnavailableError: ``disk-full``, ``store-unusable``.
        """
        path = self._document(folder, backup_id)
        with explained(self.root):
            self._write(path, self.sealing.seal(content, f"{folder} {backup_id}"))
            sync_folder(path.parent)

    def get_document(self, folder: str, backup_id: str, limit_bytes: int) -> bytes:
        """Reads what `put_document` wrote.

        Raises:
            DamagedError: It is gone, too long, or its seal does not hold.
        """
        sealed = self._read(self._document(folder, backup_id), limit_bytes)
        if len(sealed) > limit_bytes:
            raise DamagedError(f"it is longer than {limit_bytes:,} bytes")
        return self.sealing.open(sealed, f"{folder} {backup_id}")

    def ids(self, folder: str = "backups") -> list[str]:
        """Of every backup, oldest first.

        Raises:
            UnavailableError: The store cannot be read.
        """
        with explained(self.root):
            return sorted(entry.name for entry in (self.root / folder).iterdir() if ID_PATTERN.fullmatch(entry.name))

    def remove_document(self, folder: str, backup_id: str) -> None:
        """Removes a manifest, or what was found, durably; nothing happens where there is none."""
        path = self._document(folder, backup_id)
        with explained(self.root):
            path.unlink(missing_ok=True)
            sync_folder(path.parent)

    def objects(self) -> Iterator[tuple[str, Path, int]]:
        """Every object: its name, its file, its bytes."""
        with explained(self.root):
            for folder in sorted((self.root / "objects").iterdir()):
                for path in sorted(folder.iterdir()) if folder.is_dir() else ():
                    yield folder.name + path.name, path, path.lstat().st_size

    def remove_objects(self, paths: list[Path]) -> None:
        """Removes objects that no manifest needs; the exclusive lock is held."""
        with explained(self.root):
            for path in paths:
                path.unlink(missing_ok=True)

    def sweep_incoming(self) -> None:
        """Removes what killed writers left; the exclusive lock is held."""
        with explained(self.root):
            for path in (self.root / "incoming").iterdir():
                path.unlink(missing_ok=True)

    def _object(self, digest: str) -> Path:
        name = self.sealing.name_of(digest)
        return self.root / "objects" / name[:2] / name[2:]

    def _document(self, folder: str, backup_id: str) -> Path:
        if not ID_PATTERN.fullmatch(backup_id):
            raise InvalidError("bad-backup-id", f"expected the id of a backup, got {backup_id[:60]!r}")
        return self.root / folder / backup_id

    def _read(self, path: Path, limit_bytes: int) -> bytes:
        try:
            return _read_bounded(path, limit_bytes)
        except FileNotFoundError as error:
            raise DamagedError("it is gone") from error
        except OSError as error:
            raise DamagedError(f"it cannot be read: {error.strerror}") from error

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


def open_store(root: Path, key: BackupKey | None) -> FolderStore:
    """A store that is there.

    Args:
        root: Its folder.
        key: What opens it; None for a clear one.

    Raises:
        NotFoundError: There is no store.
        InvalidError: It needs a key, or another one, or none.
        ConflictError: Its marker is damaged, or a newer Undercroft made it.
        UnavailableError: It cannot be read.
    """
    marker = root / _MARKER
    try:
        content = _read_bounded(marker, _MARKER_LIMIT_BYTES)
    except FileNotFoundError as error:
        raise NotFoundError(
            "no-backups", f"there are no backups in {root}", hint=f"undercroft backup create --to {root}"
        ) from error
    except OSError as error:
        raise UnavailableError("store-unusable", f"cannot read {marker}: {error.strerror}") from error
    try:
        values = from_document(content, kind=_KIND)
    except DamagedError as error:
        raise ConflictError(
            "store-damaged", f"{marker}: {error}", hint="put back a copy of it; that of another store will not do"
        ) from error
    if values.get("format") != _FORMAT:
        raise ConflictError("store-newer", f"{root} has another format than {_FORMAT}", hint="upgrade Undercroft")
    wanted = values.get("key_id")
    sealing: Sealing = Encrypted(key) if key is not None else Clear()
    if wanted == sealing.key_id:
        return FolderStore(root, sealing)
    if wanted is None:
        raise InvalidError("not-encrypted", f"the backups in {root} are not encrypted", hint="say --unencrypted")
    if key is None:
        raise InvalidError("needs-key", f"the backups in {root} are encrypted by key {wanted}", hint="--key-file FILE")
    raise InvalidError("wrong-key", f"the backups in {root} are encrypted by key {wanted}, this is key {key.id}")


def make_store(root: Path, key: BackupKey | None) -> FolderStore:
    """The store of a folder, made where there is none.

    Raises:
        ConflictError: Other things are in the folder.
        UndercroftError: As of `open_store`.
    """
    if not (root / _MARKER).exists():
        sealing: Sealing = Encrypted(key) if key is not None else Clear()
        with explained(root):
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            _check_ours(root)
            for name in ("objects", "backups", "checks", "incoming"):
                (root / name).mkdir(mode=0o700, exist_ok=True)
            store = FolderStore(root, sealing)
            store._write(root / _MARKER, to_document({"kind": _KIND, "format": _FORMAT, "key_id": sealing.key_id}))
            sync_folder(root)
            sync_folder(root.parent)
    return open_store(root, key)


def _check_ours(root: Path) -> None:
    """A maker that was killed leaves empty folders; anything else is somebody's."""
    ours = {"objects", "backups", "checks", "incoming", "lost+found"}
    others = sorted(entry.name for entry in root.iterdir() if entry.name not in ours)
    if others:
        raise ConflictError(
            "folder-not-empty", f"{root} holds other things ({others[0][:60]!r})", hint="give a folder of its own"
        )


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


def free_bytes(folder: Path) -> int:
    """Room on the disk of a folder."""
    with explained(folder):
        return shutil.disk_usage(folder).free

"""A store of backups: objects by the digest of their content, a manifest a backup, and what was found of each.

undercroft-backups.json     which key, which format
objects/ab/cdef…            pieces of files; a name is given once and what it names never changes
backups/ID                  manifests, written last: a backup without one does not exist
checks/ID                   what the last trial restore or verification found

Everything is sealed here; where it lies is for `undercroft.recovery.objects`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from undercroft.core.errors import ConflictError, InvalidError, NotFoundError, UnavailableError
from undercroft.recovery.documents import from_document, to_document
from undercroft.recovery.keys import BackupKey
from undercroft.recovery.manifests import ID_PATTERN
from undercroft.recovery.objects.contract import MARKER, Objects
from undercroft.recovery.sealing import Clear, DamagedError, Encrypted, Sealing

_KIND = "undercroft-backups"
_FORMAT = 1
_MARKER_LIMIT_BYTES = 4096


class BackupStore:
    """Backups, wherever they lie.

    Args:
        objects: Where; the marker is there.
        sealing: How it keeps what it is given.
    """

    def __init__(self, objects: Objects, sealing: Sealing) -> None:
        self.objects = objects
        self.sealing = sealing

    @property
    def where(self) -> str:
        """As a person names it."""
        return self.objects.where

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Held while something is read or added.

        Raises:
            ConflictError: ``store-busy``: somebody removes backups just now.
        """
        with self.objects.locked(is_exclusive=False):
            yield

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Held while something is removed.

        Raises:
            ConflictError: ``store-busy``: somebody reads or adds just now.
        """
        with self.objects.locked(is_exclusive=True):
            yield

    def has(self, digest: str, size_bytes: int) -> bool:
        """Whether an object is there and as long as it should be; it is not read.

        Args:
            digest: Of its plain content.
            size_bytes: Of its plain content.
        """
        return self.objects.size_bytes(self.name_of(digest)) == self.sealing.sealed_bytes(size_bytes)

    def put(self, digest: str, plain: bytes, *, must_replace: bool = False) -> int:
        """Writes an object; returns the bytes written.

        Args:
            digest: Of its plain content.
            plain: The content.
            must_replace: Where one is that has the right length, too, and may be damaged nevertheless.

        Raises:
            UnavailableError: ``disk-full``, ``store-unusable``, ``store-unreachable``.
        """
        name = self.name_of(digest)
        sealed = self.sealing.seal(plain, f"object {digest}")
        is_added = not must_replace and self.objects.add(name, sealed)
        if not is_added and (must_replace or self.objects.size_bytes(name) != len(sealed)):
            self.objects.replace(name, sealed)
        return len(sealed)

    def get(self, digest: str, size_bytes: int) -> bytes:
        """The plain content of an object. Whether it has that digest is for the caller to see.

        Raises:
            DamagedError: It is gone, has another length, or its seal does not hold.
        """
        expected = self.sealing.sealed_bytes(size_bytes)
        sealed = self.objects.get(self.name_of(digest), expected)
        if sealed is None:
            raise DamagedError("it is gone")
        if len(sealed) != expected:
            raise DamagedError(f"it has another length than the {expected:,} bytes that were written")
        return self.sealing.open(sealed, f"object {digest}")

    def sync(self) -> None:
        """Makes everything that was put survive power loss, and makes sure that nobody took the lock meanwhile.

        Raises:
            ConflictError: ``lock-lost``.
        """
        self.objects.settle()

    def put_document(self, folder: str, backup_id: str, content: bytes) -> None:
        """Writes a manifest (``backups``) or what was found (``checks``), durably.

        Raises:
            UnavailableError: ``disk-full``, ``store-unusable``, ``store-unreachable``.
        """
        self.objects.replace(_document(folder, backup_id), self.sealing.seal(content, f"{folder} {backup_id}"))
        self.objects.settle()

    def get_document(self, folder: str, backup_id: str, limit_bytes: int) -> bytes:
        """Reads what `put_document` wrote.

        Raises:
            DamagedError: It is gone, too long, or its seal does not hold.
        """
        sealed = self.objects.get(_document(folder, backup_id), limit_bytes)
        if sealed is None:
            raise DamagedError("it is gone")
        if len(sealed) > limit_bytes:
            raise DamagedError(f"it is longer than {limit_bytes:,} bytes")
        return self.sealing.open(sealed, f"{folder} {backup_id}")

    def ids(self, folder: str = "backups") -> list[str]:
        """Of every backup, oldest first.

        Raises:
            UnavailableError: The store cannot be read.
        """
        names = (name.removeprefix(f"{folder}/") for name in self.objects.names(folder))
        return sorted(name for name in names if ID_PATTERN.fullmatch(name))

    def remove_document(self, folder: str, backup_id: str) -> None:
        """Removes a manifest, or what was found, durably; nothing happens where there is none."""
        self.objects.remove(_document(folder, backup_id))
        self.objects.settle()

    def object_names(self) -> list[str]:
        """Of every object that is there."""
        return list(self.objects.names("objects"))

    def remove_objects(self, names: Sequence[str]) -> bool:
        """Removes objects that no manifest needs; the exclusive lock is held.

        Returns:
            Whether their room is free again at once.
        """
        freed = [self.objects.remove(name) for name in names]
        return all(freed)

    def sweep(self) -> None:
        """Removes what killed writers left; the exclusive lock is held."""
        self.objects.sweep()

    def name_of(self, digest: str) -> str:
        """What the object with that plain content is called."""
        name = self.sealing.name_of(digest)
        return f"objects/{name[:2]}/{name[2:]}"


def _document(folder: str, backup_id: str) -> str:
    if not ID_PATTERN.fullmatch(backup_id):
        raise InvalidError("bad-backup-id", f"expected the id of a backup, got {backup_id[:60]!r}")
    return f"{folder}/{backup_id}"


def open_store(objects: Objects, key: BackupKey | None) -> BackupStore:
    """A store that is there.

    Args:
        objects: Where it lies.
        key: What opens it; None for a clear one.

    Raises:
        NotFoundError: There is no store.
        InvalidError: It needs a key, or another one, or none.
        ConflictError: Its marker is damaged, or a newer Undercroft made it.
        UnavailableError: It cannot be read.
    """
    where = objects.where
    values = _marker(objects)
    if values.get("format") != _FORMAT:
        raise ConflictError("store-newer", f"{where} has another format than {_FORMAT}", hint="upgrade Undercroft")
    wanted = values.get("key_id")
    sealing: Sealing = Encrypted(key) if key is not None else Clear()
    if wanted == sealing.key_id:
        return BackupStore(objects, sealing)
    if wanted is None:
        raise InvalidError("not-encrypted", f"the backups in {where} are not encrypted", hint="say --unencrypted")
    if key is None:
        raise InvalidError("needs-key", f"the backups in {where} are encrypted by key {wanted}", hint="--key-file FILE")
    raise InvalidError("wrong-key", f"the backups in {where} are encrypted by key {wanted}, this is key {key.id}")


def _marker(objects: Objects) -> dict[str, object]:
    where = objects.where
    try:
        content = objects.get(MARKER, _MARKER_LIMIT_BYTES)
    except DamagedError as error:
        raise UnavailableError("store-unusable", f"cannot read {MARKER} of {where}: {error}") from error
    if content is None:
        raise NotFoundError(
            "no-backups", f"there are no backups in {where}", hint=f"undercroft backup create --to {where}"
        )
    try:
        return from_document(content, kind=_KIND)
    except DamagedError as error:
        raise ConflictError(
            "store-damaged",
            f"{MARKER} of {where}: {error}",
            hint="put back a copy of it; that of another store will not do",
        ) from error


def make_store(objects: Objects, key: BackupKey | None) -> BackupStore:
    """The store of a place, made where there is none.

    Args:
        objects: Where it is to lie.
        key: What seals it; None for a clear one, which only a folder of this machine may be.

    Raises:
        InvalidError: ``needs-key``: what leaves this machine is encrypted.
        ConflictError: Other things are in the folder.
        UndercroftError: As of `open_store`.
    """
    if key is None and objects.folder is None:
        raise InvalidError(
            "needs-key",
            f"{objects.where} is another machine, and nothing goes there that is not encrypted: expected --key-file",
            hint="undercroft backup key FILE; keep a copy of it on paper, far from the backups",
        )
    if objects.size_bytes(MARKER) is None:
        sealing: Sealing = Encrypted(key) if key is not None else Clear()
        objects.prepare()
        # Of two who make it at the same moment one comes first, and the other one sees below whose it is.
        objects.add(MARKER, to_document({"kind": _KIND, "format": _FORMAT, "key_id": sealing.key_id}))
        objects.settle()
    return open_store(objects, key)

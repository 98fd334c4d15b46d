"""Makes a backup: what changed is written, what the store has is only named, the manifest comes last."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import undercroft
from undercroft.core.clock import to_iso
from undercroft.core.errors import UnavailableError
from undercroft.core.home import Home
from undercroft.core.settings import Settings
from undercroft.recovery.gathering import (
    DATABASE_NAME,
    Chosen,
    Snapshot,
    choose,
    copy_database,
    secret_paths,
    walk,
    work_folder,
)
from undercroft.recovery.manifests import (
    MANIFEST_LIMIT_BYTES,
    PIECE_LIMIT_BYTES,
    Manifest,
    Piece,
    StoredFile,
    new_backup_id,
    parse,
)
from undercroft.recovery.sealing import DamagedError
from undercroft.recovery.store import BackupStore
from undercroft.registry.progress import Progress, Stage, Step, silent
from undercroft.storage.blobs import BlobStore

# Of a database few pages change in a day; small pieces share more with those of the day before.
_DATABASE_PIECE_BYTES = 128 * 1024
_LARGE_PIECE_BYTES = PIECE_LIMIT_BYTES


@dataclass(frozen=True, slots=True)
class Created:
    """What came of it.

    Args:
        manifest: Of the backup.
        written_bytes: Put into the store, sealed.
        written_objects: Pieces that the store had not; count.
        read_bytes: Of the home.
    """

    manifest: Manifest
    written_bytes: int
    written_objects: int
    read_bytes: int


class _Writer:
    """Puts files into a store, piece by piece, each piece once.

    Args:
        store: Locked to be added to.
        must_write: Writes what the store has, too.
        progress: Told how far each file is.
    """

    def __init__(self, store: BackupStore, *, must_write: bool, progress: Progress) -> None:
        self.store = store
        self.must_write = must_write
        self.progress = progress
        self.written_bytes = 0
        self.read_bytes = 0
        self._written: set[str] = set()

    @property
    def written_objects(self) -> int:
        return len(self._written)

    def has_all(self, file: StoredFile) -> bool:
        """Whether the store has every piece of a file, so that it need not be read."""
        return not self.must_write and all(self.store.has(piece.digest, piece.size_bytes) for piece in file.pieces)

    def write(self, source: Path, path: str, piece_bytes: int) -> StoredFile:
        """Puts a file into the store as long as it is now; what is added while it is read is not in it.

        Raises:
            OSError: It cannot be read.
            UnavailableError: The store cannot be written.
        """
        state = hashlib.sha256()
        pieces = []
        done_bytes, total_bytes = 0, source.stat().st_size
        for content in _pieces(source, piece_bytes):
            state.update(content)
            piece = Piece(f"sha256:{hashlib.sha256(content).hexdigest()}", len(content))
            self._put(piece, content)
            pieces.append(piece)
            done_bytes += len(content)
            self.progress(Step(Stage.COPY, path, done_bytes, max(total_bytes, done_bytes)))
        return StoredFile(path, f"sha256:{state.hexdigest()}", tuple(pieces))

    def _put(self, piece: Piece, content: bytes) -> None:
        self.read_bytes += piece.size_bytes
        if piece.digest in self._written:
            return
        if self.must_write or not self.store.has(piece.digest, piece.size_bytes):
            self.written_bytes += self.store.put(piece.digest, content, must_replace=self.must_write)
            self._written.add(piece.digest)


def _pieces(source: Path, piece_bytes: int) -> Iterator[bytes]:
    descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    with closing(os.fdopen(descriptor, "rb")) as file:
        left = os.fstat(file.fileno()).st_size
        while left > 0 and (content := file.read(min(piece_bytes, left))):
            left -= len(content)
            yield content


def create(
    home: Home,
    store: BackupStore,
    settings: Settings,
    *,
    at: datetime,
    reason: str | None,
    must_write: bool = False,
    progress: Progress = silent,
) -> Created:
    """A backup of a home, whether its server runs or not.

    Args:
        home: Prepared.
        store: Where to.
        settings: In force; they name files with secrets.
        at: Now.
        reason: Why.
        must_write: Writes every object anew: mends what a verification found damaged.
        progress: Told how far each file is.

    Raises:
        ConflictError: Another backup of this home runs, the database is damaged, or somebody prunes the store.
        UnavailableError: The home cannot be read, the store not written, or it is full.
    """
    writer = _Writer(store, must_write=must_write, progress=progress)
    with work_folder(home) as work, store.shared(), BlobStore(home.blobs).adding():
        snapshot = copy_database(home.database_file, work / DATABASE_NAME)
        chosen = _choose(home, store, settings)
        database = writer.write(snapshot.file, DATABASE_NAME, _DATABASE_PIECE_BYTES)
        files = [database, *_write_files(home, writer, chosen)]
        blobs, missing = _write_blobs(home, writer, snapshot, known_files(store))
        manifest = Manifest(
            id=new_backup_id(at),
            at=to_iso(at),
            origin=origin_of(home),
            version=undercroft.__version__,
            schema=snapshot.schema,
            reason=reason,
            is_encrypted=store.sealing.key_id is not None,
            files=(*files, *blobs),
            missing=missing,
            left_out=chosen.left_out,
        )
        store.sync()
        store.put_document("backups", manifest.id, manifest.to_bytes())
    return Created(manifest, writer.written_bytes, writer.written_objects, writer.read_bytes)


def origin_of(home: Home) -> str:
    """Machine and home: backups of different ones may share a store."""
    return f"{platform.node()[:200]}:{home.root}"


def known_files(store: BackupStore) -> dict[str, StoredFile]:
    """Files that earlier backups have, by digest. A manifest that cannot be read is passed over: it saves no work."""
    known: dict[str, StoredFile] = {}
    for backup_id in store.ids():
        try:
            manifest = read_manifest(store, backup_id)
        except DamagedError:
            continue
        known.update((file.digest, file) for file in manifest.files)
    return known


def read_manifest(store: BackupStore, backup_id: str) -> Manifest:
    """A backup's manifest.

    Raises:
        DamagedError: It is gone, damaged or hostile.
    """
    return parse(store.get_document("backups", backup_id, MANIFEST_LIMIT_BYTES), expected_id=backup_id)


def _choose(home: Home, store: BackupStore, settings: Settings) -> Chosen:
    key_file = settings.backup.key_file
    return choose(
        list(walk(home, besides=store.objects.folder)),
        secrets=secret_paths(home, settings),
        never=set() if key_file is None else {_inside(home, key_file)},
        is_encrypted=store.sealing.key_id is not None,
    )


def _inside(home: Home, path: Path) -> str:
    absolute = path.expanduser().absolute()
    return str(absolute.relative_to(home.root)) if absolute.is_relative_to(home.root) else str(absolute)


def _write_files(home: Home, writer: _Writer, chosen: Chosen) -> Iterator[StoredFile]:
    for path in chosen.paths:
        try:
            yield writer.write(home.root / path, path, _LARGE_PIECE_BYTES)
        except FileNotFoundError:
            continue  # removed since it was seen, as a checkpoint or a report may be
        except OSError as error:
            raise UnavailableError(
                "home-unusable", f"cannot read {home.root / path}: {error.strerror}", hint="undercroft doctor"
            ) from error


def _write_blobs(
    home: Home, writer: _Writer, snapshot: Snapshot, known: Mapping[str, StoredFile]
) -> tuple[list[StoredFile], tuple[str, ...]]:
    """The stored files of the models; those that earlier backups hold are not read again."""
    files, missing = [], []
    blobs = BlobStore(home.blobs)
    for digest, whose in snapshot.model_files.items():
        source = blobs.path(digest)
        path = str(source.relative_to(home.root))
        earlier = known.get(digest)
        if earlier is not None and writer.has_all(earlier):
            files.append(replace(earlier, path=path))
            continue
        try:
            found = writer.write(source, path, _LARGE_PIECE_BYTES)
        except OSError as error:
            missing.append(f"{whose}: it cannot be read: {error.strerror}")
            continue
        if found.digest == digest:
            files.append(found)
        else:
            missing.append(f"{whose}: its content was changed since it was stored")
    return files, tuple(missing)

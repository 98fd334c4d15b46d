"""Reads a backup's files back, comparing every digest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from undercroft.recovery.checks import Listed, keep_damage
from undercroft.recovery.manifests import Piece, StoredFile
from undercroft.recovery.sealing import DamagedError
from undercroft.recovery.store import BackupStore
from undercroft.registry.progress import Progress, Stage, Step, silent


@dataclass(frozen=True, slots=True)
class Verified:
    """What reading every object has shown.

    Args:
        backups: How many were looked at.
        objects: Distinct ones that were read; count.
        read_bytes: Plain bytes of these.
        problems: Backup → what is damaged in it.
        was_kept: Whether the store could be told.
    """

    backups: int
    objects: int
    read_bytes: int
    problems: dict[str, list[str]]
    was_kept: bool


def read_piece(store: BackupStore, piece: Piece) -> bytes:
    """The content of a piece.

    Raises:
        DamagedError: It is not what its digest says.
    """
    content = store.get(piece.digest, piece.size_bytes)
    if f"sha256:{hashlib.sha256(content).hexdigest()}" != piece.digest:
        raise DamagedError("its content was changed: its digest does not hold")
    return content


def read_file(store: BackupStore, file: StoredFile) -> Iterator[bytes]:
    """A file's content, piece by piece.

    Raises:
        DamagedError: A piece is not what its digest says, or all of them together are not the file.
    """
    state = hashlib.sha256()
    for piece in file.pieces:
        content = read_piece(store, piece)
        state.update(content)
        yield content
    if f"sha256:{state.hexdigest()}" != file.digest:
        raise DamagedError("its pieces together are not the file: its digest does not hold")


def verify(store: BackupStore, backups: Sequence[Listed], progress: Progress = silent) -> Verified:
    """Reads every object that some backups need, each once, and compares its digest.

    Args:
        store: Locked to be read.
        backups: Of the store.
        progress: Told how far it is.
    """
    state: dict[str, str] = {}
    sizes = {
        digest: piece.size_bytes for one in backups if one.manifest for digest, piece in one.manifest.pieces().items()
    }
    total_bytes = sum(sizes.values())
    read_bytes = 0
    problems: dict[str, list[str]] = {}
    was_kept = True
    for backup in backups:
        manifest = backup.manifest
        if manifest is None:
            problems[backup.id] = [backup.problem]
            continue
        for piece in manifest.pieces().values():
            if piece.digest not in state:
                state[piece.digest] = _problem(store, piece)
                read_bytes += piece.size_bytes
                progress(Step(Stage.CHECK, "backups", read_bytes, max(total_bytes, read_bytes)))
        found = [
            f"{file.path}: {state[piece.digest]}"
            for file in manifest.files
            for piece in file.pieces
            if state[piece.digest]
        ]
        if backup.problem and backup.problem != backup.check.damage:
            found.append(backup.problem)
        was_kept = keep_damage(store, manifest, found) and was_kept
        if found:
            problems[backup.id] = found
    return Verified(len(backups), len(state), read_bytes, problems, was_kept)


def _problem(store: BackupStore, piece: Piece) -> str:
    try:
        read_piece(store, piece)
    except DamagedError as error:
        return str(error)
    return ""

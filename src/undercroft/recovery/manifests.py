"""The manifest of a backup: every file, its digest, and the pieces that make it, in order. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from undercroft.core.clock import from_iso, to_iso
from undercroft.core.ids import DIGEST_PATTERN, new_id
from undercroft.recovery.documents import from_document, to_document
from undercroft.recovery.sealing import DamagedError

# A piece is held in memory twice, plain and sealed.
PIECE_LIMIT_BYTES = 16 * 1024**2
MANIFEST_LIMIT_BYTES = 256 * 1024**2
FILES_LIMIT = 1_000_000
_PATH_LIMIT_BYTES = 1024
_NAME_LIMIT_BYTES = 255
_TEXT_LIMIT = 1024
_KIND = "undercroft-backup"
_FORMAT = 1
ID_PATTERN = re.compile(r"\d{8}T\d{9}Z-[0-9a-z]{6}")
_FIELDS = {
    *("kind", "format", "id", "at", "origin", "version", "schema", "reason"),
    *("is_encrypted", "files", "missing", "left_out"),
}


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a file, stored as an object.

    Args:
        digest: Of its plain content.
        size_bytes: Of its plain content, at most `PIECE_LIMIT_BYTES`.
    """

    digest: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of the home.

    Args:
        path: Relative to the home, with ``/``.
        digest: Of all of it.
        pieces: In order.
    """

    path: str
    digest: str
    pieces: tuple[Piece, ...]

    @property
    def size_bytes(self) -> int:
        return sum(piece.size_bytes for piece in self.pieces)


@dataclass(frozen=True, slots=True)
class Manifest:
    """One backup.

    Args:
        id: Its moment and six random letters.
        at: When the database was copied; ISO 8601, UTC.
        origin: Machine and home that it is of.
        version: Of the Undercroft that made it.
        schema: Of its database.
        reason: Why, in the actor's words.
        is_encrypted: Whether its store is.
        files: All of them.
        missing: What the home should have had and had not, or damaged; one sentence each.
        left_out: What is not in it on purpose; one sentence each.
    """

    id: str
    at: str
    origin: str
    version: str
    schema: str
    reason: str | None
    is_encrypted: bool
    files: tuple[StoredFile, ...]
    missing: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)

    def pieces(self) -> dict[str, Piece]:
        """Every piece that it needs, by digest."""
        return {piece.digest: piece for file in self.files for piece in file.pieces}

    def to_bytes(self) -> bytes:
        """As it is kept in a store, before it is sealed."""
        values = asdict(self)
        values["files"] = [
            [file.path, file.digest, [[piece.digest, piece.size_bytes] for piece in file.pieces]] for file in self.files
        ]
        return to_document({"kind": _KIND, "format": _FORMAT, **values})


def new_backup_id(at: datetime) -> str:
    """Sorts by time, in milliseconds."""
    return f"{at:%Y%m%dT%H%M%S}{at.microsecond // 1000:03}Z-{new_id('b')[2:8]}"


def parse(content: bytes, *, expected_id: str) -> Manifest:
    """Reads a manifest that somebody else may have written.

    Args:
        content: Opened; at most `MANIFEST_LIMIT_BYTES`.
        expected_id: What it was stored as.

    Raises:
        DamagedError: It was changed, or would write beside the folder that it is restored into.
    """
    values = from_document(content, kind=_KIND)
    if values.get("format") != _FORMAT:
        raise DamagedError(f"it has format {str(values.get('format'))[:20]}, this Undercroft knows format {_FORMAT}")
    if set(values) != _FIELDS:
        raise DamagedError("its fields are not those of a manifest")
    found = Manifest(
        id=_text(values, "id"),
        at=_moment(_text(values, "at")),
        origin=_text(values, "origin"),
        version=_text(values, "version"),
        schema=_text(values, "schema"),
        reason=None if values["reason"] is None else _text(values, "reason"),
        is_encrypted=values["is_encrypted"] is True,
        files=_files(values["files"]),
        missing=_texts(values, "missing"),
        left_out=_texts(values, "left_out"),
    )
    if found.id != expected_id:
        raise DamagedError(f"it is the manifest of backup {found.id[:40]!r}")
    return found


def _text(values: Mapping[str, Any], name: str) -> str:
    text = values[name]
    if not isinstance(text, str) or len(text) > _TEXT_LIMIT:
        raise DamagedError(f"its {name} is no short text")
    return text


def _texts(values: Mapping[str, Any], name: str) -> tuple[str, ...]:
    texts = values[name]
    if not isinstance(texts, list) or len(texts) > FILES_LIMIT or not all(isinstance(text, str) for text in texts):
        raise DamagedError(f"its {name} is no list of texts")
    return tuple(texts)


def _moment(text: str) -> str:
    try:
        return to_iso(from_iso(text))
    except (ValueError, OverflowError) as error:
        raise DamagedError("its time is none") from error


def _files(rows: object) -> tuple[StoredFile, ...]:
    if not isinstance(rows, list) or len(rows) > FILES_LIMIT:
        raise DamagedError(f"it has no list of at most {FILES_LIMIT:,} files")
    files = tuple(_file(row) for row in rows)
    check_paths(file.path for file in files)
    return files


def _file(row: object) -> StoredFile:
    match row:
        case [str(path), str(digest), list(pieces)] if DIGEST_PATTERN.fullmatch(digest):
            return StoredFile(path, digest, tuple(_piece(piece) for piece in pieces))
    raise DamagedError("an entry of a file is not of the right form")


def _piece(row: object) -> Piece:
    match row:
        case [str(digest), int(size)] if DIGEST_PATTERN.fullmatch(digest) and 0 < size <= PIECE_LIMIT_BYTES:
            return Piece(digest, int(size))
    raise DamagedError(f"a piece is not of the right form, or over {PIECE_LIMIT_BYTES:,} bytes")


def check_paths(paths: Iterable[str]) -> None:
    """Makes sure that files with these paths lie below the folder that they are written into, each in its own place.

    Raises:
        DamagedError: One does not, is there twice, or is a file where another one needs a folder.
    """
    seen: set[str] = set()
    folders: set[str] = set()
    for path in paths:
        parts = path.split("/")
        if not all(_is_name(part) for part in parts) or len(path.encode()) > _PATH_LIMIT_BYTES:
            raise DamagedError(f"it has a file that may not be written: {path[:80]!r}")
        if path in seen:
            raise DamagedError(f"it has {path[:80]!r} twice")
        seen.add(path)
        folders.update("/".join(parts[:depth]) for depth in range(1, len(parts)))
    both = seen & folders
    if both:
        raise DamagedError(f"{min(both)[:80]!r} is a file and a folder in it")


def _is_name(part: str) -> bool:
    try:
        size = len(part.encode())
    except UnicodeEncodeError:
        return False
    return 0 < size <= _NAME_LIMIT_BYTES and part not in {".", ".."} and part.isprintable() and "\\" not in part

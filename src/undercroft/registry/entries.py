"""The rows of a model: itself, its files, and what is known of each stored file."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select

from undercroft.core.clock import to_iso, utc_now
from undercroft.registry.facts import ModelFacts
from undercroft.storage.blobs import BlobStore, Fingerprint, fingerprint
from undercroft.storage.tables import blobs, model_files, models

_PART = re.compile(r"-(\d{5})-of-(\d{5})\.gguf", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A file of a model.

    Args:
        path: As its source calls it; relative, for people to read, never a path of the file system.
        digest: Of its content.
        size_bytes: Its length.
    """

    path: str
    digest: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Model:
    """An entry of the registry.

    Args:
        name: What people call it.
        digest: Of the sorted list of its files and their digests.
        source: Where it was pulled from, as given, with the commit for a hub.
        format: ``gguf``, ``safetensors``, ``onnx``, ``executorch``, ``litert`` or ``triton``.
        size_bytes: Of all its files.
        facts: Read from the files.
        lineage: Where exactly it came from; parents, recipe and settings of one that was made here.
        created_at: ISO 8601, UTC.
        files: Sorted by path.
    """

    name: str
    digest: str
    source: str
    format: str
    size_bytes: int
    facts: ModelFacts
    lineage: Mapping[str, Any]
    created_at: str
    files: tuple[ModelFile, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "name": self.name,
            "digest": self.digest,
            "source": self.source,
            "format": self.format,
            "size_bytes": self.size_bytes,
            "facts": self.facts.to_dict(),
            "lineage": dict(self.lineage),
            "created_at": self.created_at,
            "files": [{"path": f.path, "digest": f.digest, "size_bytes": f.size_bytes} for f in self.files],
        }

    def to_summary(self) -> dict[str, Any]:
        """What the journal keeps: enough to know which content had the name."""
        return {"digest": self.digest, "source": self.source, "format": self.format, "size_bytes": self.size_bytes}


def weights_of(model: Model) -> list[ModelFile]:
    """The GGUF files of a model in the order of their parts; empty for other formats."""
    return [file for file in model.files if file.path.lower().endswith(".gguf")] if model.format == "gguf" else []


def manifest_digest(files: Iterable[ModelFile]) -> str:
    """Digest of a set of files.

    The same weights are the same model whatever their file is called, so a GGUF counts by its part and not its name.
    """
    lines = sorted((_counted_name(file.path), file.digest) for file in files)
    return f"sha256:{hashlib.sha256(json.dumps(lines, separators=(',', ':')).encode()).hexdigest()}"


def _counted_name(path: str) -> str:
    if not path.lower().endswith(".gguf"):
        return path
    match = _PART.search(path)
    return f"model-{match[1]}-of-{match[2]}.gguf" if match else "model.gguf"


def find(connection: Connection, name: str) -> Model | None:
    """One model, or None where there is none of that name."""
    row = connection.execute(select(models).where(models.c.name == name)).first()
    return _read(connection, row) if row is not None else None


def list_all(connection: Connection) -> list[Model]:
    """Every model, by name."""
    rows = connection.execute(select(models).order_by(models.c.name)).all()
    return [_read(connection, row) for row in rows]


def add(connection: Connection, model: Model, seen: Mapping[str, Fingerprint]) -> None:
    """Writes the rows of a model.

    Args:
        seen: What each stored file looked like when its content was hashed, by digest.
    """
    now = to_iso(utc_now())
    for digest, look in seen.items():
        write_fingerprint(connection, digest, look, verified_at=now)
    connection.execute(
        insert(models).values(
            name=model.name,
            digest=model.digest,
            source=model.source,
            format=model.format,
            size_bytes=model.size_bytes,
            facts=model.facts.to_dict(),
            lineage=dict(model.lineage),
            created_at=model.created_at,
        )
    )
    for file in model.files:
        connection.execute(
            insert(model_files).values(model=model.name, path=file.path, digest=file.digest, size_bytes=file.size_bytes)
        )


def fingerprint_of(connection: Connection, digest: str) -> Fingerprint | None:
    """What a stored file looked like when it was last hashed; None where none is stored."""
    row = connection.execute(select(blobs).where(blobs.c.digest == digest)).first()
    return Fingerprint(row.size_bytes, row.inode, row.modified_ns) if row is not None else None


def is_untouched(connection: Connection, store: BlobStore, digest: str) -> bool:
    """Whether a stored file looks as it did when its content was last hashed. It is not read."""
    try:
        return fingerprint(store.path(digest)) == fingerprint_of(connection, digest)
    except OSError:
        return False


def write_fingerprint(connection: Connection, digest: str, look: Fingerprint, *, verified_at: str) -> None:
    """Keeps what a stored file looked like when it was hashed."""
    connection.execute(delete(blobs).where(blobs.c.digest == digest))
    connection.execute(
        insert(blobs).values(
            digest=digest,
            size_bytes=look.size_bytes,
            inode=look.inode,
            modified_ns=look.modified_ns,
            verified_at=verified_at,
        )
    )


def _read(connection: Connection, row: Row[Any]) -> Model:
    files = connection.execute(
        select(model_files).where(model_files.c.model == row.name).order_by(model_files.c.path)
    ).all()
    return Model(
        name=row.name,
        digest=row.digest,
        source=row.source,
        format=row.format,
        size_bytes=row.size_bytes,
        facts=ModelFacts.from_dict(row.facts),
        lineage=row.lineage,
        created_at=row.created_at,
        files=tuple(ModelFile(file.path, file.digest, file.size_bytes) for file in files),
    )

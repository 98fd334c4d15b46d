"""The models that are evaluated: of the registry by their names, or GGUF files by their paths."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from undercroft.core.errors import InvalidError, UnavailableError
from undercroft.core.home import Home
from undercroft.engines.llamacpp import model_files
from undercroft.optimize.evaluation.records import Subject
from undercroft.registry import models
from undercroft.registry.facts import ModelFacts
from undercroft.registry.inspection.formats import Format, require_format
from undercroft.registry.inspection.gguf import read_gguf
from undercroft.registry.inspection.gguf_model import inspect_gguf
from undercroft.storage.blobs import digest_file
from undercroft.storage.database import Database


@dataclass(frozen=True, slots=True)
class Found:
    """A model that can be run.

    Args:
        subject: What the card says of it.
        path: The file that an engine is given.
        context_tokens: Longest context that it was made for; None where its file does not say.
        facts: What its files say about it; None where they were not read.
    """

    subject: Subject
    path: Path
    context_tokens: int | None
    facts: ModelFacts | None = None


def is_path(reference: str) -> bool:
    """Whether a model is given by the path of its file: that holds a ``/`` or ends in ``.gguf``."""
    return "/" in reference or reference.lower().endswith(".gguf")


def find_model(name: str, home: Home, database: Database) -> Found:
    """A model of the registry by its name.

    Raises:
        NotFoundError: There is no such model.
        InvalidError: It is no GGUF, or makes no text.
        UnavailableError: Its file was changed since it was checked.
    """
    with database.read() as connection:
        model = models.get(connection, name)
        path = models.model_file(home, connection, model)
    _require_text(model.facts, name)
    subject = Subject(name, model.digest, model.size_bytes, model.facts.quantization, model.facts.parameters)
    return Found(subject, path, model.facts.context_tokens, model.facts)


def find_file(path: Path) -> Found:
    """A model by the path of its file; the first of a split one.

    Raises:
        InvalidError: There is no such file, it is no GGUF, or it makes no text.
        UnavailableError: It cannot be read.
    """
    if not path.is_file():
        raise InvalidError(
            "no-such-file",
            f"expected the name of a model or a GGUF file, there is no file {str(path)!r}",
            hint="undercroft model list",
        )
    try:
        pieces = model_files(path)
        for piece in pieces:
            _require_gguf(piece)
        headers = [read_gguf(piece, piece.name) for piece in pieces]
        digest = digest_file(path) if len(pieces) == 1 else ""
        size_bytes = sum(piece.stat().st_size for piece in pieces)
    except OSError as error:
        raise UnavailableError(
            "file-unreadable", f"cannot read {str(path)!r}: {error.strerror or error}", hint="give a file you may read"
        ) from error
    facts = inspect_gguf(headers)
    _require_text(facts, path.name)
    subject = Subject(path.name, digest, size_bytes, facts.quantization, facts.parameters)
    return Found(subject, path, facts.context_tokens, facts)


def _require_gguf(path: Path) -> None:
    found = require_format(path, path.name)
    if found is not Format.GGUF:
        raise InvalidError(
            "not-servable",
            f"expected a GGUF file, got {found.value}: {path.name!r}",
            hint="convert it, or give a GGUF of it",
        )


def _require_text(facts: ModelFacts, name: str) -> None:
    if facts.task not in (None, "generate"):
        raise InvalidError(
            "not-generating",
            f"expected a model that makes text, {name!r} is one for {facts.task!r}",
            hint="give a model that answers; evaluations ask questions",
        )

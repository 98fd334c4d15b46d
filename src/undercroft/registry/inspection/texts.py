"""Texts and tokenizers that come with a model: bounded, and really what they are called."""

from __future__ import annotations

from pathlib import Path

from undercroft.core.errors import InvalidError
from undercroft.registry.inspection.formats import refuse_code
from undercroft.registry.inspection.protobuf import ProtobufFile
from undercroft.registry.inspection.reading import refuse

_TOKENIZER_LIMIT_BYTES = 64 * 1024 * 1024
_FIELDS_LIMIT = 2_000_000


def read_text(path: Path, name: str, limit_bytes: int) -> str:
    """A text file.

    Raises:
        InvalidError: ``bad-text``: too large, or not text.
        RefusedError: ``unsafe-format``: it is a program or an archive under a text's name.
    """
    refuse_code(path, name)
    size = path.stat().st_size
    if size > limit_bytes:
        refuse("bad-text", "text file", name, f"it has {size:,} bytes, expected at most {limit_bytes:,}")
    raw = path.read_bytes()
    if b"\0" in raw:
        refuse("bad-text", "text file", name, "it has bytes that are no text")
    # An old licence may be in Latin-1; a letter that is shown wrongly does no harm.
    return raw.decode("utf-8", "replace")


def check_tokenizer(path: Path, name: str) -> None:
    """A SentencePiece model, or a text: merges, a vocabulary, a template, tiktoken's ranks.

    Raises:
        InvalidError: ``bad-text`` or ``bad-tokenizer``.
        RefusedError: ``unsafe-format``.
    """
    if not name.lower().endswith((".model", ".spm")):
        read_text(path, name, _TOKENIZER_LIMIT_BYTES)
        return
    refuse_code(path, name)
    size = path.stat().st_size
    if not 0 < size <= _TOKENIZER_LIMIT_BYTES:
        refuse("bad-tokenizer", "tokenizer", name, f"it has {size:,} bytes")
    try:
        _walk(path, name, size)
    except InvalidError:
        # Some repositories keep tiktoken's ranks, lines of base64, under the same name.
        if b"\0" in (raw := path.read_bytes()) or not raw.isascii():
            raise


def _walk(path: Path, name: str, size: int) -> None:
    with path.open("rb") as file:
        message = ProtobufFile(
            file, size, name=name, code="bad-tokenizer", what="SentencePiece model", fields_limit=_FIELDS_LIMIT
        )
        if not sum(1 for field in message.fields(0, size) if field.number == 1 and field.wire == 2):
            message.fail("it holds no pieces")

"""Texts of one's own, by which a model is read: a plain file that is cut at its blank lines, or JSON lines."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from undercroft.checks.problems import place_of, problem_of_field
from undercroft.core.forms import of_form
from undercroft.optimize.evaluation.tasks import ItemId
from undercroft.optimize.json_lines import json_lines, read_bounded, refusal

_LIMIT_BYTES = 64 * 1024 * 1024
_BAD = "bad-texts"
_GUIDE = "docs/guide/evaluation.md"
# Long enough that most of its tokens have something before them, short enough that a page makes several.
_LEAST_CHARACTERS = 1000
_BLANK = re.compile(r"\n[ \t]*\n\s*")


@dataclass(frozen=True, slots=True)
class Text:
    """One text.

    Args:
        name: Unlike those of the others.
        language: Code that it is counted under; None is counted under none.
        text: With at least one letter.
    """

    name: str
    language: str | None
    text: str


@dataclass(frozen=True, slots=True)
class TextSet:
    """All texts of a file.

    Args:
        name: Of the file.
        digest: Of its content, ``sha256:`` and 64 hex digits.
        texts: In the order of the file; at least one.
    """

    name: str
    digest: str
    texts: tuple[Text, ...]

    @property
    def languages(self) -> tuple[str, ...]:
        """Codes that texts are counted under, sorted."""
        return tuple(sorted({text.language for text in self.texts if text.language is not None}))


class _Written(BaseModel):
    """One text as a line of JSON has it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: Annotated[str, Field(min_length=1)]
    id: ItemId | None = None
    language: Annotated[str, of_form("[a-z]{2,3}", "the code of a language such as 'th'")] | None = None


def load_texts(path: Path) -> TextSet:
    """The texts of a file: JSON lines where it ends in ``.jsonl``, else plain text, cut at blank lines.

    Pieces of a plain file that are shorter than 1,000 characters are put together with those that follow: an interval
    needs several texts, and a model needs words before those that it is judged by.

    Raises:
        NotFoundError: ``no-such-file``.
        UnavailableError: ``file-unreadable``.
        InvalidError: ``bad-texts``: every problem with its line and the nearest right word.
    """
    return parse_texts(read_bounded(path, _LIMIT_BYTES), path)


def parse_texts(raw: bytes, path: Path) -> TextSet:
    """The texts of what was read of a file, see `load_texts`. Pure.

    Args:
        raw: All of it.
        path: Its name says which form it has, and stands in problems.

    Raises:
        InvalidError: ``bad-texts``.
    """
    texts = _of_lines(raw, path) if path.suffix == ".jsonl" else _of_plain(raw, path)
    if not texts:
        raise refusal(path, _BAD, ["line 1: expected at least one text, found none"], _GUIDE)
    return TextSet(path.name, "sha256:" + hashlib.sha256(raw).hexdigest(), tuple(texts))


def _of_plain(raw: bytes, path: Path) -> list[Text]:
    try:
        content = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise refusal(path, _BAD, [f"line {line}: expected UTF-8"], _GUIDE) from error
    pieces: list[str] = []
    for piece in _BLANK.split(content.strip()):
        if pieces and len(pieces[-1]) < _LEAST_CHARACTERS:
            pieces[-1] += f"\n\n{piece}"
        elif piece.strip():
            pieces.append(piece)
    # A short rest has too little before its words.
    if len(pieces) > 1 and len(pieces[-1]) < _LEAST_CHARACTERS:
        rest = pieces.pop()
        pieces[-1] += f"\n\n{rest}"
    return [Text(f"text-{number}", None, piece) for number, piece in enumerate(pieces, 1)]


def _of_lines(raw: bytes, path: Path) -> list[Text]:
    problems: list[str] = []
    found: dict[str, Text] = {}
    for number, document in json_lines(raw, problems):
        try:
            written = _WRITTEN.validate_python(document)
        except ValidationError as error:
            problems += (
                f"line {number}: {place_of(item['loc'])}{problem_of_field(dict(item), _FIELD_NAMES)}"
                for item in error.errors()
            )
            continue
        name = f"text-{number}" if written.id is None else written.id
        if name in found:
            problems.append(f"line {number}: id: {name[:60]!r} stands in an earlier line, too")
        elif not written.text.strip():
            problems.append(f"line {number}: text: expected words, found white space")
        else:
            found[name] = Text(name, written.language, written.text)
    if problems:
        raise refusal(path, _BAD, problems, _GUIDE)
    return list(found.values())


_WRITTEN: TypeAdapter[_Written] = TypeAdapter(_Written)
_FIELD_NAMES = tuple(_Written.model_fields)

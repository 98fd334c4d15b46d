"""Texts of one's own, by which a model is read: a plain file that is cut at its blank lines, or JSON lines."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from undercroft.core.errors import InvalidError
from undercroft.core.forms import of_form
from undercroft.core.wrong_values import problem_of
from undercroft.optimize.evaluation.tasks import ItemId, json_problem, read_bounded

_LIMIT_BYTES = 64 * 1024 * 1024
_PROBLEMS_SHOWN = 50
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
    raw = read_bounded(path, _LIMIT_BYTES)
    try:
        content = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise _bad(path, [f"line {line}: expected UTF-8"]) from error
    texts = _of_lines(content, path) if path.suffix == ".jsonl" else _of_plain(content)
    if not texts:
        raise _bad(path, ["line 1: expected at least one text, found none"])
    return TextSet(path.name, "sha256:" + hashlib.sha256(raw).hexdigest(), tuple(texts))


def _of_plain(content: str) -> list[Text]:
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


def _of_lines(content: str, path: Path) -> list[Text]:
    problems: list[str] = []
    found: dict[str, Text] = {}
    for number, line in enumerate(content.split("\n"), 1):
        if not line.strip():
            continue
        try:
            written = _WRITTEN.validate_python(json.loads(line))
        except ValidationError as error:
            problems += [f"line {number}: {_problem(dict(item))}" for item in error.errors()]
            continue
        except (ValueError, RecursionError) as error:
            problems.append(f"line {number}: expected one JSON object, {json_problem(error)}")
            continue
        name = f"text-{number}" if written.id is None else written.id
        if name in found:
            problems.append(f"line {number}: id: {name[:60]!r} stands in an earlier line, too")
        elif not written.text.strip():
            problems.append(f"line {number}: text: expected words, found white space")
        else:
            found[name] = Text(name, written.language, written.text)
    if problems:
        raise _bad(path, problems)
    return list(found.values())


def _problem(item: Mapping[str, Any]) -> str:
    place = ".".join(str(step) for step in item["loc"])
    if item["type"] != "extra_forbidden":
        return f"{place}: {problem_of(item, is_yaml=True)}" if place else problem_of(item, is_yaml=True)
    near = difflib.get_close_matches(place, list(_Written.model_fields), n=1)
    return f"{place}: there is no such field" + (f"; nearest is '{near[0]}'" if near else "")


def _bad(path: Path, problems: Sequence[str]) -> InvalidError:
    more = len(problems) - _PROBLEMS_SHOWN
    shown = [*problems[:_PROBLEMS_SHOWN], *([f"and {more} more"] if more > 0 else [])]
    return InvalidError(
        "bad-texts",
        f"{path} has problems:\n" + "\n".join(f"  - {problem}" for problem in shown),
        hint="correct the file; its form is in docs/guide/evaluation.md",
    )


_WRITTEN: TypeAdapter[_Written] = TypeAdapter(_Written)

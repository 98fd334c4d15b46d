"""Files of JSON lines that a person wrote: read within a limit, refused with every mistake and its line at once."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from undercroft.core.errors import InvalidError, NotFoundError, UnavailableError

_PROBLEMS_SHOWN = 50
_ALIKE_SHOWN = 3


def read_bounded(path: Path, limit_bytes: int) -> bytes:
    """A file that a person named.

    Raises:
        NotFoundError: ``no-such-file``.
        UnavailableError: ``file-unreadable``.
        InvalidError: ``file-too-large``.
    """
    try:
        with path.expanduser().open("rb") as file:
            raw = file.read(limit_bytes + 1)
    except FileNotFoundError:
        raise NotFoundError("no-such-file", f"there is no file {str(path)!r}", hint="correct the path") from None
    except OSError as error:
        raise UnavailableError(
            "file-unreadable",
            f"cannot read {str(path)!r}: {error.strerror or error}",
            hint="give a file that you may read",
        ) from error
    if len(raw) > limit_bytes:
        raise InvalidError(
            "file-too-large",
            f"{str(path)!r} is larger than the {limit_bytes:,} bytes that it may have",
            hint="take a part of it: intervals shrink with the square root of the number of items",
        )
    return raw


def json_lines(raw: bytes, problems: list[str]) -> Iterator[tuple[int, Any]]:
    """What every line holds, with its number from 1; empty lines are left out.

    Args:
        raw: The file, in UTF-8, with or without a byte order mark.
        problems: Gets a sentence for each line that is not JSON.
    """
    for number, line in enumerate(raw.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            document = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
        except (ValueError, RecursionError) as error:
            problems.append(f"line {number}: expected one JSON object, {_found_instead(error)}")
            continue
        yield number, document


def refusal(path: Path, code: str, problems: Sequence[str], guide: str) -> InvalidError:
    """A file with its problems, the first fifty of them written out.

    Args:
        path: Of the file.
        code: Of the error.
        problems: Each with its line; at least one.
        guide: Page that has the file's form.
    """
    told = _told_once(problems)
    more = len(told) - _PROBLEMS_SHOWN
    shown = [*told[:_PROBLEMS_SHOWN], *([f"and {more} more"] if more > 0 else [])]
    listed = "\n".join(f"  - {problem}" for problem in shown)
    return InvalidError(code, f"{path} has problems:\n{listed}", hint=f"correct the file; its form is in {guide}")


def _told_once(problems: Sequence[str]) -> list[str]:
    """Each problem in its place; what is the same in many lines, as in a file of another form, once."""
    parted = [problem.partition(": ") for problem in problems]
    lines = Counter(what for _, _, what in parted)
    told, many = [], set()
    for (line, _, what), problem in zip(parted, problems, strict=True):
        if lines[what] <= _ALIKE_SHOWN:
            told.append(problem)
        elif what not in many:
            many.add(what)
            told.append(f"{line} and {lines[what] - 1:,} more: {what}")
    return told


def _found_instead(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"found at character {error.colno}: {error.msg[:80]}"
    if isinstance(error, RecursionError):
        return "found one that is nested too deep"
    return "found no UTF-8" if isinstance(error, UnicodeDecodeError) else f"found one with {str(error)[:80]}"

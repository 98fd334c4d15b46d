"""Reads JSON that somebody else wrote: bounded, UTF-8, no key twice."""

from __future__ import annotations

import codecs
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from undercroft.core.errors import RefusedError
from undercroft.registry.inspection.reading import refuse

_LIMIT_BYTES = 8 * 1024 * 1024
_VOCABULARY_LIMIT_BYTES = 64 * 1024 * 1024  # the largest tokenizers have 35 MB
_PIECE_BYTES = 1024 * 1024
_DEPTH_LIMIT = 64


class _DoubleKeyError(ValueError):
    """A JSON object names a key twice: two readers may see two different values."""


def read_json(path: Path, name: str) -> Any:
    """A JSON document.

    Raises:
        InvalidError: ``bad-json``: too large, not UTF-8, not JSON, too deep, or with a key twice.
    """
    size = path.stat().st_size
    if size > _LIMIT_BYTES:
        _fail(name, f"it has {size:,} bytes, expected at most {_LIMIT_BYTES:,}")
    return parse_json(path.read_bytes(), name)


def check_vocabulary(path: Path, name: str) -> None:
    """A tokenizer's JSON: too large to be parsed here, so it is only seen to be an object in UTF-8.

    Raises:
        InvalidError: ``bad-json``.
    """
    size = path.stat().st_size
    if size > _VOCABULARY_LIMIT_BYTES:
        _fail(name, f"it has {size:,} bytes, expected at most {_VOCABULARY_LIMIT_BYTES:,}")
    decoder = codecs.getincrementaldecoder("utf-8")()
    with path.open("rb") as file:
        first, last = b"", b""
        try:
            while piece := file.read(_PIECE_BYTES):
                first, last = first or piece.lstrip()[:1], piece.rstrip()[-1:] or last
                if "\0" in decoder.decode(piece):
                    _fail(name, "it has bytes that are no text")
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            _fail(name, "it is not UTF-8 text")
    if (first, last) != (b"{", b"}"):
        _fail(name, "it is not a JSON object")


def parse_json(raw: bytes, name: str) -> Any:
    """`read_json` of bytes that are at hand."""
    problem = None
    try:
        return loads(raw)
    except UnicodeDecodeError:
        problem = "it is not UTF-8 text"
    except RecursionError:
        problem = "it is nested too deeply"
    except ValueError as error:
        problem = f"it is not JSON: {error}"[:200]
    _fail(name, problem)


def loads(raw: bytes) -> Any:
    """A JSON document of bytes.

    Raises:
        ValueError: It is not JSON in UTF-8, names a key twice, or is nested too deeply.
    """
    return json.loads(raw.decode("utf-8-sig"), object_pairs_hook=_unique)


def refuse_auto_map(document: Any, name: str) -> None:
    """Refuses a configuration that tells a reader to load code.

    Raises:
        RefusedError: ``carries-code``: ``auto_map`` is in it, however deep.
        InvalidError: ``bad-json``: it is nested too deeply to look through.
    """
    for key in _keys(document, name, 0):
        if key == "auto_map":
            raise RefusedError(
                "carries-code",
                f"{name[-120:]!r} has an 'auto_map': the model asks to run code of its own",
                hint="get a model of an architecture that the engines know, or a GGUF of it",
            )


def _keys(document: Any, name: str, depth: int) -> Iterator[str]:
    if depth > _DEPTH_LIMIT:
        _fail(name, "it is nested too deeply")
    if isinstance(document, dict):
        for key, value in document.items():
            yield key
            yield from _keys(value, name, depth + 1)
    elif isinstance(document, list):
        for value in document:
            if isinstance(value, (dict, list)):
                yield from _keys(value, name, depth + 1)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        double = next(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
        raise _DoubleKeyError(f"key {double[:80]!r} is there twice")
    return found


def _fail(name: str, problem: str) -> NoReturn:
    refuse("bad-json", "JSON file", name, problem)

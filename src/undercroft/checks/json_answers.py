"""Answers that are JSON: read strictly, looked into by a path, compared with a schema. Pure."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema_rs

from undercroft.core.errors import InvalidError

_PATH = re.compile(r"[^.\[\]]+(\.[^.\[\]]+|\[\d{1,6}\])*")
_STEP = re.compile(r"\[(\d+)\]|([^.\[\]]+)")
_NUMBER = re.compile(r"[-−+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:[eE][-+]?\d+)?|[-−+]?\.\d+")
# Patterns in a schema are run by an engine that takes linear time; its automata may take so much memory.
_PATTERNS = jsonschema_rs.RegexOptions(size_limit=2**20, dfa_size_limit=2**21)
NOTHING = object()


def read_json(text: str) -> Any:
    """The value of a text that is JSON and nothing else; `NOTHING` for any other text.

    ``NaN`` and ``Infinity``, which Python reads and JSON does not have, are refused, and so is a key that stands twice.
    """
    try:
        return json.loads(text, parse_constant=_refuse, object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        return NOTHING


def check_path(path: str) -> str:
    """Returns a path such as ``order.items[0].price`` if it is one.

    Raises:
        ValueError: It is not.
    """
    if _PATH.fullmatch(path) is None:
        raise ValueError(f"expected a path such as order.items[0].price, got {path[:60]!r}")
    return path


def look_up(value: Any, path: str) -> Any:
    """What stands at a path; `NOTHING` where nothing does.

    Args:
        value: Read from JSON.
        path: As `check_path` takes it.
    """
    for match in _STEP.finditer(path):
        index, name = match.groups()
        if index is not None and isinstance(value, list) and int(index) < len(value):
            value = value[int(index)]
        elif name is not None and isinstance(value, dict) and name in value:
            value = value[name]
        else:
            return NOTHING
    return value


def text_at(answer: str, path: str | None) -> str | None:
    """The answer, or the text at a path of an answer that is JSON; None where no text is there."""
    if path is None:
        return answer
    found = look_up(read_json(answer), path)
    return found if isinstance(found, str) else None


def number_at(answer: str, path: str | None) -> float | None:
    """The number at a path, or the first one in the text; None where there is none.

    A text at the path is read for its first number, too. ``1,284.5`` and ``−3`` are numbers.
    """
    found = answer if path is None else look_up(read_json(answer), path)
    if isinstance(found, bool) or not isinstance(found, int | float | str):
        return None
    if isinstance(found, str):
        match = _NUMBER.search(found)
        if match is None:
            return None
        found = match[0].replace(",", "").replace("−", "-")
    try:
        return float(found)
    except OverflowError:
        return None


def schema_validator(schema: dict[str, Any] | bool) -> jsonschema_rs.Validator:
    """A schema ready for use. It fetches nothing, and its patterns take linear time.

    Args:
        schema: JSON Schema, draft 4 to 2020-12 as its ``$schema`` says; 2020-12 without one.

    Raises:
        InvalidError: ``bad-schema``: it is no schema, refers elsewhere, or has a pattern with look-around or
            back-references.
    """
    try:
        return jsonschema_rs.validator_for(
            schema, pattern_options=_PATTERNS, retriever=_fetch_nothing, validate_formats=False
        )
    except (ValueError, jsonschema_rs.ReferencingError) as error:
        first = " ".join(str(error).split())[:200]
        raise InvalidError("bad-schema", f"expected a JSON Schema that can be used here: {first}") from error


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key stands twice")
    return made


def _fetch_nothing(uri: str) -> Any:
    raise ValueError(f"it refers to {uri}, and nothing is fetched")

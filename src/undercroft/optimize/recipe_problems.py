"""What is wrong with a recipe, in the words of whoever wrote it: its line, its field, the nearest right word."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from undercroft.core.wrong_values import problem_of

Step = int | str

# What rules about several fields begin their sentence with: `steps[1].quantize: `, `gate: `.
_NAMED = re.compile(r"(?P<field>[a-z_]+(?:\[\d+\])?(?:\.[a-z_]+(?:\[\d+\])?)*): (?=\S)")
_PART = re.compile(r"(?P<name>[a-z_]+)(?:\[(?P<number>\d+)\])?")


def problems_in(root: type[BaseModel], error: ValidationError, place_of: Callable[[Sequence[Step]], str]) -> list[str]:
    """Every problem as ``line 4: steps[1].quantize.scheme: …``.

    Args:
        root: What was to be read.
        error: What was found.
        place_of: The beginning of a sentence on what is at a place: its line, or nothing.
    """
    found = []
    for item in error.errors():
        location, said = tuple(item["loc"]), _problem(root, dict(item))
        if item["type"] == "value_error":
            location, said = _named_in(root, location, said)
        found.append(f"{place_of(location)}{field_at(location)}{said}")
    return found


def field_at(location: Sequence[Step]) -> str:
    """``steps[1].quantize.scheme: ``, counted from 1; empty for the whole."""
    shown = ""
    for step in location:
        if isinstance(step, int):
            shown += f"[{step + 1}]"
        elif step != "[key]":
            shown += f".{step[:60]}" if shown else step[:60]
    return f"{shown}: " if shown else ""


def _named_in(root: type[BaseModel], location: tuple[Step, ...], said: str) -> tuple[tuple[Step, ...], str]:
    """The place that a sentence begins with, if it is one below where it was found, and the rest of the sentence."""
    match = _NAMED.match(said)
    parts = list(_PART.finditer(match["field"])) if match is not None else []
    if match is None or parts[0]["name"] not in _fields_at(root, location):
        return location, said
    inner: list[Step] = []
    for part in parts:
        inner += [part["name"], *([int(part["number"]) - 1] if part["number"] else [])]
    return (*location, *inner), said[match.end() :]


def _problem(root: type[BaseModel], item: dict[str, Any]) -> str:
    location = item["loc"]
    if item["type"] == "invalid_key":
        return f"expected fields with names, got {item['input']!r} as one"
    if item["type"] != "extra_forbidden":
        return problem_of(item, is_yaml=True)
    name, known = str(location[-1]), _fields_at(root, location[:-1])
    if len(location) == 3 and location[0] == "steps":
        near = difflib.get_close_matches(name, known, n=1)
        end = f"; nearest is {near[0]!r}" if near else ""
        return f"there is no such step, expected one of {', '.join(known)}{end}"
    near = difflib.get_close_matches(name, known, n=1)
    end = f"; nearest is {near[0]!r}" if near else f", expected one of {', '.join(known)}"
    what = "rule" if location[0] == "gate" else "field"
    return f"there is no such {what}{end}"


def _fields_at(root: type[BaseModel], location: Sequence[Step]) -> list[str]:
    """Names of the fields that may stand at a place."""
    kind: Any = root
    for step in location:
        if not isinstance(step, int):
            found = next((f for name, f in kind.model_fields.items() if step in (name, f.alias)), None)
            inner = _parts_in(found.annotation) if found is not None else []
            kind = inner[0] if inner else kind
    return [field.alias or name for name, field in kind.model_fields.items()]


def _parts_in(annotation: Any) -> list[Any]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [part for inner in getattr(annotation, "__args__", ()) for part in _parts_in(inner)]

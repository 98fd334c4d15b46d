"""Figures out of what drivers and their tools say. Nothing here raises: what makes no sense is not known."""

from __future__ import annotations

import json
import math
import re
from typing import Any

_NUMBER = re.compile(r"^\s*([+-]?\d+(?:\.\d+)?)\s*([A-Za-z%]*)\s*$", re.ASCII)
_MOST_STARTS = 32
_UNIT_BYTES = {
    "": 1,
    "b": 1,
    "kib": 1024,
    "mib": 1024**2,
    "gib": 1024**3,
    "tib": 1024**4,
    # The tools of the vendors write MB and mean MiB.
    "kb": 1024,
    "mb": 1024**2,
    "gb": 1024**3,
    "tb": 1024**4,
}


def as_number(value: object) -> float | None:
    """``72.00 W`` is 72.0; ``{"value": 72, "unit": "W"}`` too; ``[N/A]``, ``ERR!`` and other texts are None."""
    if isinstance(value, dict):
        return as_number(value.get("value"))
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value) if math.isfinite(value) and abs(value) < 1e18 else None
    found = _NUMBER.match(value) if isinstance(value, str) and len(value) < 64 else None
    return float(found[1]) if found else None


def as_bytes(value: object, *, unit: str = "") -> int | None:
    """``15360 MiB``, ``{"value": 196592, "unit": "MB"}`` or a bare number in ``unit`` as bytes; None for other things.

    Args:
        value: What a tool said.
        unit: Of a number that brings none: ``MiB``; empty is bytes.
    """
    if isinstance(value, dict):
        given = value.get("unit")
        return as_bytes(value.get("value"), unit=given if isinstance(given, str) and given else unit)
    number = as_number(value)
    found = _NUMBER.match(value) if isinstance(value, str) and len(value) < 64 else None
    factor = _UNIT_BYTES.get(((found[2] if found else "") or unit).lower())
    if number is None or factor is None or not 0 <= number * factor < 2**60:
        return None
    return int(number * factor)


def as_text(value: object) -> str:
    """A text on one line, at most 200 characters; empty for what means "not known"."""
    if not isinstance(value, str):
        return ""
    text = " ".join("".join(c for c in value if c.isprintable() or c.isspace()).split())[:200]
    return (
        "" if text.strip("[]").lower() in ("n/a", "none", "not supported", "unknown", "unknown error", "err!") else text
    )


def as_switch(value: object) -> bool | None:
    """``Enabled`` or ``Active`` is true, ``Disabled`` or ``Not Active`` false, all else None."""
    text = as_text(value).lower()
    return {"enabled": True, "active": True, "on": True, "disabled": False, "not active": False, "off": False}.get(text)


def as_json(text: str) -> Any:
    """The JSON in what a tool printed, warnings before and after it left out; None where there is none."""
    decoder = json.JSONDecoder()
    for start in [i for i, c in enumerate(text[:10_000]) if c in "[{"][:_MOST_STARTS]:
        try:
            return decoder.raw_decode(text, start)[0]
        except (ValueError, RecursionError):
            continue
    return None


def part(value: object, *path: str) -> Any:
    """What lies at a path of keys in nested objects; None where it is not there."""
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value

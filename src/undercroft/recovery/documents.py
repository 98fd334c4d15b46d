"""Small JSON files of a store: one line with the SHA-256 of what follows, then the JSON. Pure.

They may come from somebody who wants harm: they are bounded, read strictly, and name nothing twice.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from undercroft.recovery.sealing import DamagedError

_LINE_BYTES = 65


def to_document(values: Mapping[str, Any]) -> bytes:
    """Plain data as a document."""
    body = json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
    return hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def from_document(content: bytes, *, kind: str) -> dict[str, Any]:
    """Reads what `to_document` made.

    Args:
        content: All of it.
        kind: What ``kind`` has to say in it.

    Raises:
        DamagedError: It was changed, or is another kind of thing.
    """
    line, body = content[:_LINE_BYTES], content[_LINE_BYTES:]
    if line != hashlib.sha256(body).hexdigest().encode() + b"\n":
        raise DamagedError("it was changed: its digest does not hold")
    return read_object(body, kind=kind)


def read_object(body: bytes, *, kind: str) -> dict[str, Any]:
    """Reads one JSON object in which no key stands twice.

    Args:
        body: All of it.
        kind: What ``kind`` has to say in it.

    Raises:
        DamagedError: It is not, or is another kind of thing.
    """
    try:
        values = json.loads(body, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise DamagedError("it is not JSON of this form") from error
    if not isinstance(values, dict) or values.get("kind") != kind:
        raise DamagedError(f"it is no {kind}")
    return values


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is there twice")
    return found

"""One JSON line a request, gathered and written a few times a second. No prompts, no keys, nothing about persons."""

from __future__ import annotations

import os
from typing import Any

import orjson

_GATHERED_BYTES = 64 * 1024


class AccessLog:
    """Lines on their way to a file descriptor.

    Args:
        descriptor: Where to write; a door's is its standard output, which the keeper rotates.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lines: list[bytes] = []
        self._bytes = 0

    def add(self, entry: dict[str, Any]) -> None:
        """Takes one request's line."""
        line = orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE)
        self._lines.append(line)
        self._bytes += len(line)
        if self._bytes >= _GATHERED_BYTES:
            self.flush()

    def flush(self) -> None:
        """Writes what was gathered. A full disk loses lines, not requests."""
        if not self._lines:
            return
        data = b"".join(self._lines)
        self._lines.clear()
        self._bytes = 0
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError:
            return

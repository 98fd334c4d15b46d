"""Builds small safetensors files, so that each part can be wrong on purpose."""

from __future__ import annotations

import json
import struct
from typing import Any


def entry(dtype: str, shape: list[int], begin: int, end: int) -> dict[str, Any]:
    """A tensor's entry in the header."""
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def sound_header() -> dict[str, Any]:
    """Two tensors that fill 40 bytes."""
    return {
        "__metadata__": {"format": "pt"},
        "a.weight": entry("F32", [2, 4], 0, 32),
        "a.bias": entry("BF16", [4], 32, 40),
    }


def build(header: Any, data_bytes: int = 40) -> bytes:
    """The file."""
    return build_raw(json.dumps(header).encode(), data_bytes)


def build_raw(header: bytes, data_bytes: int = 40, *, length: int | None = None) -> bytes:
    """The file, of a header that need not be JSON."""
    return struct.pack("<Q", len(header) if length is None else length) + header + bytes(data_bytes)

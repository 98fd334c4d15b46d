"""What the worker and its caller say to each other over pipes: a header in JSON, and arrays as their bytes.

    length of the header (4 bytes, little-endian) · header · first array · second array · …

The header lists name, type and shape of each array under ``arrays``.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

_LENGTH = struct.Struct("<I")
_KINDS = ("<f8", "<f4", "<i4", "<i8", "|b1")


@dataclass(frozen=True, slots=True)
class Message:
    """One of them.

    Args:
        header: Anything that JSON holds.
        arrays: Numbers, by name.
    """

    header: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)


def send(stream: IO[bytes], message: Message) -> None:
    """Writes a message, whole."""
    arrays = {name: np.ascontiguousarray(array) for name, array in message.arrays.items()}
    listed = [[name, array.dtype.str, list(array.shape)] for name, array in arrays.items()]
    header = json.dumps({**message.header, "arrays": listed}).encode()
    stream.write(_LENGTH.pack(len(header)) + header)
    for array in arrays.values():
        stream.write(array.tobytes())
    stream.flush()


def receive(stream: IO[bytes]) -> Message | None:
    """Reads the next message.

    Returns:
        None where the other side has ended, between two messages or within one.

    Raises:
        ValueError: These are no bytes of `send`.
    """
    length = stream.read(_LENGTH.size)
    if len(length) < _LENGTH.size:
        return None
    (size,) = _LENGTH.unpack(length)
    text = stream.read(size)
    if len(text) < size:
        return None
    header = json.loads(text)
    arrays: dict[str, NDArray[Any]] = {}
    for name, kind, shape in header.pop("arrays"):
        if kind not in _KINDS or not all(isinstance(count, int) and count >= 0 for count in shape):
            raise ValueError(f"array {name!r} has type {kind!r} and shape {shape!r}")
        wanted = math.prod(shape) * np.dtype(kind).itemsize
        numbers = stream.read(wanted)
        if len(numbers) < wanted:
            return None
        arrays[name] = np.frombuffer(numbers, dtype=kind).reshape(shape)
    return Message(header, arrays)

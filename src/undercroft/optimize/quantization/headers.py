"""The header of a GGUF file as bytes: taken apart without loss, and put together again.

Values are not looked at. A key that nobody here knows, and a vocabulary of any size, is copied as it stands.

Source: ``docs/gguf.md`` of ggml-org. What is read here was checked by `undercroft.registry.inspection.gguf` before.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from undercroft.registry.inspection.gguf import MAGIC
from undercroft.registry.inspection.gguf_types import SCALARS, ValueType

DEFAULT_ALIGNMENT = 32

_VERSION = 3
_U32, _U64, _ARRAY_HEAD = struct.Struct("<I"), struct.Struct("<Q"), struct.Struct("<IQ")
_HEAD = struct.Struct("<IQQ")


@dataclass(frozen=True, slots=True)
class Key:
    """One metadata key.

    Args:
        name: Of the key.
        raw: Its type and value, as they stand in a file.
    """

    name: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor in a header.

    Args:
        name: Unique in the file.
        shape: Sizes, innermost first.
        type_number: How the format numbers its type.
        offset: From the beginning of the data; bytes.
    """

    name: str
    shape: tuple[int, ...]
    type_number: int
    offset: int


def text_key(name: str, value: str) -> Key:
    """A key with a string."""
    return Key(name, _U32.pack(ValueType.STRING) + _text(value))


def number_key(name: str, value: int) -> Key:
    """A key with a count below 2³²."""
    return Key(name, _U32.pack(ValueType.UINT32) + _U32.pack(value))


def texts_key(name: str, values: Sequence[str]) -> Key:
    """A key with a list of strings."""
    head = _U32.pack(ValueType.ARRAY) + _ARRAY_HEAD.pack(ValueType.STRING, len(values))
    return Key(name, head + b"".join(map(_text, values)))


def count_in(key: Key) -> int | None:
    """How many items a key's array has; None where it is none."""
    (kind,) = _U32.unpack_from(key.raw)
    return _ARRAY_HEAD.unpack_from(key.raw, _U32.size)[1] if kind == ValueType.ARRAY else None


def without_items(key: Key, gone: Collection[int]) -> Key:
    """A key without some items of its array.

    Args:
        key: An array of numbers or truth values.
        gone: Places of the items, from 0.
    """
    item_kind, count = _ARRAY_HEAD.unpack_from(key.raw, _U32.size)
    size, begin = SCALARS[ValueType(item_kind)].size, _U32.size + _ARRAY_HEAD.size
    kept = [key.raw[begin + n * size : begin + (n + 1) * size] for n in range(count) if n not in gone]
    return Key(key.name, key.raw[: _U32.size] + _ARRAY_HEAD.pack(item_kind, len(kept)) + b"".join(kept))


def padded(size_bytes: int, alignment: int) -> int:
    """The next multiple of the alignment; bytes."""
    return -(-size_bytes // alignment) * alignment


def encode(keys: Sequence[Key], entries: Sequence[Entry], alignment: int) -> bytes:
    """A header, padded: the data begins where it ends.

    Args:
        keys: In the order in which they are written.
        entries: Likewise; each begins where the one before it ends, padded.
        alignment: Of tensors; bytes.
    """
    parts = [MAGIC, _HEAD.pack(_VERSION, len(entries), len(keys))]
    for key in keys:
        parts += [_text(key.name), key.raw]
    for entry in entries:
        parts += [_text(entry.name), _U32.pack(len(entry.shape)), struct.pack(f"<{len(entry.shape)}Q", *entry.shape)]
        parts += [_U32.pack(entry.type_number), _U64.pack(entry.offset)]
    whole = b"".join(parts)
    return whole.ljust(padded(len(whole), alignment), b"\0")


def take_apart(path: Path, alignment: int) -> tuple[list[Key], int]:
    """The keys of a file, and where its data begins.

    Args:
        path: A file whose header was checked.
        alignment: What it says of itself; bytes.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        _, tensors, keys = _HEAD.unpack_from(content, len(MAGIC))
        position = len(MAGIC) + _HEAD.size
        found = []
        for _ in range(keys):
            name, begin = _text_at(content, position)
            position = _after_value(content, begin)
            found.append(Key(name, content[begin:position]))
        for _ in range(tensors):
            _, position = _text_at(content, position)
            (dimensions,) = _U32.unpack_from(content, position)
            position += _U32.size + dimensions * _U64.size + _U32.size + _U64.size
    return found, padded(position, alignment)


def _text(value: str) -> bytes:
    raw = value.encode()
    return _U64.pack(len(raw)) + raw


def _text_at(content: mmap.mmap, position: int) -> tuple[str, int]:
    (length,) = _U64.unpack_from(content, position)
    begin = position + _U64.size
    return content[begin : begin + length].decode(), begin + length


def _after_value(content: mmap.mmap, position: int) -> int:
    (kind,) = _U32.unpack_from(content, position)
    position += _U32.size
    if kind != ValueType.ARRAY:
        return _after_items(content, position, ValueType(kind), 1)
    item_kind, count = _ARRAY_HEAD.unpack_from(content, position)
    return _after_items(content, position + _ARRAY_HEAD.size, ValueType(item_kind), count)


def _after_items(content: mmap.mmap, position: int, kind: ValueType, count: int) -> int:
    if kind is not ValueType.STRING:
        return position + SCALARS[kind].size * count
    for _ in range(count):
        (length,) = _U64.unpack_from(content, position)
        position += _U64.size + length
    return position

"""Reads the metadata of a GGUF file: keys, and values of which only what is needed stays in memory."""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from undercroft.registry.inspection.gguf_types import SCALARS, ValueType
from undercroft.registry.inspection.reading import BoundedReader

_KEY_LIMIT_BYTES = 1024
_STRING_LIMIT_BYTES = 4 * 1024 * 1024
_ARRAY_STRINGS_LIMIT = 2_000_000  # the largest vocabularies and their merges have 800,000
_KEPT_ARRAY_ITEMS = 1024
_KEPT_ITEMS = 131_072
_KEPT_STRING_BYTES = 256
_TOKENS = "tokenizer.ggml.tokens"
_KINDS_OF_TOKENS = "tokenizer.ggml.token_type"
_BYTE_TYPE = 6
_BYTE_TOKEN = re.compile(rb"<0x[0-9A-Fa-f]{2}>")

Scalar = int | float | bool | str


@dataclass(frozen=True, slots=True)
class Array:
    """A metadata array.

    Args:
        kind: Of its items.
        count: How many there are.
        items: They themselves where the array is short; else None. Strings are cut to 256 bytes.
        has_duplicates: Whether an item is there twice; only looked at for the tokens.
        bytes_at: Positions of the tokens that stand for one byte: of the tokens those that read so, of the token types
            those that say so.
    """

    kind: ValueType
    count: int
    items: Sequence[Scalar] | None
    has_duplicates: bool = False
    bytes_at: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Value:
    """A metadata value with the type that it was written with."""

    kind: ValueType
    value: Scalar | Array


def read_values(reader: BoundedReader, count: int, *, with_tokens: bool = True) -> dict[str, Value]:
    """Reads all metadata.

    Args:
        reader: Before the first key.
        count: Keys.
        with_tokens: Look at each token; else the vocabulary is only passed over, in bounds.

    Raises:
        InvalidError: A length, count or type is out of bounds, or a key is there twice.
    """
    values: dict[str, Value] = {}
    strings_left, items_left = _ARRAY_STRINGS_LIMIT, _KEPT_ITEMS
    for number in range(1, count + 1):
        what = f"key {number} of {count}"
        key = read_text(reader, what, _KEY_LIMIT_BYTES)
        if not key or not key.isprintable():
            reader.fail(f"{what} is {key[:80]!r}, expected printable text")
        if key in values:
            reader.fail(f"key {key[:80]!r} is there twice")
        value = _read_value(reader, key, strings_left, with_tokens)
        if isinstance(value.value, Array):
            strings_left -= value.value.count if value.value.kind is ValueType.STRING else 0
            items_left -= len(value.value.items or ())
            if items_left < 0:
                reader.fail("it has more lists of metadata than any model needs")
        values[key] = value
    return values


def read_text(reader: BoundedReader, what: str, limit_bytes: int) -> str:
    """A string after its length in 8 bytes.

    Raises:
        InvalidError: It is longer than the limit or the file, or not UTF-8.
    """
    length = reader.u64(f"the length of {what}")
    if length > limit_bytes:
        reader.fail(f"{what} is {length:,} bytes long, expected at most {limit_bytes:,}")
    try:
        return reader.take(length, what).decode()
    except UnicodeDecodeError:
        reader.fail(f"{what} is not UTF-8 text")


def _read_value(reader: BoundedReader, key: str, strings_left: int, with_tokens: bool) -> Value:
    what = f"the value of key {key[:80]!r}"
    kind = _value_type(reader, what)
    if kind is ValueType.STRING:
        return Value(kind, read_text(reader, what, _STRING_LIMIT_BYTES))
    if kind is not ValueType.ARRAY:
        (value,) = _scalars(reader, kind, 1, what)
        return Value(kind, value)
    item_kind = _value_type(reader, what)
    count = reader.u64(what)
    if item_kind is ValueType.ARRAY:
        reader.fail(f"{what} is an array of arrays, which no model needs")
    if item_kind is ValueType.STRING:
        return Value(kind, _strings(reader, what, count, strings_left, are_tokens=with_tokens and key == _TOKENS))
    return Value(kind, _numbers(reader, what, item_kind, count, are_types=with_tokens and key == _KINDS_OF_TOKENS))


def _value_type(reader: BoundedReader, what: str) -> ValueType:
    number = reader.u32(what)
    if number > max(ValueType):
        reader.fail(f"{what} has type {number}, expected 0 to {max(ValueType)}")
    return ValueType(number)


def _scalars(reader: BoundedReader, kind: ValueType, count: int, what: str) -> tuple[Scalar, ...]:
    form = SCALARS[kind]
    items = struct.unpack(f"<{count}{form.format[-1]}", reader.take(count * form.size, what))
    if kind is not ValueType.BOOL:
        return items
    wrong = next((item for item in items if item not in (0, 1)), None)
    if wrong is not None:
        reader.fail(f"{what} should be a bool, 0 or 1, and is {wrong}")
    return tuple(map(bool, items))


def _numbers(reader: BoundedReader, what: str, kind: ValueType, count: int, *, are_types: bool) -> Array:
    width = SCALARS[kind].size
    if count * width > reader.left_bytes:
        reader.fail(f"{what} should hold {count:,} items, more than the file has room for")
    if are_types and kind is ValueType.INT32:
        if count > _ARRAY_STRINGS_LIMIT:
            reader.fail(f"{what} should hold {count:,} items, expected at most {_ARRAY_STRINGS_LIMIT:,}")
        types = _scalars(reader, kind, count, what)
        return Array(kind, count, None, bytes_at=frozenset(at for at, item in enumerate(types) if item == _BYTE_TYPE))
    if count > _KEPT_ARRAY_ITEMS:
        reader.skip(count * width, what)
        return Array(kind, count, None)
    return Array(kind, count, _scalars(reader, kind, count, what))


def _strings(reader: BoundedReader, what: str, count: int, strings_left: int, *, are_tokens: bool) -> Array:
    if count > strings_left:
        reader.fail(f"{what} should hold {count:,} strings; all arrays together may hold {_ARRAY_STRINGS_LIMIT:,}")
    if are_tokens:
        found = reader.sized_strings(count, what, kept=_token)
        bytes_at = frozenset(at for at, item in enumerate(found) if len(item) == 6 and _BYTE_TOKEN.fullmatch(item))
        return Array(ValueType.STRING, count, None, len(set(found)) < count, bytes_at)
    if count > _KEPT_ARRAY_ITEMS:
        reader.sized_strings(count, what, kept=None)
        return Array(ValueType.STRING, count, None)
    short = reader.sized_strings(count, what, kept=lambda item: item[:_KEPT_STRING_BYTES])
    return Array(ValueType.STRING, count, tuple(item.decode("utf-8", "replace") for item in short))


def _token(raw: bytes) -> bytes:
    """A token, or a digest in its place: they are only compared, and there may be long ones on purpose."""
    return raw if len(raw) <= _KEPT_STRING_BYTES else hashlib.sha256(raw).digest() * 9

"""Protocol Buffers' wire format, as far as the messages here need it: written and read field by field. Pure.

Source: https://protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

Value = int | bytes

_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5
_LONGEST_VARINT_BYTES = 10
_SIGN, _WRAP = 1 << 63, 1 << 64


def varint(number: int) -> bytes:
    """A number of any sign, as fields and lengths have it."""
    left = number % _WRAP
    made = bytearray()
    while left > 0x7F:
        made.append(left & 0x7F | 0x80)
        left >>= 7
    made.append(left)
    return bytes(made)


def field(number: int, value: bytes | str) -> bytes:
    """A field of bytes, a text or a message; one that is repeated is written once for each."""
    content = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | _LENGTH) + varint(len(content)) + content


def packed(number: int, values: Iterable[int]) -> bytes:
    """A repeated field of whole numbers."""
    return field(number, b"".join(varint(value) for value in values))


def fields(message: bytes) -> Iterator[tuple[int, Value]]:
    """Number and value of each field, in the order in which they stand; a number is as it is without its sign.

    Raises:
        ValueError: It is no message.
    """
    at, end = 0, len(message)
    while at < end:
        tag, at = _read_varint(message, at)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            value, at = _read_varint(message, at)
            yield number, value
            continue
        if kind == _LENGTH:
            size, at = _read_varint(message, at)
        elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
            size = 8 if kind == _EIGHT_BYTES else 4
        else:
            raise ValueError(f"field {number} has the wire type {kind}")
        if size > end - at:
            raise ValueError(f"field {number} ends after the message")
        yield number, message[at : at + size]
        at += size


def message_in(value: Value) -> bytes:
    """A field that has to be bytes or a message.

    Raises:
        ValueError: It is a number.
    """
    if not isinstance(value, bytes):
        raise ValueError("a number stands where a message is expected")
    return value


def text_in(value: Value) -> str:
    """A field that has to be a text.

    Raises:
        ValueError: It is none.
    """
    return message_in(value).decode()


def numbers_in(value: Value) -> list[int]:
    """The whole numbers, with their signs, of one occurrence of a field: many where it is packed, else one.

    Raises:
        ValueError: It is cut off.
    """
    if isinstance(value, int):
        return [_signed(value)]
    found, at = [], 0
    while at < len(value):
        one, at = _read_varint(value, at)
        found.append(_signed(one))
    return found


def _signed(number: int) -> int:
    return number - _WRAP if number >= _SIGN else number


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    number = 0
    for index, byte in enumerate(message[at : at + _LONGEST_VARINT_BYTES]):
        number |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return number % _WRAP, at + index + 1
    raise ValueError("a number does not end")

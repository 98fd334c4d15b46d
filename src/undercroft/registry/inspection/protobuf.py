"""Walks the wire format of Protocol Buffers without decoding more than asked for.

Source: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, NoReturn

from undercroft.registry.inspection.reading import refuse

_VARINT_LIMIT_BYTES = 10
_LENGTH_LIMIT = 2**63


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a message.

    Args:
        number: Its tag.
        wire: 0 varint, 1 eight bytes, 2 length-delimited, 5 four bytes.
        value: Of a varint; else 0.
        begin: Where its content lies in the file.
        end: Where that ends.
    """

    number: int
    wire: int
    value: int
    begin: int
    end: int


class ProtobufFile:
    """An untrusted message in a file.

    Args:
        file: Open, unbuffered or not; read by seeking.
        size_bytes: Of the file.
        name: What to call it in errors.
        code: Error code of everything that is wrong with it.
        what: What it should be.
        fields_limit: More fields than this, over all walks, are refused.
    """

    def __init__(self, file: BinaryIO, size_bytes: int, *, name: str, code: str, what: str, fields_limit: int) -> None:
        self._file = file
        self.size_bytes = size_bytes
        self._name, self._code, self._what = name, code, what
        self._fields_left = fields_limit

    def fail(self, problem: str) -> NoReturn:
        """Refuses the file."""
        refuse(self._code, self._what, self._name, problem)

    def fields(self, begin: int, end: int) -> Iterator[Field]:
        """The fields of the message between two offsets.

        Raises:
            InvalidError: A field reaches past the end, is of an unknown kind, or there are too many.
        """
        at = begin
        while at < end:
            self._fields_left -= 1
            if self._fields_left < 0:
                self.fail("it has more fields than any model needs")
            tag, at = self._varint(at, end)
            number, wire = tag >> 3, tag & 7
            if not 1 <= number < 2**29:
                self.fail(f"a field at byte {at:,} has the number {number}")
            value = 0
            if wire == 0:
                value, stop = self._varint(at, end)
            elif wire == 2:
                length, at = self._varint(at, end)
                if length >= _LENGTH_LIMIT:
                    self.fail(f"field {number} at byte {at:,} has a length that is not possible")
                stop = at + length
            elif wire in (1, 5):
                stop = at + (8 if wire == 1 else 4)
            else:
                self.fail(f"field {number} at byte {at:,} has the unknown wire type {wire}")
            if stop > end:
                self.fail(f"field {number} at byte {at:,} ends at byte {stop:,}, past its message's end at {end:,}")
            yield Field(number, wire, value, at, stop)
            at = stop

    def text(self, field: Field, limit_bytes: int) -> str:
        """A field's content as text.

        Raises:
            InvalidError: It is not text, or longer than the limit.
        """
        if field.wire != 2 or field.end - field.begin > limit_bytes:
            self.fail(f"field {field.number} at byte {field.begin:,} is not a text of up to {limit_bytes:,} bytes")
        try:
            return self.read(field.begin, field.end - field.begin).decode()
        except UnicodeDecodeError:
            self.fail(f"field {field.number} at byte {field.begin:,} is not UTF-8 text")

    def read(self, begin: int, count: int) -> bytes:
        self._file.seek(begin)
        return self._file.read(count)

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        raw = self.read(at, min(_VARINT_LIMIT_BYTES, end - at))
        value = 0
        for number, byte in enumerate(raw):
            value |= (byte & 0x7F) << (7 * number)
            if byte < 0x80:
                return value & (2**64 - 1), at + number + 1
        self.fail(f"a number at byte {at:,} does not end")

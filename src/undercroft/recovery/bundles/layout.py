"""How a bundle lies in its file: an uncompressed tar of ordinary files, in one way only. Pure.

Every header follows from the manifest, bit by bit, so a reader never interprets one that somebody else wrote: it
compares. What is not as it would write it itself is refused, which leaves no room for links, devices, a path that leads
out, a name that stands twice, or bytes between the entries and after them.

Source:
    POSIX.1-2017, pax, ``ustar`` interchange format; sizes of 8 GiB and more in base 256, as GNU tar writes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

BLOCK_BYTES = 512
END = bytes(2 * BLOCK_BYTES)
_NAME_BYTES, _PREFIX_BYTES = 100, 155
_OCTAL_LIMIT_BYTES = 8**11
_SIZE = slice(124, 136)
_KINDS = {"1": "a hard link", "2": "a link", "3": "a device", "4": "a device", "5": "a folder", "6": "a pipe"}


@dataclass(frozen=True, slots=True)
class Placed:
    """Where an entry lies.

    Args:
        path: Its name.
        size_bytes: Of its content.
        header_at: Offset of its header in the file, in bytes.
    """

    path: str
    size_bytes: int
    header_at: int

    @property
    def content_at(self) -> int:
        return self.header_at + BLOCK_BYTES

    @property
    def padding_bytes(self) -> int:
        return padding_bytes(self.size_bytes)


def padding_bytes(size_bytes: int) -> int:
    """Zeros after a content, up to the next block."""
    return -size_bytes % BLOCK_BYTES


def place(sizes: Sequence[tuple[str, int]], *, begin: int = 0) -> tuple[list[Placed], int]:
    """Where entries lie, and where the last one ends.

    Args:
        sizes: Path and bytes of each, in order.
        begin: Offset of the first one.
    """
    placed, at = [], begin
    for path, size_bytes in sizes:
        placed.append(Placed(path, size_bytes, at))
        at += BLOCK_BYTES + size_bytes + padding_bytes(size_bytes)
    return placed, at


def can_be_placed(path: str) -> bool:
    """Whether a path fits a header: ASCII, at most 100 bytes of name and 155 of folder."""
    folder, _, name = path.rpartition("/")
    return path.isascii() and 0 < len(name) <= _NAME_BYTES and len(folder) <= _PREFIX_BYTES


def header(path: str, size_bytes: int) -> bytes:
    """The one header that a content of this path and size has.

    Args:
        path: One that `can_be_placed`.
        size_bytes: At least 0.
    """
    folder, _, name = path.rpartition("/")
    fields = [
        name.encode().ljust(_NAME_BYTES, b"\0"),
        b"0000644\0" + b"0000000\0" * 2,
        _size_field(size_bytes),
        b"00000000000\0",  # no time: equal content is an equal file
        b" " * 8,
        b"0" + bytes(100) + b"ustar\x0000" + bytes(64) + b"0000000\0" * 2,
        folder.encode().ljust(_PREFIX_BYTES, b"\0"),
    ]
    block = b"".join(fields).ljust(BLOCK_BYTES, b"\0")
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def _size_field(size_bytes: int) -> bytes:
    if size_bytes < _OCTAL_LIMIT_BYTES:
        return b"%011o\0" % size_bytes
    return b"\x80" + size_bytes.to_bytes(11, "big")


def size_in(block: bytes) -> int | None:
    """The size that a header says; None where it says none. For the first entry only, and compared afterwards."""
    field = block[_SIZE]
    digits = field[:11]
    is_octal = field[11:] == b"\0" and digits.isdigit() and not set(digits) & set(b"89")
    return int(digits, 8) if is_octal else None


def difference(block: bytes, path: str) -> str:
    """What stands where the header of a path was expected, in words."""
    if len(block) < BLOCK_BYTES:
        return f"it ends where {path!r} was expected"
    kind = _KINDS.get(chr(block[156]))
    name = bytes(block[:_NAME_BYTES]).split(b"\0")[0].decode("ascii", "replace")
    folder = bytes(block[345:500]).split(b"\0")[0].decode("ascii", "replace")
    found = f"{folder}/{name}" if folder else name
    if kind is not None:
        return f"it holds {kind}, {found[:80]!r}, where the file {path!r} was expected"
    if found != path:
        return f"it holds {found[:80]!r} where {path!r} was expected"
    return f"the entry of {path!r} is not as its manifest says"


def pieces(size_bytes: int, piece_bytes: int) -> Iterator[int]:
    """Lengths that a content is read in."""
    for begin in range(0, size_bytes, piece_bytes):
        yield min(piece_bytes, size_bytes - begin)

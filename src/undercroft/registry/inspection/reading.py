"""Reads an untrusted file forward, never past its end, in windows of bounded size."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Protocol

from undercroft.core.errors import InvalidError

_WINDOW_BYTES = 1024 * 1024
_LIST_STRING_LIMIT_BYTES = 1024 * 1024
_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")


def refuse(code: str, what: str, name: str, problem: str) -> NoReturn:
    """Ends an inspection.

    Args:
        code: ``bad-gguf`` and the like.
        what: What the file should have been: ``GGUF file``.
        name: The file as its owner knows it; it may hold anything, so it is shown quoted and cut.
        problem: What is wrong with it.

    Raises:
        InvalidError: Always.
    """
    raise InvalidError(
        code,
        f"{name[-120:]!r} is not a usable {what}: {problem}",
        hint="get the file again from where it came; if it is whole there, it is not safe to load",
    )


class RemoteBytes(Protocol):
    """Bytes that lie elsewhere and are fetched in pieces."""

    @property
    def size_bytes(self) -> int:
        """All of them."""

    def read_at(self, offset: int, count: int) -> bytes:
        """Bytes from an offset on; fewer than asked for at the end, or where no more are given at once."""


class _FileBytes:
    """An ordinary file as `RemoteBytes`."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb", buffering=0)
        self.size_bytes = self._file.seek(0, 2)

    def read_at(self, offset: int, count: int) -> bytes:
        self._file.seek(offset)
        return self._file.read(count) or b""

    def close(self) -> None:
        self._file.close()


class BoundedReader:
    """A file that is read forward.

    It is read, not mapped: a file that shrinks while it is looked at must be an error here, not a SIGBUS.

    Args:
        path: An ordinary file, or bytes elsewhere.
        name: What to call it in errors.
        code: Error code of everything that is wrong with it.
        what: What it should be.
        limit_bytes: Nothing is read past this, however long the file is.
    """

    def __init__(self, path: Path | RemoteBytes, *, name: str, code: str, what: str, limit_bytes: int) -> None:
        self._own: _FileBytes | None = None
        self._bytes: RemoteBytes
        if isinstance(path, Path):
            self._bytes = self._own = _FileBytes(path)
        else:
            self._bytes = path
        self.size_bytes = self._bytes.size_bytes
        self._end = min(self.size_bytes, limit_bytes)
        self._is_limited = self._end < self.size_bytes
        self._name, self._code, self._what = name, code, what
        self._window = b""
        self._start = 0  # offset of the window in the file
        self._at = 0  # position inside the window

    def __enter__(self) -> BoundedReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._own is not None:
            self._own.close()

    @property
    def position(self) -> int:
        """Offset of the next byte."""
        return self._start + self._at

    @property
    def left_bytes(self) -> int:
        """Bytes that may still be read."""
        return self._end - self.position

    def fail(self, problem: str) -> NoReturn:
        """Refuses the file."""
        refuse(self._code, self._what, self._name, problem)

    def take(self, count: int, what: str) -> bytes:
        """The next ``count`` bytes.

        Raises:
            InvalidError: They reach past the end.
        """
        self._need(count, what)
        piece = self._window[self._at : self._at + count]
        self._at += count
        return piece

    def skip(self, count: int, what: str) -> None:
        """Passes over ``count`` bytes without reading them."""
        self._check(count, what)
        self._at += count
        if self._at > len(self._window):
            self._start, self._at, self._window = self.position, 0, b""

    def u32(self, what: str) -> int:
        return int(_U32.unpack(self.take(4, what))[0])

    def u64(self, what: str) -> int:
        return int(_U64.unpack(self.take(8, what))[0])

    def sized_strings(self, count: int, what: str, *, kept: Callable[[bytes], bytes] | None) -> list[bytes]:
        """``count`` strings, each after its length in 8 bytes. A vocabulary has hundreds of thousands of them.

        Args:
            kept: What to return of each; None returns an empty list.
        """
        if count * 8 > self.left_bytes:
            self.fail(f"{what} should hold {count:,} strings, more than the file has room for")
        strings: list[bytes] = []
        unpack = _U64.unpack_from
        window, at, have = self._window, self._at, len(self._window)
        for _ in range(count):
            if at + 8 > have:
                self._at = at
                self._need(8, what)
                window, at, have = self._window, self._at, len(self._window)
            end = at + 8 + unpack(window, at)[0]
            if end > have:
                self._at = at
                if end - at - 8 > _LIST_STRING_LIMIT_BYTES:
                    self.fail(f"{what} has a string of {end - at - 8:,} bytes, more than {_LIST_STRING_LIMIT_BYTES:,}")
                self._need(end - at, what)
                window, end, have = self._window, self._at + end - at, len(self._window)
                at = self._at
            if kept is not None:
                strings.append(kept(window[at + 8 : end]))
            at = end
        self._at = at
        return strings

    def _check(self, count: int, what: str) -> None:
        if count > self.left_bytes:
            place = "the largest header that is read" if self._is_limited else "the end of the file"
            self.fail(f"{what} at byte {self.position:,} needs {count:,} bytes, past {place} at byte {self._end:,}")

    def _need(self, count: int, what: str) -> None:
        if self._at + count <= len(self._window):
            return
        self._check(count, what)
        self._start, self._at = self.position, 0
        wanted, at = min(max(count, _WINDOW_BYTES), self._end - self._start), self._start
        parts = []
        while wanted and (part := self._bytes.read_at(at, wanted)):
            parts.append(part)
            wanted, at = wanted - len(part), at + len(part)
        self._window = b"".join(parts)
        if len(self._window) < count:
            self.fail(f"it became shorter while it was read, at byte {self._start + len(self._window):,}")

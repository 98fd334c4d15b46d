"""What an engine prints: kept in a rotating file, and read again when somebody asks why it failed."""

from __future__ import annotations

import os
from pathlib import Path

FILE_BYTES = 10 * 1024 * 1024
FILES = 3


class RotatingLog:
    """An append-only file that is renamed to ``NAME.1`` (and that to ``NAME.2``) when it is full.

    Args:
        path: The file; its folder exists.
        file_bytes: Size at which it is renamed.
        files: Files kept, the one that is written included.
    """

    def __init__(self, path: Path, *, file_bytes: int = FILE_BYTES, files: int = FILES) -> None:
        self._path = path
        self._file_bytes = file_bytes
        self._files = files
        self._descriptor = self._open()

    def write(self, output: bytes) -> None:
        """Appends. A full disk loses output, never the engine."""
        try:
            os.write(self._descriptor, output)
            if os.fstat(self._descriptor).st_size >= self._file_bytes:
                self._rotate()
        except OSError:
            return

    def close(self) -> None:
        os.close(self._descriptor)

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def _rotate(self) -> None:
        # Two replicas may write one file: whoever comes second finds that it was renamed already.
        if self._is_current():
            for number in range(self._files - 1, 0, -1):
                older = self._numbered(number - 1)
                if older.exists():
                    older.replace(self._numbered(number))
            if self._files == 1:
                self._path.unlink(missing_ok=True)
        os.close(self._descriptor)
        self._descriptor = self._open()

    def _is_current(self) -> bool:
        try:
            return os.stat(self._path).st_ino == os.fstat(self._descriptor).st_ino
        except FileNotFoundError:
            return False

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}") if number else self._path


def starting_line(replica_id: str) -> str:
    """What separates one replica's output from that of the one before it in the same file."""
    return f"undercroft: {replica_id} starts"


def output_of(path: Path, replica_id: str, *, limit_bytes: int = 64 * 1024) -> str:
    """The last output of a replica; empty where there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - limit_bytes))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    return text.rpartition(starting_line(replica_id))[2]

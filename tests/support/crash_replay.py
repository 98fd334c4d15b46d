"""Does to the model of a disk what system calls did to the real one."""

from __future__ import annotations

from pathlib import Path

from tests.support.crash_model import Disk
from tests.support.system_calls import SystemCall


class Replay:
    """System calls that are done again.

    Args:
        disk: To which.
    """

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self._read: dict[Path, int] = {}  # how far files were read that are copied piece by piece

    def apply(self, call: SystemCall) -> bool:
        """Does one; whether it has changed anything that a crash may take."""
        before = self.disk.changes
        match call.name:
            case "open" | "openat" | "creat":
                self._open(call)
            case "lseek":
                self.disk.seek(call.path(0), call.result)
            case "write" | "writev":
                self.disk.write(call.path(0), call.content(1))
            case "pwrite64" | "pwritev" | "pwritev2":
                self.disk.write(call.path(0), call.content(1), int(call.arguments[3]))
            case "copy_file_range" | "sendfile" | "ioctl":
                self._copy(call)
            case "ftruncate" | "truncate":
                self.disk.resize(call.path(0), int(call.arguments[1]))
            case "fallocate":
                if call.arguments[1] == "0":
                    self.disk.resize(call.path(0), int(call.arguments[2]) + int(call.arguments[3]), is_least=True)
            case "fsync" | "fdatasync":
                self.disk.sync(call.path(0))
            case _:
                self._name(call)
        return self.disk.changes != before

    def _open(self, call: SystemCall) -> None:
        at = 1 if call.name == "openat" else 0
        flags = "O_CREAT|O_TRUNC" if call.name == "creat" else call.arguments[at + 1]
        path = call.opened or call.path(at)
        if path is None or "O_TMPFILE" in flags:
            return
        self.disk.open(path, is_made="O_CREAT" in flags, is_emptied="O_TRUNC" in flags)
        self.disk.seek(path, -1 if "O_APPEND" in flags else 0)
        self._read[path] = 0

    def _copy(self, call: SystemCall) -> None:
        """Bytes that go from one file into another inside the kernel."""
        if call.name == "ioctl":
            source = call.path(2) if "FICLONE" in call.arguments[1] else None
            if source is not None:
                self.disk.write(call.path(0), self.disk.content(source), 0)
            return
        read, write = (0, 2) if call.name == "copy_file_range" else (1, 0)
        source = call.path(read)
        if source is not None and self.disk.position(call.path(write)) is not None:
            begin = self._read.get(source, 0)
            self._read[source] = begin + call.result
            self.disk.write(call.path(write), self.disk.content(source)[begin : begin + call.result])

    def _name(self, call: SystemCall) -> None:
        if (names := renamed(call)) is not None:
            self.disk.rename(*names, is_link=call.name.startswith("link"))
            return
        match call.name:
            case "mkdir":
                self.disk.make_folder(call.path(0))
            case "mkdirat":
                self.disk.make_folder(call.path_at(0, 1))
            case "unlink" | "rmdir":
                self.disk.remove(call.path(0))
            case "unlinkat":
                self.disk.remove(call.path_at(0, 1))
            case _:
                raise AssertionError(f"the model does not know {call.name}{call.arguments}")


def renamed(call: SystemCall) -> tuple[Path, Path] | None:
    """The old name and the new one where a call gives a file a name; else None."""
    if call.name in ("rename", "link"):
        old, new = call.path(0), call.path(1)
        assert old is not None
        assert new is not None
        return old, new
    return (call.path_at(0, 1), call.path_at(2, 3)) if call.name in ("renameat", "renameat2", "linkat") else None

"""The system calls by which a program changes files, as strace sees them, in their order and with what was written."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

# Calls that change files, folders, or what of them is durable. What is written through a memory map is not seen.
TRACED = (
    "open,openat,creat,lseek,write,pwrite64,writev,pwritev,pwritev2,copy_file_range,sendfile,ioctl,fallocate,"
    "truncate,ftruncate,rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,unlinkat,mkdir,mkdirat,rmdir,"
    "fsync,fdatasync"
)
_LONGEST_STRING_BYTES = 64 * 1024**2
_CALL = re.compile(r"(?P<name>\w+)\((?P<arguments>.*)\) += (?P<result>-?\d+)(?P<after>.*)", re.DOTALL)
_UNFINISHED = " <unfinished ...>"
_RESUMED = re.compile(r"<\.\.\. \w+ resumed>(.*)", re.DOTALL)
_HEX = re.compile(r"\\x([0-9a-f]{2})")
_WORD = re.compile(r'(?P<number>-?\d+|AT_FDCWD)?(?:<(?P<path>[^>]*)>(?P<deleted>\(deleted\))?)|"(?P<text>[^"]*)"')


@dataclass(frozen=True, slots=True)
class SystemCall:
    """One that succeeded.

    Args:
        process: Number of the process or thread that made it.
        name: As the kernel calls it.
        arguments: As strace writes them.
        result: What it returned.
        opened: The path behind a descriptor that it returned; None where it returned none.
    """

    process: str
    name: str
    arguments: tuple[str, ...]
    result: int
    opened: Path | None

    def path(self, index: int) -> Path | None:
        """The path behind a descriptor or in a string.

        Returns:
            None where the descriptor is no file with a name: a pipe, a socket, or a file that was removed.
        """
        match = _WORD.match(self.arguments[index])
        if match is None or match["deleted"]:
            return None
        text = _decoded(match["text"] if match["text"] is not None else match["path"]).decode()
        has_name = match["text"] is not None or (text.startswith("/") and not text.endswith(" (deleted)"))
        return Path(text) if has_name else None

    def path_at(self, folder: int, index: int) -> Path:
        """The path in a string that is relative to a folder's descriptor."""
        base, path = self.path(folder), self.path(index)
        assert path is not None
        return path if base is None else base / path

    def descriptor(self, index: int) -> int:
        """The number of a descriptor."""
        return int(self.arguments[index].partition("<")[0])

    def content(self, index: int) -> bytes:
        """The bytes of a string, or of the pieces of a vector, as many as the call says that it wrote."""
        return b"".join(map(_decoded, re.findall(r'"([^"]*)"', self.arguments[index])))[: self.result]


def _decoded(text: str) -> bytes:
    if text.startswith("\\x") and text.count("\\x") * 4 == len(text):
        return bytes.fromhex(text.replace("\\x", ""))
    return _HEX.sub(lambda match: chr(int(match[1], 16)), text).encode("latin-1")


def traced(
    command: Sequence[str | Path], log: Path, *, folder: Path, environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end, with every process that it starts, and keeps its system calls.

    Args:
        command: Its words.
        log: Where the calls are written.
        folder: Where it runs.
        environment: All of its environment.
    """
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed (Debian: strace), so nobody sees which system calls are made")
    words = ["strace", "-f", "--seccomp-bpf", "-qq", "-y", "-xx", "-s", str(_LONGEST_STRING_BYTES)]
    words += ["-e", f"trace={TRACED}", "-e", "signal=none", "-z", "-o", str(log), "--", *map(str, command)]
    result = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if result.returncode and "ptrace" in result.stderr:
        pytest.skip(f"nothing may be traced here: {result.stderr.strip()[:200]}")
    return result


def calls_of(log: Path) -> Iterator[SystemCall]:
    """The calls that succeeded, in the order in which they ended.

    Args:
        log: As `traced` wrote it.
    """
    begun: dict[str, str] = {}
    with log.open(encoding="ascii") as file:
        for line in file:
            process, _, text = line.rstrip("\n").partition(" ")
            text = text.lstrip()
            if text.endswith(_UNFINISHED):
                begun[process] = text.removesuffix(_UNFINISHED)
                continue
            if resumed := _RESUMED.match(text):
                text = begun.pop(process) + resumed[1]
            match = _CALL.fullmatch(text)
            if match is not None and int(match["result"]) >= 0:
                opened = _WORD.match(match["result"] + match["after"])
                path = Path(_decoded(opened["path"]).decode()) if opened is not None and opened["path"] else None
                arguments = tuple(re.split(r", (?![^\[{]*[\]}])", match["arguments"]))
                yield SystemCall(process, match["name"], arguments, int(match["result"]), path)

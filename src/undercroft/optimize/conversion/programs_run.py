"""Runs one of `programs` with the Python of an environment: order in, answer out, no network, gone when we are."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from undercroft.core.environment import clean_environment
from undercroft.core.errors import UnavailableError
from undercroft.environments.installed import Environment
from undercroft.optimize.jobs.room import LEAST_FREE_BYTES

PROGRAMS = Path(__file__).with_name("programs")
SEALED = "undercroft.optimize.sealed_program"
_PERCENT = re.compile(rb"Writing:\s+(\d+)%")
_TOLD_LINES = 6
_END_BYTES = 16 * 1024
_TEMPORARY = "temporary"
# What libraries of C, Rust and Python say where a disk, a quota or a limit lets no more be written.
_FULL = {
    errno.ENOSPC: re.compile(r"no space left on device|os error 28\b", re.IGNORECASE),
    errno.EDQUOT: re.compile(r"disk quota exceeded|os error 122\b", re.IGNORECASE),
    errno.EFBIG: re.compile(r"file too large|os error 27\b", re.IGNORECASE),
}

Percent = Callable[[int], None]
Hear = Callable[[dict[str, Any]], None]


def run_program(
    environment: Environment,
    program: str,
    order: Mapping[str, Any],
    *,
    folder: Path,
    programs: Path = PROGRAMS,
    percent: Percent = lambda done: None,
    hear: Hear = lambda event: None,
) -> dict[str, Any]:
    """Runs a program to its end.

    Args:
        environment: Whose Python.
        program: Its name in ``programs``.
        order: What it is told; JSON.
        folder: Its home and working directory; ``PROGRAM.log`` with what it said is left there.
        programs: Folder of the program.
        percent: Told what its progress bar shows.
        hear: Told each line that it prints which is a JSON object with an ``event``, at once.

    Returns:
        What it answered.

    Raises:
        UnavailableError: ``program-failed``: it ended in an error, was killed, or answered nothing.
        OSError: The disk is full.
    """
    told = _Told(folder / f"{program}.log")
    (folder / _TEMPORARY).mkdir(exist_ok=True)
    sealed = [sys.executable, "-P", "-m", SEALED, str(os.getpid())]
    command = [*sealed, str(environment.python), "-P", str(programs / f"{program}.py")]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=_environment(folder),
        cwd=folder,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        reader = threading.Thread(target=_follow, args=(process.stderr, told, percent))
        reader.start()
        try:
            with contextlib.suppress(BrokenPipeError):  # it ended before it read all; its own words say why
                process.stdin.write(json.dumps(order).encode())
                process.stdin.close()
            said = _heard(process.stdout, hear)
            process.wait()
        except BaseException:
            process.kill()
            raise
        finally:
            reader.join()
            told.close()
            free_bytes = shutil.disk_usage(folder).free
            shutil.rmtree(folder / _TEMPORARY, ignore_errors=True)
    if process.returncode == 0 and said is not None:
        return said
    raise failed(program, process.returncode, told.end, free_bytes=free_bytes)


def _heard(stream: IO[bytes], hear: Hear) -> dict[str, Any] | None:
    """The answer, which is the last line; events before it are handed on as they come."""
    answer: dict[str, Any] | None = None
    for line in stream:
        try:
            found = json.loads(line)
        except ValueError:
            found = None
        if isinstance(found, dict) and "event" in found:
            hear(found)
        else:
            answer = found if isinstance(found, dict) else None
    return answer


def _environment(folder: Path) -> dict[str, str]:
    """Nothing of the user's; whatever asks for a hub is told that there is none."""
    return {
        **clean_environment(),
        "HOME": str(folder),
        "TMPDIR": str(folder / _TEMPORARY),
        "HF_HOME": str(folder / "hub"),
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "8",  # else torch keeps what it prepared for each shape: 600 MB a minute
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUTF8": "1",
    }


class _Told:
    """What a program says: all of it in a file as far as the disk has room, the end of it here.

    Args:
        path: Of the file.
    """

    def __init__(self, path: Path) -> None:
        self._file = open(path, "wb", buffering=0)  # noqa: SIM115  (closed by `close`)
        self.end = b""

    def add(self, piece: bytes) -> None:
        """A full disk ends the file, and not the reading, for which the program would wait."""
        self.end = (self.end + piece)[-_END_BYTES:]
        with contextlib.suppress(OSError):
            self._file.write(piece)

    def close(self) -> None:
        self._file.close()


def _follow(stream: IO[bytes], told: _Told, percent: Percent) -> None:
    """Keeps what a program says, and reads its progress bar."""
    shown = -1
    while piece := stream.read1(65536):  # type: ignore[attr-defined]  # a pipe's stream is buffered
        told.add(piece)
        found = _PERCENT.findall(piece)
        if found and int(found[-1]) != shown:
            shown = int(found[-1])
            percent(shown)


def failed(program: str, status: int, said: bytes, *, free_bytes: int) -> Exception:
    """Why a program has failed. Pure.

    Args:
        program: Its name.
        status: Its exit status, or the negative number of the signal that ended it.
        said: The end of what it said.
        free_bytes: Of the disk that it wrote to, when it had ended.

    Returns:
        An `OSError` where the disk was full, else ``program-failed``.
    """
    text = said.decode("utf-8", errors="replace")
    full = next((number for number, words in _FULL.items() if words.search(text)), None)
    if status == -signal.SIGXFSZ:
        full = errno.EFBIG
    elif full is None and (status == -signal.SIGBUS or free_bytes < LEAST_FREE_BYTES):
        full = errno.ENOSPC  # a file that is mapped gets that signal where its disk or quota has no page left
    if full is not None:
        return OSError(full, os.strerror(full), program)
    if status == -signal.SIGKILL:
        return UnavailableError(
            "program-failed",
            f"{program} was killed, as the kernel does where memory runs out",
            hint="undercroft hardware shows what this machine has; choose a smaller model or a larger machine",
        )
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    shown = "\n  ".join(lines[-_TOLD_LINES:])
    return UnavailableError("program-failed", f"{program} ended with status {status}:\n  {shown or 'it said nothing'}")

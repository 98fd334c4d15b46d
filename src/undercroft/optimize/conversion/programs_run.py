"""Runs one of `programs` with the Python of an environment: order in, answer out, no network, gone when we are."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from undercroft.core.environment import clean_environment
from undercroft.core.errors import UnavailableError
from undercroft.environments.installed import Environment

PROGRAMS = Path(__file__).with_name("programs")
SEALED = "undercroft.optimize.sealed_program"
_PERCENT = re.compile(rb"Writing:\s+(\d+)%")
_TOLD_LINES = 6
_SIGNAL_KILL = -9

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
    """
    log = folder / f"{program}.log"
    command = [sys.executable, "-P", "-m", SEALED, str(environment.python), "-P", str(programs / f"{program}.py")]
    with (
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_environment(folder),
            cwd=folder,
        ) as process,
        open(log, "wb") as told,
    ):
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
    if process.returncode == 0 and said is not None:
        return said
    raise _failed(program, process.returncode, log)


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
        "HF_HOME": str(folder / "hub"),
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "8",  # else torch keeps what it prepared for each shape: 600 MB a minute
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUTF8": "1",
    }


def _follow(stream: IO[bytes], log: IO[bytes], percent: Percent) -> None:
    """Copies what a program says into its log, and reads its progress bar."""
    shown = -1
    while piece := stream.read1(65536):  # type: ignore[attr-defined]  # a pipe's stream is buffered
        log.write(piece)
        found = _PERCENT.findall(piece)
        if found and int(found[-1]) != shown:
            shown = int(found[-1])
            percent(shown)


def _failed(program: str, status: int, log: Path) -> UnavailableError:
    if status == _SIGNAL_KILL:
        return UnavailableError(
            "program-failed",
            f"{program} was killed, as the kernel does where memory runs out",
            hint="undercroft hardware shows what this machine has; choose a smaller model or a larger machine",
        )
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    told = "\n  ".join(lines[-_TOLD_LINES:])
    return UnavailableError("program-failed", f"{program} ended with status {status}:\n  {told or 'it said nothing'}")

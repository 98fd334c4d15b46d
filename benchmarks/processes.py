"""Starting what a benchmark needs, waiting until it answers, and leaving nothing behind."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks import machine

ROOT = Path(__file__).resolve().parents[1]
# Peers, models and what else takes time to make are kept here between runs.
KEPT = ROOT / ".benchmarks"

_POLL_SECONDS = 0.02
_STOP_SECONDS = 10.0


class MissingError(Exception):
    """Something that a benchmark needs is not there and cannot be had; the message says what and why."""


def free_port() -> int:
    """A TCP port on loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(port: int, path: str = "/v1/models") -> bool:
    """Whether an HTTP server on loopback answers a GET, whatever it says."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2.0)
    try:
        connection.request("GET", path)
        connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True


def wait_until(is_so: Callable[[], bool], what: str, *, seconds: float) -> None:
    """Polls.

    Raises:
        MissingError: It did not become so in time.
    """
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            raise MissingError(f"{what} after {seconds:g} s")
        time.sleep(_POLL_SECONDS)


@contextlib.contextmanager
def started(
    command: Sequence[str | Path],
    *,
    is_ready: Callable[[], bool],
    cores: set[int],
    environment: Mapping[str, str] | None = None,
    seconds: float = 20.0,
) -> Iterator[int]:
    """A program that runs, pinned, as long as the block; gives its process id.

    Args:
        command: What to run.
        is_ready: Asked until it says yes.
        cores: Where it may run.
        environment: All of its environment; None is ours.
        seconds: Longest wait for it.

    Raises:
        MissingError: It ended, or was not ready in time; with the end of what it said.
    """
    name = Path(command[0]).name
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=ROOT,
            start_new_session=True,
        )
        machine.pin([process.pid], cores)
        try:
            wait_until(lambda: process.poll() is not None or is_ready(), f"{name} does not answer", seconds=seconds)
            if process.poll() is not None:
                raise MissingError(f"{name} ended with status {process.returncode}: {_tail(output.fileno())}")
            machine.pin(machine.tree(process.pid), cores)
            yield process.pid
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_SECONDS)
            return


def _tail(descriptor: int) -> str:
    size = os.fstat(descriptor).st_size
    text = os.pread(descriptor, 2000, max(0, size - 2000)).decode(errors="replace").strip()
    return text.splitlines()[-1] if text else "it said nothing"

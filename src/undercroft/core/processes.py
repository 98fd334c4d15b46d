"""Which process is it really: a pid alone is reused, a pid with its start time is not."""

from __future__ import annotations

import ctypes
import os
import signal
from dataclasses import dataclass
from pathlib import Path

import psutil

_PROC = Path("/proc")
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """A process that cannot be mistaken for a later one with the same pid.

    Args:
        pid: Process id.
        started: Start time as the operating system counts it; seconds, on Linux since the machine's start, so that
            setting the clock changes nothing.
    """

    pid: int
    started: float

    def is_alive(self) -> bool:
        """Whether that very process still runs; a zombie does not."""
        seen = _look(self.pid)
        return seen is not None and seen[0] == self.started and not seen[1]

    def send(self, number: signal.Signals) -> bool:
        """Sends a signal; False where the process is gone."""
        if not self.is_alive():
            return False
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return False
        return True


def identify(pid: int) -> ProcessIdentity | None:
    """The identity of a running process, or None where there is none with that pid."""
    seen = _look(pid)
    return None if seen is None else ProcessIdentity(pid, seen[0])


def _look(pid: int) -> tuple[float, bool] | None:
    """Start time, and whether it is a zombie; None where there is no such process."""
    if (_PROC / "self" / "stat").exists():
        try:
            # The name, in parentheses, may hold anything; the state follows it, the start time is field 22 of all.
            fields = (
                (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            )
        except OSError:
            return None
        return int(fields[19]) / os.sysconf("SC_CLK_TCK"), fields[0] in "ZX"
    try:
        process = psutil.Process(pid)
        return process.create_time(), process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return None


def die_with_parent(parent: int, number: signal.Signals = signal.SIGTERM) -> None:
    """Asks the kernel to send this process ``number`` when its parent ends. Linux; elsewhere it only looks for it now.

    Args:
        parent: Pid of the parent, as the parent said it. Where that has ended already, perhaps while this process
            began, nothing would ever be sent: this process ends at once.
        number: Which signal.
    """
    _prctl(_PR_SET_PDEATHSIG, int(number))
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def adopt_orphans() -> None:
    """Makes this process the parent of its descendants whose parent ended. Linux; elsewhere nothing happens."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if hasattr(libc, "prctl"):
        libc.prctl(option, value, 0, 0, 0)

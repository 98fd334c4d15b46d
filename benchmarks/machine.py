"""What this machine is, where a process may run on it, and what a process costs it. Linux."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Iterable
from pathlib import Path

import psutil

_NANOSECONDS = 1e-9


def facts() -> dict[str, str | int]:
    """What a reader needs to know to place a figure."""
    return {
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": psutil.virtual_memory().total,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_before": f"{os.getloadavg()[0]:.2f}",
    }


def _cpu_name() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def apart() -> tuple[set[int], set[int]]:
    """Cores for load and upstream, and the one core of the proxy; the same twice where there is one core only."""
    cores = sorted(os.sched_getaffinity(0))
    return (set(cores[:-1]), {cores[-1]}) if len(cores) > 1 else (set(cores), set(cores))


def pin(pids: Iterable[int], cores: set[int]) -> None:
    """Keeps all threads of these processes on these cores; one that is gone is passed over."""
    for pid in pids:
        with contextlib.suppress(OSError):
            for thread in os.listdir(f"/proc/{pid}/task"):
                os.sched_setaffinity(int(thread), cores)


def tree(pid: int) -> list[int]:
    """A process and all below it."""
    try:
        process = psutil.Process(pid)
        return [pid, *(child.pid for child in process.children(recursive=True))]
    except psutil.NoSuchProcess:
        return []


def cpu_seconds(pids: Iterable[int]) -> float:
    """CPU time that these processes have had, user and system, all threads.

    Source:
        ``/proc/PID/task/*/schedstat``, which counts nanoseconds; ``/proc/PID/stat`` counts hundredths of a second.
    """
    total = 0.0
    for pid in pids:
        with contextlib.suppress(OSError):
            for thread in os.listdir(f"/proc/{pid}/task"):
                text = Path(f"/proc/{pid}/task/{thread}/schedstat").read_text(encoding="ascii")
                total += int(text.split()[0]) * _NANOSECONDS
    return total


def memory_bytes(pid: int) -> int:
    """Memory of a process, with pages that several share counted in parts (PSS); 0 where it is gone."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def own_peak_memory_bytes() -> int:
    """The most memory that this process has had, pages of files that it looks at included.

    Source:
        ``VmHWM`` in ``/proc/self/status``. What ``wait4`` says of a child also counts the parent that it began as.
    """
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0

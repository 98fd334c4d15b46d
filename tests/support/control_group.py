"""A control group with a memory limit, where this system lets the test make one."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class MemoryGroup:
    """A group of processes with a limit.

    Args:
        folder: Of the group.
        is_second: Version 2 of control groups.
    """

    folder: Path
    is_second: bool

    @property
    def prefix(self) -> tuple[str, ...]:
        """Words before a command that make it, and all its children, a member."""
        return ("sh", "-c", f'echo $$ > {self.folder}/cgroup.procs && exec "$@"', "sh")

    def killed(self) -> int:
        """Processes that the kernel ended because the group was out of memory."""
        text = (self.folder / ("memory.events" if self.is_second else "memory.oom_control")).read_text()
        return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("oom_kill "))


@contextlib.contextmanager
def limited_memory(limit_bytes: int) -> Iterator[MemoryGroup | None]:
    """A group with that limit, removed in the end; None where none can be made."""
    is_second = (_ROOT / "cgroup.controllers").exists()
    folder = (_ROOT if is_second else _ROOT / "memory") / f"undercroft-test-{os.getpid()}"
    try:
        folder.mkdir()
        (folder / ("memory.max" if is_second else "memory.limit_in_bytes")).write_text(str(limit_bytes))
    except OSError:
        with contextlib.suppress(OSError):
            folder.rmdir()
        yield None
        return
    try:
        yield MemoryGroup(folder, is_second)
    finally:
        for _ in range(100):
            with contextlib.suppress(OSError):
                folder.rmdir()
                break
            time.sleep(0.05)

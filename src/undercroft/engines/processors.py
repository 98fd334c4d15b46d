"""How many threads an engine should compute with."""

from __future__ import annotations

import math
import os
from pathlib import Path

import psutil


def compute_threads() -> int:
    """Physical cores that this process may use: hyper-threads add nothing to matrix products; a container has fewer."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    physical = psutil.cpu_count(logical=False) or usable
    quota = _quota()
    return max(1, min(usable, physical, quota if quota is not None else usable))


def parse_quota(text: str) -> int | None:
    """Whole processors out of cgroup v2's ``cpu.max``: ``150000 100000`` is 2; None where it says ``max``."""
    quota, _, period = text.strip().partition(" ")
    return None if quota == "max" or not period else max(1, math.ceil(int(quota) / int(period)))


def _quota() -> int | None:
    try:
        return parse_quota(Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None

"""How much memory an engine takes now."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import psutil

from undercroft.core.processes import ProcessIdentity
from undercroft.engines.contract import EngineMemory


def used_memory(process: ProcessIdentity) -> EngineMemory | None:
    """What a process and its children take now; None where it is gone."""
    if not process.is_alive():
        return None
    try:
        family = psutil.Process(process.pid)
        members = [family, *family.children(recursive=True)]
    except psutil.Error:
        return None
    parts = [part for part in map(_of_one, members) if part is not None]
    if not parts:
        return None
    return EngineMemory(private_bytes=sum(p for p, _ in parts), file_bytes=sum(f for _, f in parts))


def parse_status(lines: Iterable[str]) -> tuple[int, int]:
    """Private and file-backed bytes out of ``/proc/PID/status``; what was swapped out still counts as private."""
    kilobytes = {}
    for line in lines:
        name, _, value = line.partition(":")
        if value.endswith("kB\n") or value.endswith("kB"):
            kilobytes[name] = int(value.split()[0])
    private = kilobytes.get("RssAnon", 0) + kilobytes.get("RssShmem", 0) + kilobytes.get("VmSwap", 0)
    return private * 1024, kilobytes.get("RssFile", 0) * 1024


def _of_one(process: psutil.Process) -> tuple[int, int] | None:
    status = Path(f"/proc/{process.pid}/status")
    try:
        if status.exists():
            return parse_status(status.read_text(encoding="utf-8", errors="replace").splitlines())
        return process.memory_info().rss, 0
    except (OSError, psutil.Error):
        return None

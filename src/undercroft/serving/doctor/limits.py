"""Limits of this shell that the server inherits: files, processes, locked memory, address space."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from undercroft.core.units import format_bytes
from undercroft.serving.doctor.findings import Check, Verdict, fine, warn
from undercroft.serving.doctor.scene import Scene

_FEW_FILES = 4096
_FEW_PROCESSES = 512
_LITTLE_LOCKED_BYTES = 64 * 1024**2


@dataclass(frozen=True, slots=True)
class Limit:
    """A line of ``/proc/PID/limits``; None is unlimited."""

    soft: int | None
    hard: int | None


def parse_limits(text: str) -> dict[str, Limit]:
    """``/proc/PID/limits``: name without "Max" → its limit."""
    found = {}
    for line in text.splitlines():
        match = re.match(r"Max (.+?)\s{2,}(\d+|unlimited)\s+(\d+|unlimited)", line)
        if match:
            soft, hard = (None if value == "unlimited" else int(value) for value in match.groups()[1:])
            found[match[1]] = Limit(soft, hard)
    return found


def judge_open_files(limits: Mapping[str, Limit], door_limits: Sequence[int | None]) -> list[Verdict]:
    """Whether there are enough file numbers for many clients; each connection takes two.

    Args:
        limits: Of this process; the server raises its own up to the hard one.
        door_limits: Soft ones of doors that run.
    """
    verdicts = []
    mend = "ulimit -n 65536 (systemd: LimitNOFILE=65536), then: undercroft down; undercroft up"
    own = limits.get("open files")
    if own and own.hard is not None and own.hard < _FEW_FILES:
        verdicts.append(warn(f"at most {own.hard} open files", mend))
    low = [limit for limit in door_limits if limit is not None and limit < _FEW_FILES]
    if low:
        verdicts.append(warn(f"the door that runs may open {min(low)} files only", mend))
    return verdicts or [fine(f"{_shown(own.soft)} now, up to {_shown(own.hard)}" if own else "not told")]


def judge_processes(limits: Mapping[str, Limit], *, is_root: bool) -> Verdict:
    """Whether there is room for the threads of engines and doors; root has no such limit."""
    own = limits.get("processes")
    if own is None or is_root or own.soft is None or own.soft >= _FEW_PROCESSES:
        return fine(f"{_shown(own.soft if own else None)}, with threads")
    return warn(f"at most {own.soft} processes and threads of this user", "ulimit -u 4096 (systemd: TasksMax=4096)")


def judge_locked_memory(limits: Mapping[str, Limit], gpus: int) -> Verdict:
    """Whether several GPUs may lock the memory over which they talk."""
    own = limits.get("locked memory")
    if own is None or own.soft is None or gpus < 2 or own.soft >= _LITTLE_LOCKED_BYTES:
        return fine("enough for what is here")
    return warn(
        f"at most {format_bytes(own.soft)} of locked memory, and there are {gpus} GPUs",
        "ulimit -l unlimited (podman run --ulimit memlock=-1 …)",
    )


def judge_address_space(limits: Mapping[str, Limit], memory_bytes: int) -> Verdict:
    """Whether a process may use the memory that there is."""
    for name, flag in (("address space", "-v"), ("data size", "-d")):
        own = limits.get(name)
        if own and own.soft is not None and own.soft < memory_bytes:
            return warn(f"{name} is limited to {format_bytes(own.soft)}", f"ulimit {flag} unlimited")
    return fine("a process may use all memory")


def _shown(limit: int | None) -> str:
    return "no limit" if limit is None else f"{limit:,}"


def _own_limits(scene: Scene) -> dict[str, Limit]:
    return parse_limits(scene.read("proc/self/limits"))


def _look_at_open_files(scene: Scene) -> list[Verdict]:
    keeper = scene.keeper()
    doors = [door["pid"] for door in keeper["doors"] if door["pid"]] if keeper else []
    of_doors = [parse_limits(scene.read(f"proc/{pid}/limits")).get("open files") for pid in doors]
    return judge_open_files(_own_limits(scene), [limit.soft for limit in of_doors if limit])


def _look_at_processes(scene: Scene) -> Verdict:
    # Which user may go past the limit is the kernel's view: "Uid:" of the process, inside or outside a container.
    found = re.search(r"^Uid:\s+\d+\s+(\d+)", scene.read("proc/self/status"), re.MULTILINE)
    return judge_processes(_own_limits(scene), is_root=found is not None and found[1] == "0")


CHECKS = (
    Check(
        "open files",
        "`ulimit -n`, of this shell and of doors that run",
        "Many clients at once are refused.",
        _look_at_open_files,
    ),
    Check(
        "processes",
        "`ulimit -u`",
        "An engine cannot start its threads and ends while it loads.",
        _look_at_processes,
    ),
    Check(
        "locked memory",
        "`ulimit -l` where there are several GPUs",
        "GPUs cannot talk to each other, or do it through slow copies.",
        lambda scene: judge_locked_memory(_own_limits(scene), len(scene.machine().accelerators)),
    ),
    Check(
        "address space",
        "`ulimit -v` and `ulimit -d` against main memory",
        "A model that would fit cannot be mapped: the engine ends while it loads.",
        lambda scene: judge_address_space(_own_limits(scene), scene.machine().memory.total_bytes),
    ),
)

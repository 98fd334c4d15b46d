"""Limits that a control group puts on this process, which ``/proc/meminfo`` and the count of cores do not show."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

_PROC = Path("/proc")
_NO_LIMIT_BYTES = 2**60  # cgroup v1 writes "no limit" as the largest multiple of a page


@dataclass(frozen=True, slots=True)
class Limits:
    """What holds for this process, over its own group and all above it.

    Args:
        memory_bytes: The smallest memory limit; None where there is none.
        memory_room_bytes: What may still be taken before one of these limits is reached, with file pages that the
            kernel would drop; None where there is no limit.
        processors: The smallest CPU quota in processors, 1.5 is one and a half; None where there is none.
    """

    memory_bytes: int | None = None
    memory_room_bytes: int | None = None
    processors: float | None = None


@dataclass(frozen=True, slots=True)
class Mount:
    """A control group file system.

    Args:
        point: Where it is mounted.
        root: The group that its top shows: ``/`` on a host, ``/docker/4f…`` in an old container.
        controllers: ``{"memory"}`` and the like for version 1; empty for version 2.
    """

    point: Path
    root: PurePosixPath
    controllers: frozenset[str]


def read_limits(proc: Path = _PROC) -> Limits:
    """Limits of this process, versions 1 and 2; `Limits` without any where the system has no control groups."""
    try:
        groups = parse_membership((proc / "self/cgroup").read_text(encoding="utf-8", errors="replace"))
        mounts = parse_mounts((proc / "self/mountinfo").read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return Limits()
    memory = [found for folder in _folders(mounts, groups, "memory") if (found := _memory_of(folder))]
    quotas = [quota for folder in _folders(mounts, groups, "cpu") if (quota := _quota_of(folder)) is not None]
    return Limits(
        memory_bytes=min((limit for limit, _ in memory), default=None),
        memory_room_bytes=min((room for _, room in memory), default=None),
        processors=min(quotas, default=None),
    )


def parse_membership(text: str) -> dict[str, PurePosixPath]:
    """``/proc/self/cgroup``: controller → path of the group; the name of version 2's one hierarchy is empty."""
    groups: dict[str, PurePosixPath] = {}
    for line in text.splitlines():
        parts = line.split(":", 2)
        if len(parts) == 3 and parts[2].startswith("/"):
            for controller in parts[1].split(","):
                groups[controller] = PurePosixPath(parts[2])
    return groups


def parse_mounts(text: str) -> list[Mount]:
    """The control group file systems of ``/proc/self/mountinfo``."""
    mounts = []
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        fields, kinds = before.split(), after.split()
        if len(fields) < 5 or not kinds or kinds[0] not in ("cgroup", "cgroup2"):
            continue
        controllers = frozenset(kinds[-1].split(",")) if kinds[0] == "cgroup" else frozenset()
        mounts.append(Mount(Path(fields[4]), PurePosixPath(fields[3]), controllers))
    return mounts


def parse_limit(text: str) -> int | None:
    """Bytes out of ``memory.max`` or ``memory.limit_in_bytes``; None where it means that there is no limit."""
    stripped = text.strip()
    if not (stripped.isascii() and stripped.isdigit()) or int(stripped) >= _NO_LIMIT_BYTES:
        return None
    return int(stripped)


def parse_quota(text: str) -> float | None:
    """Processors out of version 2's ``cpu.max`` (``150000 100000`` is 1.5); None where there is no limit or sense."""
    quota, _, period = text.strip().partition(" ")
    return _quotient(quota, period)


def droppable_bytes(stat: str) -> int:
    """File pages out of ``memory.stat`` that were not used lately: the kernel drops them before it runs out."""
    values = dict(line.split(" ", 1) for line in stat.splitlines() if line.count(" ") == 1)
    text = values.get("total_inactive_file", values.get("inactive_file", "0"))
    return int(text) if text.isascii() and text.isdigit() else 0


def _quotient(quota: str, period: str) -> float | None:
    if not (quota.isascii() and quota.isdigit() and period.isascii() and period.isdigit()):
        return None
    return int(quota) / int(period) if int(quota) and int(period) else None


def _folders(mounts: list[Mount], groups: dict[str, PurePosixPath], controller: str) -> Iterator[Path]:
    """Folders of this process's group and of those above it, as far as they can be seen from here."""
    for mount in mounts:
        if mount.controllers and controller not in mount.controllers:
            continue
        group = groups.get(controller if mount.controllers else "")
        if group is None or ".." in group.parts:
            inside = PurePosixPath()
        elif group.is_relative_to(mount.root):
            inside = group.relative_to(mount.root)
        else:
            inside = PurePosixPath(*group.parts[1:])
        for above in (inside, *inside.parents):
            if (mount.point / above).is_dir():
                yield mount.point / above


def _memory_of(folder: Path) -> tuple[int, int] | None:
    """Limit of one group, and what may still be taken; None where it has no limit."""
    for limit_name, used_name in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
        limit = parse_limit(_read(folder / limit_name))
        if limit is not None:
            used = parse_limit(_read(folder / used_name)) or 0
            return limit, max(0, limit - max(0, used - droppable_bytes(_read(folder / "memory.stat"))))
    return None


def _quota_of(folder: Path) -> float | None:
    found = parse_quota(_read(folder / "cpu.max"))
    if found is not None:
        return found
    return _quotient(_read(folder / "cpu.cfs_quota_us").strip(), _read(folder / "cpu.cfs_period_us").strip())


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""

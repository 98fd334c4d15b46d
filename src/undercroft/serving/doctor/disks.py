"""Where the home lies: room, file numbers, the kind of disk, how fast it reads."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from undercroft.core.home import Home
from undercroft.core.units import format_bytes
from undercroft.hardware.disks import read_disk
from undercroft.hardware.machine import Disk
from undercroft.serving.doctor.findings import Check, Verdict, fail, fine, warn
from undercroft.serving.doctor.scene import Scene
from undercroft.serving.doctor.stored_state import read_disk_speed

_FEW_BYTES = 2 * 1024**3
_FEW_INODES_RATIO = 0.02
_FEW_INODES = 1000
_SLOW_BYTES = 200e6
_TYPICAL_MODEL_BYTES = 5e9
_IN_MEMORY = ("tmpfs", "ramfs", "devtmpfs")


@dataclass(frozen=True, slots=True)
class Room:
    """What a file system has left.

    Args:
        free_bytes: For an ordinary user.
        files: Inodes in all; 0 where the file system makes them as needed.
        free_files: For an ordinary user.
        is_read_only: Mounted so.
    """

    free_bytes: int
    files: int
    free_files: int
    is_read_only: bool


def judge_room(room: Room, place: str) -> list[Verdict]:
    """Whether models and the database have room to grow."""
    if room.is_read_only:
        return [fail(f"{place} is mounted read-only", f"mount -o remount,rw {place}; dmesg says why it became so")]
    verdicts = []
    if room.free_bytes < _FEW_BYTES:
        saw = f"{format_bytes(room.free_bytes)} free where the home {place} lies"
        verdicts.append(warn(saw, "undercroft model gc, or move the home to a larger disk (UNDERCROFT_HOME)"))
    few = max(_FEW_INODES_RATIO * room.files, min(_FEW_INODES, room.files / 2))
    if room.files and room.free_files < few:
        verdicts.append(
            warn(
                f"{room.free_files:,} of {room.files:,} file numbers (inodes) are free",
                "df -i, then remove folders with very many small files",
                why='It says "no space left" although there is space.',
            )
        )
    return verdicts or [fine(f"{format_bytes(room.free_bytes)} free where the home {place} lies")]


def judge_kind(disk: Disk) -> Verdict:
    """Whether the home lies on a disk that suits models and a database."""
    place = f"the home is on {disk.kind} ({disk.mount})"
    mend = "UNDERCROFT_HOME=/a/local/folder undercroft up"
    if disk.is_network:
        return warn(f"{place}, a disk of another machine", mend)
    if disk.kind in _IN_MEMORY:
        why = "It is memory: models take it twice, and all of it is gone after a restart."
        return warn(place, mend, why=why)
    if disk.kind in ("overlay", "overlayfs", "aufs"):
        why = "It is the container's own layer: keys, models and the journal are gone when the container is."
        return warn(place, "podman run -v undercroft:/root/.undercroft …", why=why)
    if disk.is_rotating:
        why = "A spinning disk: a model of 5 GB takes half a minute to load, and longer beside other work."
        return warn(f"{place}, a spinning disk", mend, why=why)
    return fine(place if disk.kind else "the kind of disk is not told here")


def judge_speed(bytes_per_second: float | None) -> Verdict:
    """Whether models load fast enough; as measured by ``undercroft hardware measure``."""
    if bytes_per_second is None:
        return fine("not measured yet: undercroft hardware measure")
    saw = f"the disk reads {format_bytes(bytes_per_second)} a second"
    if bytes_per_second < _SLOW_BYTES:
        seconds = _TYPICAL_MODEL_BYTES / bytes_per_second
        mend = "move the home to a faster disk (UNDERCROFT_HOME)"
        return warn(saw, mend, why=f"A model of 5 GB takes {seconds:.0f} s to load.")
    return fine(saw)


def observe_room(path: Path) -> Room:
    """What is left where a path lies.

    Raises:
        OSError: It cannot be looked at.
    """
    found = os.statvfs(path)
    return Room(
        free_bytes=found.f_bavail * found.f_frsize,
        files=found.f_files,
        free_files=found.f_favail,
        is_read_only=bool(found.f_flag & os.ST_RDONLY),
    )


def _existing(home: Home) -> Path:
    return next(path for path in (home.root, *home.root.parents) if path.exists())


def _look_at_room(scene: Scene) -> list[Verdict]:
    place = _existing(scene.home)
    return judge_room(observe_room(place), str(place))


CHECKS = (
    Check(
        "disk",
        "free space, free inodes, mounted read-only",
        "A pull or a write to the database fails in the middle.",
        _look_at_room,
    ),
    Check(
        "disk kind",
        "network file systems, memory file systems, a container's own layer, spinning disks",
        "Models load at the speed of the network, and SQLite's locks do not hold between machines.",
        lambda scene: judge_kind(read_disk(scene.home.root)),
    ),
    Check(
        "disk speed",
        "the cold read that `undercroft hardware measure` stored",
        "Loading a model on demand takes longer than clients wait.",
        lambda scene: judge_speed(read_disk_speed(scene.home)),
    ),
)

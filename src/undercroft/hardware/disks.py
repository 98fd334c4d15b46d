"""File systems: what kind of disk a path lies on."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from undercroft.hardware.machine import Disk

_MOUNTS = Path("/proc/self/mountinfo")
_BLOCKS = Path("/sys/dev/block")
_ESCAPE = re.compile(r"\\([0-7]{3})")

NETWORK_KINDS = frozenset(
    (
        *("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "virtiofs", "ceph", "glusterfs", "lustre", "gpfs", "beegfs"),
        *("afs", "ocfs2", "gfs2", "orangefs", "wekafs", "davfs", "fuse.sshfs", "fuse.s3fs", "fuse.gcsfuse"),
        *("fuse.rclone", "fuse.glusterfs", "fuse.juicefs", "fuse.ceph", "fuse.mount-s3", "fuse.blobfuse2"),
    )
)


@dataclass(frozen=True, slots=True)
class MountedSystem:
    """A line of ``/proc/self/mountinfo``.

    Args:
        point: Where it is mounted.
        kind: ``ext4``, ``nfs4`` …
        device: Major and minor number of the block device, ``253:0``; begins with ``0:`` where there is none.
    """

    point: PurePosixPath
    kind: str
    device: str


def read_disk(path: Path) -> Disk:
    """The file system on which a path lies.

    Args:
        path: A file or folder; where it is not there yet, the nearest folder above it counts.

    Raises:
        OSError: It cannot be looked at.
    """
    existing = next(p for p in (path.absolute(), *path.absolute().parents) if p.exists()).resolve()
    usage = shutil.disk_usage(existing)
    try:
        mounts = parse_mounts(_MOUNTS.read_text(encoding="utf-8", errors="surrogateescape"))
    except OSError:
        mounts = []
    mount = containing(mounts, PurePosixPath(existing))
    return Disk(
        path=str(path),
        mount=str(mount.point) if mount else "",
        kind=mount.kind if mount else "",
        total_bytes=usage.total,
        free_bytes=usage.free,
        is_network=mount is not None and mount.kind in NETWORK_KINDS,
        is_rotating=_is_rotating(mount.device) if mount else None,
    )


def parse_mounts(text: str) -> list[MountedSystem]:
    """Every mounted file system of ``/proc/self/mountinfo``, in its order; lines that make no sense are left out."""
    mounts = []
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        fields, kinds = before.split(), after.split()
        if len(fields) >= 5 and kinds:
            mounts.append(MountedSystem(PurePosixPath(_plain(fields[4])), kinds[0], fields[2]))
    return mounts


def containing(mounts: Iterable[MountedSystem], path: PurePosixPath) -> MountedSystem | None:
    """The file system that a path lies on: the deepest mount point above it, of equal ones the one mounted last."""
    best: MountedSystem | None = None
    for mount in mounts:
        is_above = path.is_relative_to(mount.point)
        if is_above and (best is None or len(mount.point.parts) >= len(best.point.parts)):
            best = mount
    return best


def _plain(text: str) -> str:
    """Blanks and the like stand as octal numbers there."""
    return _ESCAPE.sub(lambda found: chr(int(found[1], 8)), text)


def decide_rotating(disk: str, rotational: str) -> bool | None:
    """Whether a disk turns, from its name and what ``queue/rotational`` says; None where it cannot be told.

    The disks of virtual machines (``vda``, ``xvda``) say 1 whatever lies below them.
    """
    is_rotating = {"0": False, "1": True}.get(rotational.strip())
    return None if is_rotating and disk.startswith(("vd", "xvd")) else is_rotating


def _is_rotating(device: str) -> bool | None:
    if not re.fullmatch(r"[1-9]\d*:\d+", device):
        return None
    folder = Path(os.path.realpath(_BLOCKS / device))
    for disk in (folder, folder.parent):  # a partition has its disk above it
        try:
            return decide_rotating(disk.name, (disk / "queue/rotational").read_text(encoding="ascii"))
        except OSError:
            continue
    return None

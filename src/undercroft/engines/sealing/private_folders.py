"""Folders of one's own in place of those in which sockets and files of other programs lie.

An engine whose processes connect to each other cannot be refused every connection. A network of its own hides what
listens on addresses; Unix sockets that lie in the file system are hidden by what is mounted over them here.

Source: mount(2), mount_namespaces(7).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from undercroft.engines.sealing import kernel

# Where programs put sockets and shared memory; an engine writes to them as to its own folder.
SCRATCH = ("/tmp", "/dev/shm", "/run")
_HIDDEN = (*SCRATCH, "/var/run", "/var/tmp")
_NEW_MOUNTS = 0x00020000
_BIND, _NO_SUID, _NO_DEVICES, _RECURSIVE, _PRIVATE = 0x1000, 0x2, 0x4, 0x4000, 0x40000


def hide(*, more: Iterable[Path], kept: Iterable[Path]) -> None:
    """Puts an empty folder in memory over each of `_HIDDEN`, in a mount namespace that this process gets for it.

    Args:
        more: Further folders to hide.
        kept: What of their content is still seen, at its path.

    Raises:
        OSError: The kernel refused.
    """
    kernel.unshare(_NEW_MOUNTS)
    kernel.mount("none", "/", None, _RECURSIVE | _PRIVATE)
    paths = _outermost(path for path in kept if path.exists())
    for folder in _outermost(folder for folder in (*map(Path, _HIDDEN), *more) if folder.is_dir()):
        below = [path for path in paths if path.is_relative_to(folder) and path != folder]
        descriptors = {path: os.open(path, os.O_PATH) for path in below}
        kernel.mount("tmpfs", str(folder), "tmpfs", _NO_SUID | _NO_DEVICES)
        folder.chmod(0o1777)
        for path, descriptor in descriptors.items():
            _put_back(path, descriptor)


def _put_back(path: Path, descriptor: int) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            path.mkdir()
        else:
            path.touch()
        kernel.mount(f"/proc/self/fd/{descriptor}", str(path), None, _BIND | _RECURSIVE)
    finally:
        os.close(descriptor)


def _outermost(paths: Iterable[Path]) -> list[Path]:
    """Without links, and without what lies below another of them."""
    found: list[Path] = []
    for path in sorted({path.resolve() for path in paths}):
        if not found or not path.is_relative_to(found[-1]):
            found.append(path)
    return found

"""Files written so that a crash leaves the old one or the new one, never half of one."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Makes a rename or a new name in ``folder`` survive power loss."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path, *, mode: int = 0o777) -> None:
    """Makes a folder and those above it, and makes their names survive power loss; one that is there stays as it is.

    Args:
        folder: Which.
        mode: Of the folder itself, where it is made.

    Raises:
        OSError: It cannot be made, or something else has its name.
    """
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(mode=mode, parents=True, exist_ok=True)
    for path in missing:
        # Whoever may write into a folder and not read it cannot sync it.
        with suppress(PermissionError):
            sync_folder(path.parent)


def write_atomically(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Temporary name, fsync file, rename, fsync folder.

    Raises:
        OSError: The disk is full, or the folder cannot be written; what was there before is still there.
    """
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)

"""Files written so that a crash leaves the old one or the new one, never half of one."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


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
    with _written_beside(path, content, mode) as temporary:
        os.replace(temporary, path)


def write_new(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """As `write_atomically`, where nothing has the name yet.

    Raises:
        FileExistsError: Something has it, and stays as it is.
        OSError: The disk is full, or the folder cannot be written.
    """
    with _written_beside(path, content, mode) as temporary:
        try:
            os.link(temporary, path)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            # A stick knows no hard links, which alone would refuse a name that was given meanwhile.
            if os.path.lexists(path):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from error
            os.rename(temporary, path)


@contextmanager
def _written_beside(path: Path, content: bytes, mode: int) -> Iterator[str]:
    """A durable file that gets its name inside, and whose name is durable afterwards."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    finally:
        Path(temporary).unlink(missing_ok=True)
    sync_folder(path.parent)

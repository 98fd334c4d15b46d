"""A model's file that is being written: all of its room first, its name last."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from undercroft.core.errors import UnavailableError
from undercroft.core.files import sync_folder
from undercroft.optimize.quantization.library import Bytes

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_CANNOT_RESERVE = {errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS}


@contextmanager
def new_file(target: Path, header: bytes, size_bytes: int) -> Iterator[tuple[int, Path]]:
    """A file of a planned size with its header, that gets its name when the block ends well.

    Args:
        target: Its name; what has it is replaced.
        header: Its first bytes.
        size_bytes: Of the whole file.

    Yields:
        Its descriptor, open for reading and writing, and where it lies until then.

    Raises:
        UnavailableError: ``disk-full``; nothing is left of what was written.
        OSError: The folder cannot be written.
    """
    try:
        file, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        unfinished = Path(name)
        try:
            try:
                os.posix_fallocate(file, 0, size_bytes)
            except OSError as error:
                if error.errno not in _CANNOT_RESERVE:
                    raise
            os.truncate(file, size_bytes)
            os.pwrite(file, header, 0)
            yield file, unfinished
            os.fsync(file)
            os.replace(unfinished, target)
        finally:
            os.close(file)
            with suppress(FileNotFoundError):
                unfinished.unlink()
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise UnavailableError(
            "disk-full",
            f"the disk became full while writing {target.name}, which needs {size_bytes:,} bytes; "
            "nothing of it was kept",
            hint="make room there, or make the model smaller",
        ) from error
    sync_folder(target.parent)


def write_exactly(file: int, content: Bytes, offset: int) -> None:
    """Writes all of some bytes.

    Args:
        file: Descriptor.
        content: Flat.
        offset: From the beginning of the file; bytes.

    Raises:
        OSError: The disk is full.
    """
    view, done = content.data, 0
    while done < len(view):
        done += os.pwrite(file, view[done:], offset + done)

"""Folders that commands write for people: whole, or as they were before."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from undercroft.core.errors import ConflictError, UnavailableError


@contextmanager
def filling(folder: Path) -> Iterator[None]:
    """A block that fills a folder. Where it fails or is interrupted, what it wrote goes, so that it can be tried again.

    It is not made beside and renamed: what is given may be where a disk is mounted.

    Args:
        folder: Not there, or empty.

    Raises:
        ConflictError: ``folder-not-empty``.
        UnavailableError: ``folder-not-written``: the disk is full, or it may not be written.
    """
    was_there = folder.is_dir()
    if folder.exists() and (not was_there or any(folder.iterdir())):
        raise ConflictError(
            "folder-not-empty", f"{str(folder)!r} is there and not an empty folder", hint="give a new name"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException as error:
        _empty(folder)
        if not was_there:
            shutil.rmtree(folder, ignore_errors=True)
        if not isinstance(error, OSError):
            raise
        raise UnavailableError(
            "folder-not-written", f"cannot write {str(folder)!r}: {error.strerror or error}", hint="is there room?"
        ) from error


def _empty(folder: Path) -> None:
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)

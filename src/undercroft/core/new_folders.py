"""Folders that commands write for people: whole, or as they were before."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from undercroft.core.errors import ConflictError, UnavailableError

UNFINISHED = ".unfinished"


@contextmanager
def filling(folder: Path) -> Iterator[Path]:
    """A block that fills a folder by way of one inside it, whose entries move out once all are there.

    Where it fails or is interrupted, what it wrote goes, so that it can be tried again; after a kill all lies in
    ``.unfinished``, which the next attempt removes. It is made inside, not beside: what is given may be where a disk is
    mounted.

    Args:
        folder: Not there, or empty.

    Returns:
        The folder to write to.

    Raises:
        ConflictError: ``folder-not-empty``.
        UnavailableError: ``folder-not-written``: the disk is full, or it may not be written.
    """
    was_there = folder.is_dir()
    if folder.exists() and (not was_there or any(path.name != UNFINISHED for path in folder.iterdir())):
        raise ConflictError(
            "folder-not-empty", f"{str(folder)!r} is there and not an empty folder", hint="give a new name"
        )
    inside = folder / UNFINISHED
    try:
        shutil.rmtree(inside, ignore_errors=True)
        inside.mkdir(parents=True)
        yield inside
        for path in sorted(inside.iterdir()):
            path.rename(folder / path.name)
        inside.rmdir()
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

"""What is kept of a database before its schema is changed: ``undercroft.db.before-0005`` beside it.

The copy is whole and durable before the first migration begins. Migrations run in one transaction, so that a failed or
killed one leaves the database as it was; the copy is for a migration that ends well and is wrong.
"""

from __future__ import annotations

import fcntl
import os
import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from undercroft.core.errors import UnavailableError
from undercroft.core.files import sync_folder
from undercroft.storage.copying import copy_whole

KEPT_COPIES = 3
_COPY = re.compile(r"(?P<database>.+)\.before-(?P<schema>\d{4})")


@dataclass(frozen=True, slots=True)
class Upgrade:
    """A database was brought to a newer schema.

    Args:
        before: Its revision until then.
        after: Its revision now.
        copy: The database as it was.
    """

    before: str
    after: str
    copy: Path

    def __str__(self) -> str:
        return f"the database went from schema {self.before} to {self.after}; as it was before: {self.copy}"


@contextmanager
def upgrading_alone(file: Path) -> Iterator[None]:
    """Held while a database is looked at and upgraded: of two processes that open it, one does it.

    Raises:
        UnavailableError: ``database-unusable``: its folder cannot be written.
    """
    try:
        descriptor = os.open(file.with_name(f".{file.name}.upgrade"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UnavailableError(
            "database-unusable",
            f"cannot use the database {file}: {error.strerror}",
            hint="check that the disk has room and the file is yours",
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def copies_of(file: Path) -> list[Path]:
    """The copies that are kept of a database, the newest schema last."""
    found = file.parent.glob(f"{file.name}.before-*")
    return sorted(path for path in found if (match := _COPY.fullmatch(path.name)) and match["database"] == file.name)


def superfluous(copies: Sequence[Path]) -> list[Path]:
    """Which copies go. Pure.

    Args:
        copies: As `copies_of` gives them.
    """
    return list(copies[:-KEPT_COPIES])


def keep_copy(file: Path, *, schema: str) -> Path:
    """Copies a database beside it, and makes that durable.

    A copy of that name that an interrupted upgrade left is made anew: the database may have been written to since.

    Args:
        file: Held by `upgrading_alone`.
        schema: The revision that it is going to get.

    Raises:
        UnavailableError: ``no-copy-before-upgrade``: it could not be written, or the database is damaged. Nothing was
            changed.
    """
    copy = file.with_name(f"{file.name}.before-{schema}")
    new = file.with_name(f".{copy.name}")
    try:
        new.unlink(missing_ok=True)
        os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        damage = copy_whole(file, new)
        if damage:
            raise _no_copy(file, f"it is damaged: {damage[:200]}")
        descriptor = os.open(new, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(new, copy)
        sync_folder(file.parent)
    except (OSError, sqlite3.DatabaseError) as error:
        raise _no_copy(file, getattr(error, "strerror", None) or str(error)) from error
    finally:
        new.unlink(missing_ok=True)
    return copy


def forget_old_copies(file: Path) -> None:
    """Removes all copies but the newest. One that cannot be removed stays."""
    for path in superfluous(copies_of(file)):
        try:
            path.unlink(missing_ok=True)
        except OSError:
            return


def _no_copy(file: Path, problem: str) -> UnavailableError:
    return UnavailableError(
        "no-copy-before-upgrade",
        f"the database {file} has an older schema and was not upgraded, because no copy of it could be made: {problem}",
        hint="make room on its disk, or restore a backup where it is damaged; undercroft doctor",
    )

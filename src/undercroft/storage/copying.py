"""Copies of a SQLite database that others may write to meanwhile."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path


def copy_whole(source: Path, target: Path) -> str:
    """Copies what was committed at one moment, and no more. Pages keep their places.

    Args:
        source: May be written to by others at the same time.
        target: Does not exist. It is one file, without a log beside it.

    Returns:
        What SQLite finds damaged in the copy, in its words; empty where it is whole.

    Raises:
        sqlite3.DatabaseError: The source cannot be read, or the copy not written.

    Source:
        SQLite's online backup API, https://www.sqlite.org/backup.html.
    """
    with closing(sqlite3.connect(source, timeout=30)) as read, closing(sqlite3.connect(target)) as write:
        read.backup(write)
    with reading_only(target) as copy:
        damage = str(copy.execute("PRAGMA quick_check(1)").fetchone()[0])
    return "" if damage == "ok" else damage


def reading_only(file: Path) -> closing[sqlite3.Connection]:
    """A connection to a database that nobody writes to; it leaves nothing beside it.

    Raises:
        sqlite3.DatabaseError: It cannot be read.
    """
    return closing(sqlite3.connect(f"{file.absolute().as_uri()}?immutable=1", uri=True))

"""Homes that past versions wrote: ``tests/vectors/homes``, made by ``tools/vectors.py``."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from undercroft.core.home import Home

HOMES = Path(__file__).parent.parent / "vectors" / "homes"
SCHEMAS = sorted(folder.name.removeprefix("schema-") for folder in HOMES.iterdir())


def past_home(schema: str, folder: Path) -> Home:
    """A copy of a home as it was written when its schema was the newest.

    Args:
        schema: ``0001``.
        folder: Where it goes; does not exist.
    """
    shutil.copytree(HOMES / f"schema-{schema}", folder)
    home = Home(folder)
    home.prepare()
    return home


def _raw(file: Path) -> closing[sqlite3.Connection]:
    """A connection; to a home that is kept, one that leaves nothing beside it."""
    address = file.absolute().as_uri()
    return closing(sqlite3.connect(f"{address}?immutable=1" if file.is_relative_to(HOMES) else address, uri=True))


def raw_schema(file: Path) -> str:
    """The revision of a database, read without this package."""
    with _raw(file) as connection:
        return str(connection.execute("SELECT version_num FROM alembic_version").fetchone()[0])


def raw_counts(file: Path) -> dict[str, int]:
    """Table → number of its rows, read without this package."""
    with _raw(file) as connection:
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {table: connection.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0] for table in tables}

"""Opening, upgrading and refusing databases."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import insert, select, text

from undercroft.core.errors import ConflictError, UnavailableError
from undercroft.storage.database import SCHEMA_REVISION, Database
from undercroft.storage.tables import blobs, metadata


def test_migrations_lead_to_the_tables(tmp_path: Path) -> None:
    """A table or column without a migration fails here, and so does a stale SCHEMA_REVISION."""
    database = Database(tmp_path / "x.db")
    with database.read() as connection:
        context = MigrationContext.configure(connection, opts={"render_as_batch": True})
        assert compare_metadata(context, metadata) == []
        assert context.get_current_revision() == SCHEMA_REVISION
    database.close()


def test_a_commit_is_written_through(tmp_path: Path) -> None:
    """WAL with FULL: an acknowledged commit survives power loss."""
    database = Database(tmp_path / "x.db")
    with database.read() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(text("PRAGMA synchronous")).scalar() == 2
    database.close()


def test_only_the_owner_reads_it(tmp_path: Path) -> None:
    """The file holds digests of keys."""
    Database(tmp_path / "x.db").close()
    assert (tmp_path / "x.db").stat().st_mode & 0o077 == 0


def test_a_newer_database_is_refused_and_kept(tmp_path: Path) -> None:
    """A home written by a newer version is left alone, and the sentence says so."""
    file = tmp_path / "x.db"
    Database(file).close()
    with sqlite3.connect(file) as raw:
        raw.execute("UPDATE alembic_version SET version_num = '9999'")
    raw.close()
    with pytest.raises(ConflictError, match="schema 9999"):
        Database(file)


def test_a_damaged_database_is_refused_with_a_sentence(tmp_path: Path) -> None:
    """Garbage in the file is no traceback."""
    file = tmp_path / "x.db"
    file.write_bytes(b"not a database" * 1000)
    with pytest.raises(UnavailableError, match="database-unusable"):
        Database(file)


def test_a_full_disk_is_told_as_such(tmp_path: Path) -> None:
    """Where the file cannot grow, the sentence says so, and what was there stays."""
    database = Database(tmp_path / "x.db")
    row = {"size_bytes": 1, "inode": 1, "modified_ns": 1, "verified_at": "x" * 100_000}
    with pytest.raises(UnavailableError, match="disk-full: the disk became full while"), database.write() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 1")  # no more than it has
        connection.execute(insert(blobs).values(digest="d", **row))
    with database.read() as connection:
        assert connection.execute(select(blobs.c.digest)).all() == []


def test_writers_wait_for_each_other(tmp_path: Path) -> None:
    """Threads that read, then write, in one transaction lose nothing and none fails."""
    database = Database(tmp_path / "x.db")
    row = {"size_bytes": 1, "inode": 1, "modified_ns": 1, "verified_at": ""}
    with database.write() as connection:
        connection.execute(insert(blobs).values(digest="d", **row))

    def add() -> None:
        for _ in range(20):
            with database.write() as connection:
                size = connection.execute(select(blobs.c.size_bytes)).scalar_one()
                connection.execute(blobs.update().values(size_bytes=size + 1))

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read() as connection:
        assert connection.execute(select(blobs.c.size_bytes)).scalar_one() == 81
    database.close()

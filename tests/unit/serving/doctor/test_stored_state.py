"""Database and stored files, real ones, whole and damaged."""

from __future__ import annotations

import os
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import insert

from undercroft.core.home import Home
from undercroft.serving.doctor.findings import Verdict
from undercroft.serving.doctor.stored_state import (
    DatabaseState,
    judge_database,
    judge_files,
    observe_database,
    observe_files,
    read_disk_speed,
)
from undercroft.storage import journal
from undercroft.storage.blobs import DISTRUSTED, BlobStore, Fingerprint, digest_file, fingerprint
from undercroft.storage.database import SCHEMA_REVISION, Database
from undercroft.storage.tables import blobs
from undercroft.storage.upgrading import keep_copy

TIME = "2026-11-21T10:00:00.000Z"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home with a database and three journal entries."""
    made = Home(tmp_path / "home")
    made.prepare()
    database = Database(made.database_file)
    with database.write() as connection:
        for name in ("a", "b", "c"):
            journal.record(connection, actor="cli:anna", action="key.create", subject=name)
    database.close()
    return made


def look(home: Home) -> Verdict:
    return judge_database(observe_database(home.database_file), home.database_file)


def test_a_whole_database_is_silent(home: Home, tmp_path: Path) -> None:
    """Whole, or not made yet."""
    assert look(home).saw == "whole, and so is the journal"
    assert look(Home(tmp_path / "none")).saw == "none yet; undercroft up makes it"


def test_copies_from_before_upgrades_are_named(home: Home) -> None:
    """Doctor says which there are, that an old schema is going to be upgraded, and offers the newest copy on damage."""
    keep_copy(home.database_file, schema="0004")
    keep_copy(home.database_file, schema="0005")
    saw = look(home).saw
    assert saw.endswith("as it was before upgrades: undercroft.db.before-0004, undercroft.db.before-0005")
    state = observe_database(home.database_file)
    assert state is not None
    old = judge_database(replace(state, revision="0001"), home.database_file)
    assert (old.level, f"brings it from schema 0001 to {SCHEMA_REVISION}" in old.saw) == ("ok", True)
    damaged = judge_database(replace(state, damage="torn"), home.database_file)
    assert "undercroft.db.before-0005" in damaged.mend


def test_looking_changes_nothing(home: Home) -> None:
    """Files and content stay as they were, also with an old schema: it is not migrated by a look."""
    with sqlite3.connect(home.database_file) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0001'")
    connection.close()
    before = digest_file(home.database_file), sorted(home.root.iterdir())
    assert look(home).level == "ok"
    assert (digest_file(home.database_file), sorted(home.root.iterdir())) == before


def test_what_a_running_server_has_just_written_is_seen(home: Home) -> None:
    """It lies in the log beside the file until it is moved over."""
    database = Database(home.database_file)
    with database.write() as connection:
        journal.record(connection, actor="cli:anna", action="key.create", subject="d")
    state = observe_database(home.database_file)
    database.close()
    assert state is not None
    assert state.entries == 4


def test_a_page_of_noise_is_a_problem(home: Home) -> None:
    """A damaged page in the middle is found by reading through."""
    with home.database_file.open("r+b") as file:
        file.seek(4096 * 2)
        file.write(b"\xff" * 4096 * 3)
    verdict = look(home)
    assert (verdict.level, verdict.saw.startswith("the database is damaged: ")) == ("problem", True)
    assert str(home.database_file) in verdict.mend


def test_a_file_that_is_no_database_is_a_problem(home: Home) -> None:
    """Overwritten from its first byte."""
    home.database_file.write_bytes(b"this is a shopping list" * 1000)
    assert look(home).saw == "the database is damaged: file is not a database"


def test_a_changed_journal_is_a_problem(home: Home) -> None:
    """The first entry that does not fit is named."""
    with sqlite3.connect(home.database_file) as connection:
        connection.execute("UPDATE journal SET actor = 'cli:eve' WHERE seq = 2")
    connection.close()
    verdict = look(home)
    assert verdict.saw == "the journal does not hold together: entry 2 was changed after it was written"
    assert verdict.mend == "undercroft journal verify"


def test_a_newer_schema_is_a_problem_and_a_large_file_is_said() -> None:
    """What is not looked at is not claimed to be whole."""
    state = DatabaseState("", SCHEMA_REVISION, "", 3, 40_000)
    assert judge_database(replace(state, revision="9999"), Path("x.db")).level == "problem"
    large = judge_database(replace(state, entries=50_000, size_bytes=300 * 1024**2), Path("x.db"))
    assert (large.level, "300.0 MiB were not read through" in large.saw) == ("ok", True)
    assert "50,000 journal entries were not checked" in large.saw


def store_file(home: Home, content: bytes) -> Path:
    """A stored file with its row, as a pull leaves it."""
    incoming = home.quarantine / "incoming"
    incoming.write_bytes(content)
    digest = digest_file(incoming)
    path = BlobStore(home.blobs).place(incoming, digest, is_ours=True)
    seen = fingerprint(path)
    row = {"size_bytes": seen.size_bytes, "inode": seen.inode, "modified_ns": seen.modified_ns}
    database = Database(home.database_file)
    with database.write() as connection:
        connection.execute(insert(blobs).values(digest=digest, verified_at=TIME, **row))
    database.close()
    return path


def test_stored_files_are_held_against_their_rows(home: Home) -> None:
    """Untouched is silent; touched is a warning; another size or gone is a problem."""
    path = store_file(home, b"weights" * 100)
    assert [v.level for v in judge_files(observe_files(home))] == ["ok"]
    os.utime(path, ns=(1, 1))
    (touched,) = judge_files(observe_files(home))
    assert (touched.level, touched.mend) == ("warning", "undercroft model verify")
    path.chmod(0o600)
    path.write_bytes(b"weights")
    (resized,) = judge_files(observe_files(home))
    assert (resized.level, "of another size" in resized.saw) == ("problem", True)
    path.unlink()
    (gone,) = judge_files(observe_files(home))
    assert (gone.level, "gone or cannot be read" in gone.saw) == ("problem", True)


def test_what_was_found_damaged_is_said_to_be_that_even_where_it_was_put_back(home: Home) -> None:
    """After `model verify` found another content, a file that lies there whole again is not called resized."""
    path = store_file(home, b"weights" * 100)
    then = Fingerprint(path.stat().st_size, path.stat().st_ino, path.stat().st_mtime_ns)
    (verdict,) = judge_files([("sha256:0", DISTRUSTED, then)])
    assert verdict.level == "problem"
    assert "another size" not in verdict.saw
    assert "is not what it was when hashed, as undercroft model verify has found" in verdict.saw
    assert verdict.mend.startswith("undercroft model verify again")


def test_a_damaged_database_is_told_once(home: Home) -> None:
    """Its own check tells of it; what else reads it finds nothing instead of failing too."""
    home.database_file.write_bytes(b"x" * 4096)
    assert observe_files(home) == []
    assert read_disk_speed(home) is None

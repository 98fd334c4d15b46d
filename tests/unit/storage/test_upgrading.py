"""Old databases are brought to today's schema, with a copy of them as they were."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.homes import HOMES, SCHEMAS, past_home, raw_counts, raw_schema
from undercroft.core.errors import ConflictError, UnavailableError
from undercroft.registry import entries
from undercroft.serving import deployments, keys
from undercroft.storage import checkpoints, journal
from undercroft.storage.database import SCHEMA_REVISION, Database
from undercroft.storage.upgrading import Upgrade, copies_of, keep_copy, superfluous

OLD = [schema for schema in SCHEMAS if schema < SCHEMA_REVISION]


def add_table(file: Path, statement: str) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute(statement)
        connection.commit()


def test_every_schema_has_a_home_that_is_kept() -> None:
    """A new migration comes with a home written by its code: python -m tools.vectors."""
    assert [f"{number:04}" for number in range(1, int(SCHEMA_REVISION) + 1)] == SCHEMAS
    assert all(raw_schema(HOMES / f"schema-{schema}" / "undercroft.db") == schema for schema in SCHEMAS)


@pytest.mark.parametrize("schema", SCHEMAS)
def test_a_home_of_each_past_schema_opens(schema: str, tmp_path: Path) -> None:
    """Models, deployments and keys are read by today's code, the journal holds together, no row is lost."""
    home = past_home(schema, tmp_path / "home")
    before = raw_counts(home.database_file)
    database = Database(home.database_file)
    with database.read() as connection:
        assert [model.name for model in entries.list_all(connection)] == ["spare", "tiny"]
        assert [one.name for one in deployments.list_all(connection)] == ["far", "support"]
        assert [key.name for key in keys.list_all(connection)] == ["anna", "ops"]
        seen = checkpoints.gather([home.checkpoints], own_key=checkpoints.public_key(checkpoints.signing_key(home)))
        assert journal.find_damage(connection, seen) is None
    database.close()
    after = raw_counts(home.database_file)
    was_upgraded = schema in OLD
    assert {table: after[table] for table in before} == {**before, "journal": before["journal"] + was_upgraded}
    assert raw_schema(home.database_file) == SCHEMA_REVISION


@pytest.mark.parametrize("schema", OLD)
def test_a_copy_is_made_before_an_upgrade(schema: str, tmp_path: Path) -> None:
    """It has the old schema and every row, only its owner reads it, and the journal names it."""
    home = past_home(schema, tmp_path / "home")
    before = raw_counts(home.database_file)
    database = Database(home.database_file)
    copy = home.root / f"undercroft.db.before-{SCHEMA_REVISION}"
    assert database.upgraded == Upgrade(schema, SCHEMA_REVISION, copy)
    with database.read() as connection:
        last = journal.find(connection, journal.Search(limit=1))[0][0]
    database.close()
    assert (last.actor, last.action, last.subject) == ("system", "database.upgrade", copy.name)
    assert (last.before, last.after) == ({"schema": schema}, {"schema": SCHEMA_REVISION})
    assert raw_schema(copy) == schema
    assert raw_counts(copy) == before
    assert copy.stat().st_mode & 0o077 == 0


def test_a_database_of_today_is_only_opened(tmp_path: Path) -> None:
    """No copy, no entry, nothing to tell."""
    file = tmp_path / "undercroft.db"
    for _ in range(2):
        database = Database(file)
        assert database.upgraded is None
        database.close()
    assert copies_of(file) == []


def test_the_copy_put_back_is_the_old_home(tmp_path: Path) -> None:
    """What was done since is gone, and it can be upgraded once more."""
    home = past_home("0001", tmp_path / "home")
    Database(home.database_file).close()
    copies_of(home.database_file)[0].replace(home.database_file)
    assert raw_schema(home.database_file) == "0001"
    again = Database(home.database_file)
    assert again.upgraded is not None
    again.close()


def test_a_migration_that_fails_changes_nothing(tmp_path: Path) -> None:
    """A table that is in the way: a sentence, the old schema, every row, and the copy."""
    home = past_home("0004", tmp_path / "home")
    add_table(home.database_file, "CREATE TABLE promotions (mine INTEGER)")
    before = raw_counts(home.database_file)
    with pytest.raises(UnavailableError, match=r"upgrade-failed: .* from schema 0004 .* is as it was: .*promotions"):
        Database(home.database_file)
    assert raw_schema(home.database_file) == "0004"
    assert raw_counts(home.database_file) == before
    assert len(copies_of(home.database_file)) == 1
    add_table(home.database_file, "DROP TABLE promotions")
    Database(home.database_file).close()
    assert raw_schema(home.database_file) == SCHEMA_REVISION


def test_without_a_copy_there_is_no_upgrade(tmp_path: Path) -> None:
    """Where no copy can be written, the database stays as it was and the error says why."""
    home = past_home("0003", tmp_path / "home")
    (home.root / f"undercroft.db.before-{SCHEMA_REVISION}").mkdir()
    with pytest.raises(UnavailableError, match=r"no-copy-before-upgrade: .* was not upgraded"):
        Database(home.database_file)
    assert raw_schema(home.database_file) == "0003"


def test_a_copy_that_was_left_is_made_anew(tmp_path: Path) -> None:
    """An upgrade that was cut off left a copy; the database went on since, and so does the next copy."""
    home = past_home("0002", tmp_path / "home")
    keep_copy(home.database_file, schema=SCHEMA_REVISION)
    add_table(home.database_file, "CREATE TABLE since (then_ INTEGER)")
    Database(home.database_file).close()
    assert "since" in raw_counts(copies_of(home.database_file)[0])


def test_two_that_open_it_upgrade_it_once(tmp_path: Path) -> None:
    """The copy is of the old schema, whoever comes second."""
    home = past_home("0001", tmp_path / "home")
    opened: list[Database] = []
    threads = [threading.Thread(target=lambda: opened.append(Database(home.database_file))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for database in opened:
        database.close()
    assert sorted(database.upgraded is None for database in opened) == [False, True, True, True]
    assert raw_schema(copies_of(home.database_file)[0]) == "0001"


def test_the_newest_three_copies_stay(tmp_path: Path) -> None:
    """By schema; what only looks like a copy is not touched."""
    home = past_home("0004", tmp_path / "home")
    for schema in ("0002", "0003", "0004"):
        keep_copy(home.database_file, schema=schema)
    note = home.root / "undercroft.db.before-lunch"
    note.write_text("mine")
    Database(home.database_file).close()
    assert [path.name[-4:] for path in copies_of(home.database_file)] == ["0003", "0004", SCHEMA_REVISION]
    assert note.exists()


def test_what_goes_is_the_oldest() -> None:
    """Nothing while there are three."""
    paths = [Path(f"x.db.before-{number:04}") for number in range(1, 6)]
    assert superfluous(paths[:3]) == []
    assert superfluous(paths) == paths[:2]


def test_an_older_version_names_the_copy(tmp_path: Path) -> None:
    """Whoever goes back to an older Undercroft is told which copy it could use."""
    file = tmp_path / "undercroft.db"
    Database(file).close()
    add_table(file, "UPDATE alembic_version SET version_num = '9999'")
    keep_copy(file, schema="9999")
    with pytest.raises(ConflictError, match=r"put back .*undercroft\.db\.before-9999, and lose what was done since"):
        Database(file)

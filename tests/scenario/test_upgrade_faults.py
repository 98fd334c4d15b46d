"""Upgrades of old homes that are killed: the old database or the new one, never half of one."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.support.homes import HOMES, raw_counts, raw_schema
from tests.support.killing import begin, kill_at_random
from undercroft.storage import journal
from undercroft.storage.database import SCHEMA_REVISION, Database
from undercroft.storage.upgrading import copies_of

OLD = "0001"


@pytest.mark.long
def test_a_killed_upgrade_leaves_the_old_or_the_new(tmp_path: Path, is_full: bool) -> None:
    """At random moments: the schema is the old one or today's, every row is there, and it opens afterwards."""
    source = HOMES / f"schema-{OLD}" / "undercroft.db"
    chance = random.Random(4)
    rows = raw_counts(source)
    for attempt in range(300 if is_full else 4):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        process = begin("tests.support.upgrade_process", source, folder)
        kill_at_random(process, chance, least_seconds=0.02, most_seconds=0.8)
        homes = [home for home in folder.iterdir() if not home.name.startswith(".")]
        assert homes, "killed before it began"
        for home in homes:
            assert_usable(home / "undercroft.db", rows)


def assert_usable(file: Path, rows: dict[str, int]) -> None:
    schema = raw_schema(file)
    assert schema in {OLD, SCHEMA_REVISION}
    counts = raw_counts(file)
    assert {table: counts[table] for table in rows} == {
        **rows,
        "journal": rows["journal"] + (schema == SCHEMA_REVISION),
    }
    database = Database(file)
    with database.read() as connection:
        assert journal.find_damage(connection, {}) is None
    database.close()
    assert raw_schema(file) == SCHEMA_REVISION
    (copy,) = copies_of(file)
    assert raw_schema(copy) == OLD
    assert raw_counts(copy) == rows

"""The journal: chained, and in the transaction of the change it tells of."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, select, update

from undercroft.storage import journal
from undercroft.storage.database import Database
from undercroft.storage.tables import journal as table


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path / "undercroft.db")
    yield opened
    opened.close()


def _fill(database: Database, count: int = 5) -> None:
    for number in range(count):
        with database.write() as connection:
            journal.record(connection, actor="cli:anna", action="thing.add", subject=f"t{number}", after={"n": number})


def _damage(database: Database) -> str | None:
    with database.read() as connection:
        return journal.find_damage(connection)


def test_a_chain_that_nobody_touched_holds(database: Database) -> None:
    """Entries are numbered without gaps and verify."""
    _fill(database)
    assert _damage(database) is None
    with database.read() as connection:
        assert [entry.seq for entry, _ in journal.entries(connection)] == [1, 2, 3, 4, 5]


def test_an_entry_fails_with_its_change(database: Database) -> None:
    """When the transaction fails, the entry is not there either."""
    with pytest.raises(RuntimeError), database.write() as connection:
        journal.record(connection, actor="a", action="b.c", subject="s")
        raise RuntimeError("the change failed")
    with database.read() as connection:
        assert connection.execute(select(table)).first() is None


def test_an_edit_is_found(database: Database) -> None:
    """A changed field shows."""
    _fill(database)
    with database.write() as connection:
        connection.execute(update(table).where(table.c.seq == 3).values(actor="cli:mallory"))
    assert _damage(database) == "entry 3 was changed after it was written"


def test_an_edit_with_a_fresh_hash_is_found(database: Database) -> None:
    """Who recomputes the hash of a changed entry breaks the link to the next one."""
    _fill(database)
    with database.write() as connection:
        entry, _ = list(journal.entries(connection))[2]
        forged = journal.Entry(entry.seq, entry.at, "cli:mallory", *_rest(entry))
        connection.execute(update(table).where(table.c.seq == 3).values(actor="cli:mallory", hash=forged.hash()))
    assert _damage(database) == "entry 4 does not follow the one before it"


def _rest(entry: journal.Entry) -> tuple[str, str, object, object, str | None, str]:
    return entry.action, entry.subject, entry.before, entry.after, entry.reason, entry.previous


def test_a_deletion_is_found(database: Database) -> None:
    """A missing entry shows."""
    _fill(database)
    with database.write() as connection:
        connection.execute(delete(table).where(table.c.seq == 2))
    assert _damage(database) == "entry 2 is missing: found 3 in its place"


def test_a_reordering_is_found(database: Database) -> None:
    """Two entries that changed places show."""
    _fill(database)
    with database.write() as connection:
        for old, new in ((2, 99), (3, 2), (99, 3)):
            connection.execute(update(table).where(table.c.seq == old).values(seq=new))
    assert _damage(database) is not None


def _found(database: Database, **wanted: Any) -> list[int]:
    with database.read() as connection:
        return [entry.seq for entry, _ in journal.find(connection, journal.Search(**wanted))]


@pytest.fixture
def busy(database: Database) -> Database:
    """Five entries of three people on two days."""
    rows = [
        ("cli:anna", "model.add", "qwen", {"size": 5}, None),
        ("key:ops-2", "release.create", "bot@1", {"prompt": "Antworte höflich, 100 %"}, "first"),
        ("key:ops-2", "release.promote", "bot@1", None, None),
        ("cli:bo", "model.remove", "qwen", None, "too large_"),
        ("system", "releases.other", "bot", {"path": "a\\b"}, None),
    ]
    for number, (actor, action, subject, after, reason) in enumerate(rows):
        moment = datetime(2026, 11, 20 + number // 3, 9, tzinfo=UTC)
        with database.write() as connection:
            journal.record(
                connection, actor=actor, action=action, subject=subject, after=after, reason=reason, at=moment
            )
    return database


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, [1, 2, 3, 4, 5]),
        ({"limit": 2}, [4, 5]),
        ({"actor": "key:ops-2"}, [2, 3]),
        ({"action": "model"}, [1, 4]),
        ({"action": "release"}, [2, 3]),
        ({"action": "release.promote"}, [3]),
        ({"subject": "bot@1"}, [2, 3]),
        ({"text": "QWEN"}, [1, 4]),
        ({"text": "höflich"}, [2]),
        ({"text": "100 %"}, [2]),
        ({"text": "e_"}, [4]),
        ({"text": "a\\b"}, [5]),
        ({"text": "nobody"}, []),
        ({"since": "2026-11-21T00:00:00.000Z"}, [4, 5]),
        ({"until": "2026-11-21T00:00:00.000Z"}, [1, 2, 3]),
        ({"text": "bot", "actor": "system"}, [5]),
    ],
)
def test_entries_are_found(busy: Database, wanted: dict[str, Any], expected: list[int]) -> None:
    """By text anywhere, also beyond ASCII and with the signs of patterns; by who, what, which, when; all together."""
    assert _found(busy, **wanted) == expected

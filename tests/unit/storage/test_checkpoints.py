"""Checkpoints: what somebody who may write to the whole home cannot hide from a file that is kept elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, insert, select, update

from tests.support.damaged_texts import damaged
from undercroft.core.errors import ConflictError, InvalidError, UnavailableError
from undercroft.core.home import Home
from undercroft.storage import checkpoints, journal
from undercroft.storage.checkpoints import Checkpoint
from undercroft.storage.database import Database
from undercroft.storage.tables import journal as table

NOW = datetime(2026, 11, 20, 9, tzinfo=UTC)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "home")
    made.prepare()
    return made


@pytest.fixture
def database(home: Home) -> Iterator[Database]:
    opened = Database(home.database_file)
    yield opened
    opened.close()


def fill(database: Database, count: int) -> None:
    for number in range(count):
        with database.write() as connection:
            journal.record(connection, actor="cli:anna", action="thing.add", subject=f"t{number}", after={"n": number})


def checkpoint(database: Database, home: Home, at: datetime = NOW) -> Checkpoint:
    with database.read() as connection:
        made = checkpoints.make(connection, checkpoints.signing_key(home), at=at)
    assert made is not None
    return made


def damage(database: Database, *known: Checkpoint) -> str | None:
    with database.read() as connection:
        return journal.find_damage(connection, {one.seq: one.hash for one in known})


def rewrite(database: Database, *, actor: str, at_seq: int) -> None:
    """What a clever forger does: changes an entry, and all hashes after it, so that the chain holds."""
    with database.write() as connection:
        found = [entry for entry, _ in journal.entries(connection)]
        connection.execute(delete(table))
        previous = journal.FIRST
        for entry in found:
            forged = replace(entry, actor=actor if entry.seq == at_seq else entry.actor, previous=previous)
            previous = forged.hash()
            values = {name: getattr(forged, name) for name in forged.__slots__}
            connection.execute(insert(table).values(**values, hash=previous))


def test_a_new_chain_that_holds_is_found(database: Database, home: Home) -> None:
    """Without the checkpoint a rewritten journal verifies; with it, it does not."""
    fill(database, 6)
    seen = checkpoint(database, home)
    rewrite(database, actor="cli:mallory", at_seq=3)
    assert damage(database) is None
    assert damage(database, seen) == "entry 6, or one before it, is not what it was when its checkpoint was made"


def test_an_end_that_was_cut_off_is_found(database: Database, home: Home) -> None:
    """Entries that are gone from the end leave a chain that holds, and a checkpoint that has seen more."""
    fill(database, 6)
    seen = checkpoint(database, home)
    with database.write() as connection:
        connection.execute(delete(table).where(table.c.seq > 4))
    assert damage(database) is None
    assert damage(database, seen) == "it ends at entry 4, a checkpoint has seen entry 6: the end was cut off"


def test_what_came_after_a_checkpoint_does_not_matter(database: Database, home: Home) -> None:
    """A journal goes on, and its checkpoints hold."""
    seen = []
    for _ in range(3):
        fill(database, 2)
        seen.append(checkpoint(database, home))
    assert [one.seq for one in seen] == [2, 4, 6]
    assert damage(database, *seen) is None


def test_an_inserted_entry_is_found(database: Database, home: Home) -> None:
    """One more entry in the middle, all later ones renumbered and hashed anew."""
    fill(database, 5)
    seen = checkpoint(database, home)
    with database.write() as connection:
        for seq in range(5, 2, -1):
            connection.execute(update(table).where(table.c.seq == seq).values(seq=seq + 1))
        copied = dict(connection.execute(select(table).where(table.c.seq == 2)).one()._mapping)
        connection.execute(insert(table).values({**copied, "seq": 3}))
    rewrite(database, actor="cli:anna", at_seq=3)
    assert damage(database) is None
    assert damage(database, seen) is not None


def unharmed(path: Path, made: Checkpoint) -> bool:
    """Whether a file still says what it did; one that does not has to be refused."""
    try:
        return checkpoints.read(path) == made
    except InvalidError as error:
        return error.code == "bad-checkpoint"


def test_every_changed_byte_of_a_checkpoint_is_found(database: Database, home: Home) -> None:
    """At each place of the file: one bit another, and the file is none any more, or says the same as before."""
    fill(database, 1)
    made = checkpoint(database, home)
    path = checkpoints.keep(made, home.checkpoints)
    content = path.read_bytes()
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= 1 << place % 8
        path.write_bytes(changed)
        assert unharmed(path, made), place


@pytest.mark.parametrize(
    "content",
    ["", "[]", "null", "{}", '{"kind": 1}', "[" * 3000, "x" * 5000, '{"seq": 1, "hash": 2, "at": 3}', "\x00"],
)
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, content: str) -> None:
    """Empty, of another form, deeply nested, long: an error with the file's name."""
    path = tmp_path / "journal-0000000001.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InvalidError, match=r"journal-0000000001\.json"):
        checkpoints.read(path)


def test_cut_and_garbled_files_are_refused(database: Database, home: Home) -> None:
    """Whatever happened to the file, the answer is an error of ours, or the checkpoint."""
    fill(database, 1)
    made = checkpoint(database, home)
    path = checkpoints.keep(made, home.checkpoints)
    for text in damaged(path.read_text(encoding="utf-8"), count=200, seed=5):
        path.write_text(text, encoding="utf-8", errors="surrogateescape")
        assert unharmed(path, made), text


def test_another_homes_checkpoint_is_not_taken(database: Database, home: Home, tmp_path: Path) -> None:
    """A checkpoint of another key is named as such, and so is a replaced key."""
    fill(database, 2)
    checkpoints.keep(checkpoint(database, home), home.checkpoints)
    home.signing_key_file.unlink()
    own = checkpoints.public_key(checkpoints.signing_key(home))
    with pytest.raises(ConflictError, match="was signed by key"):
        checkpoints.gather([home.checkpoints], own_key=own)


def test_two_checkpoints_that_contradict_each_other_are_named(database: Database, home: Home, tmp_path: Path) -> None:
    """A copy elsewhere and one in the home that saw different entries of one number cannot both be right."""
    fill(database, 3)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    checkpoints.keep(checkpoint(database, home), elsewhere)
    rewrite(database, actor="cli:mallory", at_seq=2)
    checkpoints.keep(checkpoint(database, home), home.checkpoints)
    own = checkpoints.public_key(checkpoints.signing_key(home))
    with pytest.raises(ConflictError, match="another checkpoint saw another entry 3"):
        checkpoints.gather([home.checkpoints, elsewhere], own_key=own)


def test_a_missing_place_is_said(tmp_path: Path) -> None:
    """A file that is not there is an error, not an empty list."""
    with pytest.raises(UnavailableError, match=r"nothing\.json"):
        checkpoints.gather([tmp_path / "nothing.json"], own_key="00")


def test_the_key_is_made_once_and_is_private(home: Home) -> None:
    """Its file is for the owner only, and stays the same; a damaged one is not replaced."""
    first = checkpoints.public_key(checkpoints.signing_key(home))
    assert checkpoints.public_key(checkpoints.signing_key(home)) == first
    assert home.signing_key_file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in home.root.glob(".signing*")] == []
    home.signing_key_file.write_text("0123", encoding="ascii")
    with pytest.raises(InvalidError, match="damaged"):
        checkpoints.signing_key(home)


def test_one_is_due_when_the_last_is_old_and_something_happened(database: Database, home: Home) -> None:
    """Of an empty journal none; the first at once; then not before its time, and not without a new entry."""

    def due(now: datetime) -> Checkpoint | None:
        with database.read() as connection:
            key = checkpoints.signing_key(home)
            return checkpoints.make_due(connection, key, home.checkpoints, every=timedelta(hours=24), now=now)

    assert due(NOW) is None
    fill(database, 1)
    first = due(NOW)
    assert first is not None
    checkpoints.keep(first, home.checkpoints)
    assert due(NOW + timedelta(hours=25)) is None
    fill(database, 1)
    assert due(NOW + timedelta(hours=23)) is None
    second = due(NOW + timedelta(hours=25))
    assert second is not None
    assert second.seq == 2


def test_a_folder_elsewhere_gets_what_it_lacks_and_keeps_what_it_has(
    database: Database, home: Home, tmp_path: Path
) -> None:
    """After a week without the share all of the week come; a file there that says something else stays, beside ours."""
    elsewhere = tmp_path / "share"
    elsewhere.mkdir()
    for _ in range(3):
        fill(database, 1)
        checkpoints.keep(checkpoint(database, home), home.checkpoints)
    kept: dict[str, Any] = {"kept": "as it is"}
    (elsewhere / "journal-0000000002.json").write_text(json.dumps(kept), encoding="utf-8")
    checkpoints.copy_missing(home.checkpoints, elsewhere)
    names = [f"journal-{name}.json" for name in ("0000000001", "0000000002", "0000000002.1", "0000000003")]
    assert sorted(path.name for path in elsewhere.iterdir()) == sorted(names)
    assert json.loads((elsewhere / "journal-0000000002.json").read_text(encoding="utf-8")) == kept


def test_a_checkpoint_replaces_none(database: Database, home: Home, tmp_path: Path) -> None:
    """The same entry again is the file that is there; another key's, another chain's or a damaged one stays beside."""
    fill(database, 3)
    first = checkpoint(database, home)
    file = checkpoints.keep(first, home.checkpoints)
    later = checkpoint(database, home, NOW + timedelta(hours=1))
    assert checkpoints.keep(later, home.checkpoints) == file
    assert checkpoints.read(file) == first
    home.signing_key_file.unlink()
    others = checkpoint(database, home)
    assert checkpoints.keep(others, home.checkpoints) != file
    rewrite(database, actor="cli:mallory", at_seq=1)
    checkpoints.keep(checkpoint(database, home), home.checkpoints)
    assert checkpoints.read(file) == first
    file.write_bytes(b"damaged")
    checkpoints.keep(first, home.checkpoints)
    assert file.read_bytes() == b"damaged"
    assert len(checkpoints.files_in(home.checkpoints)) == 4
    (tmp_path / "away").mkdir()
    for _ in range(2):
        checkpoints.copy_missing(home.checkpoints, tmp_path / "away")
        checkpoints.copy_missing(home.checkpoints, home.checkpoints)
    copies = {path.read_bytes() for path in (tmp_path / "away").iterdir()}
    assert copies == {path.read_bytes() for path in home.checkpoints.iterdir()}
    assert len(copies) == len(list((tmp_path / "away").iterdir())) == 4

"""Settings that were changed while the server was away: one entry, with what was kept of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from undercroft.core.settings import load_settings
from undercroft.storage import journal
from undercroft.storage.database import Database
from undercroft.storage.journal import Entry
from undercroft.storage.settings_diary import describe_file, note_settings


class Diary:
    """A home's database and its settings file.

    Args:
        folder: Where both are made.
    """

    def __init__(self, folder: Path) -> None:
        self.file = folder / "config.toml"
        self.database = Database(folder / "undercroft.db")

    def start(self, content: str, *sections: str) -> Entry | None:
        """As if the server read the settings anew."""
        self.file.write_text(content, encoding="utf-8")
        return note_settings(self.database, load_settings(self.file), self.file, sections=sections or None)

    def count(self) -> int:
        with self.database.read() as connection:
            assert journal.find_damage(connection) is None
            return journal.count(connection)


@pytest.fixture
def diary(tmp_path: Path) -> Iterator[Diary]:
    made = Diary(tmp_path)
    yield made
    made.database.close()


def test_a_change_is_one_entry_and_told_once(diary: Diary) -> None:
    """The first start tells nothing, the second what was edited, the third nothing more."""
    assert diary.start("[engines]\nthreads = 4\n") is None
    entry = diary.start("[engines]\nthreads = 1\n[limits]\nqueue_requests = 8\n")
    assert entry is not None
    assert (entry.actor, entry.action, entry.subject) == ("file:config.toml", "settings.change", "settings")
    assert entry.before == {"limits.queue_requests": 64, "engines.threads": 4}
    assert entry.after == {"limits.queue_requests": 8, "engines.threads": 1}
    assert diary.start("[engines]\nthreads = 1\n[limits]\nqueue_requests = 8\n") is None
    assert diary.count() == 1


def test_the_evidence_is_whose_the_file_is_and_when_it_was_written(diary: Diary) -> None:
    """Its owner and its time; a file that is gone is said to be."""
    diary.start("[engines]\nthreads = 4\n")
    diary.file.write_text("", encoding="utf-8")
    os.utime(diary.file, (1_700_000_000, 1_700_000_000))
    told = describe_file(diary.file)
    assert told.startswith("config.toml belongs to ")
    assert told.endswith(" and was written 2023-11-14 22:13 UTC")
    diary.file.unlink()
    entry = note_settings(diary.database, load_settings(diary.file), diary.file)
    assert entry is not None
    assert entry.reason == "config.toml cannot be looked at, or is not there any more"


def test_a_part_that_is_read_anew_is_told_at_once_and_the_rest_later(diary: Diary) -> None:
    """A door or a backup that reads the file while the server runs holds what it uses, and nothing else yet."""
    both = "[engines]\nthreads = 1\n[backup]\nhours = 1.5\n"
    assert diary.start(both, "backup") is None, "before the first whole look nothing is known"
    diary.start("")
    entry = diary.start(both, "backup")
    assert entry is not None
    assert entry.after == {"backup.hours": 1.5}
    entry = diary.start(both)
    assert entry is not None
    assert entry.after == {"engines.threads": 1}
    assert diary.count() == 2


def test_what_was_kept_fails_with_its_entry(diary: Diary) -> None:
    """Where the entry cannot be written nothing is kept either, and the next look finds the same difference."""
    diary.start("")
    with diary.database.write() as connection:
        connection.execute(text("CREATE TRIGGER full BEFORE INSERT ON journal BEGIN SELECT RAISE(FAIL, 'full'); END"))
    with pytest.raises(IntegrityError, match="full"):
        diary.start("[engines]\nthreads = 1\n")
    with diary.database.write() as connection:
        connection.execute(text("DROP TRIGGER full"))
    entry = diary.start("[engines]\nthreads = 1\n")
    assert entry is not None
    assert entry.after == {"engines.threads": 1}


def test_a_setting_that_moved_is_kept_where_it_is_now(diary: Diary, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the file to the environment with the same value is no change; taking it away there is."""
    diary.start("[engines]\nthreads = 1\n")
    monkeypatch.setenv("UNDERCROFT_ENGINES__THREADS", "1")
    assert diary.start("") is None
    monkeypatch.delenv("UNDERCROFT_ENGINES__THREADS")
    entry = diary.start("")
    assert entry is not None
    assert (entry.actor, entry.reason) == ("environment", "variables: UNDERCROFT_ENGINES__THREADS")

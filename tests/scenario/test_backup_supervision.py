"""The server's side of its own backups: real processes that fail without a word, or are ended with the server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.support.backups import Cellar
from tests.support.server import wait_for
from undercroft.core.settings import BackupSettings
from undercroft.recovery.supervision import look_after_backups
from undercroft.serving.backups import BackupState, read_state


@pytest.fixture
def cellar(tmp_path: Path) -> Iterator[Cellar]:
    """One whose settings ask for backups."""
    made = Cellar(tmp_path, None)
    made.home.config_file.write_text(
        f"[backup]\nfolder = '{made.store_folder}'\nunencrypted = true\n", encoding="utf-8"
    )
    yield made
    made.database.close()


def state(cellar: Cellar) -> BackupState:
    with cellar.database.read() as connection:
        return read_state(connection)


@contextmanager
def looking(cellar: Cellar) -> Iterator[threading.Event]:
    """The server's thread, ended with the test."""
    ending = threading.Event()
    settings = BackupSettings(folder=cellar.store_folder, unencrypted=True)
    thread = threading.Thread(target=look_after_backups, args=(cellar.home, cellar.database, settings, ending))
    thread.start()
    try:
        yield ending
    finally:
        ending.set()
        thread.join(60)
    assert not thread.is_alive()


def test_a_process_that_ends_without_a_word_is_written_down(cellar: Cellar) -> None:
    """It cannot even open the database, so it cannot write there; the server does."""
    with cellar.database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with looking(cellar):
        wait_for(lambda: state(cellar).is_failing, "the failure to be written down")
    assert state(cellar).failure == "its process ended with status 1; control.log says why"
    assert not cellar.store_folder.exists()


def test_what_is_due_is_done_by_a_process_of_its_own(cellar: Cellar) -> None:
    """A backup and its trial; the journal says that the system made them."""
    with looking(cellar):
        wait_for(lambda: state(cellar).tried_at, "the first backup and its trial")
    assert state(cellar).tried_id == state(cellar).created_id
    assert [path.name for path in (cellar.store_folder / "backups").iterdir()] == [state(cellar).created_id]


def test_a_server_that_ends_is_not_kept_waiting(cellar: Cellar) -> None:
    """A backup that runs is ended with it, and that is no failure."""
    with looking(cellar):
        wait_for(cellar.store_folder.exists, "the backup to begin")
    assert not state(cellar).is_failing

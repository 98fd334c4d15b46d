"""The server and its own backups: a process for each that is due, and an entry for one that ended without a word."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import structlog

from undercroft.core.clock import utc_now
from undercroft.core.errors import UndercroftError
from undercroft.core.home import Home
from undercroft.core.settings import BackupSettings
from undercroft.serving.backups import FAIL, BackupState, is_backup_due, is_trial_due, read_state
from undercroft.storage import journal
from undercroft.storage.database import Database

_log = structlog.get_logger("backup")

_FIRST_LOOK_SECONDS = 2.0
_LOOK_SECONDS = 60.0
_POLL_SECONDS = 0.5


def look_after_backups(home: Home, database: Database, settings: BackupSettings, ending: threading.Event) -> None:
    """Until the server ends, which ends a backup that runs: what it has written so far is found by the next one.

    Args:
        home: Of the server.
        database: Of the home.
        settings: In force.
        ending: Set when the server ends.
    """
    wait_seconds = _FIRST_LOOK_SECONDS
    while settings.where is not None and settings.hours and not ending.wait(wait_seconds):
        wait_seconds = _LOOK_SECONDS
        try:
            before = _state(database)
            now = utc_now()
            if is_backup_due(before, settings, now) or is_trial_due(before, settings, now):
                _run(home, database, before, ending)
        except (UndercroftError, OSError) as error:
            _log.error("backup failed", error=str(error))


def _run(home: Home, database: Database, before: BackupState, ending: threading.Event) -> None:
    command = [sys.executable, "-P", "-m", "undercroft.recovery.scheduled", "--home", str(home.root)]
    command += ["--parent", str(os.getpid())]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, cwd="/")
    while process.poll() is None and not ending.wait(_POLL_SECONDS):
        continue
    if process.poll() is None:
        process.terminate()
        process.wait()
        return
    _log.info("backup ended", status=process.returncode)
    after = _state(database)
    if process.returncode != 0 and after.failed_at == before.failed_at:
        _tell(database, process.returncode)


def _state(database: Database) -> BackupState:
    with database.read() as connection:
        return read_state(connection)


def _tell(database: Database, status: int) -> None:
    """A process that was killed, or could not even begin, wrote nothing down itself."""
    how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}; control.log says why"
    with database.write() as connection:
        journal.record(connection, actor="system", action=FAIL, subject="scheduled backup", reason=f"its process {how}")

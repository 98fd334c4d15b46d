"""What the server's own backups are: one due backup, one due trial, and what the rules remove.

python -m undercroft.recovery.scheduled --home HOME --parent PID

A process of its own, started by control, with the lowest priority for processor and disk. What it did stands in the
journal; what went wrong there, too.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from pathlib import Path

import psutil

from undercroft.core.clock import utc_now
from undercroft.core.errors import ConflictError, UndercroftError
from undercroft.core.home import Home
from undercroft.core.processes import die_with_parent
from undercroft.core.settings import BackupSettings, load_settings
from undercroft.recovery.places import Place, place_of
from undercroft.recovery.retention import Policy
from undercroft.recovery.runs import (
    NO_FAILURE,
    SERVER,
    STORE_BUSY,
    harmless_codes,
    make_backup,
    make_room,
    make_trial,
    telling,
)
from undercroft.serving.backups import is_backup_due, is_trial_due, read_state
from undercroft.storage.database import Database
from undercroft.storage.settings_diary import note_settings

# Who removes old backups is gone in that time; who stays longer is in the way of every backup.
_PATIENCE_SECONDS = 60.0


def policy_of(settings: BackupSettings) -> Policy | None:
    """The rules that the settings say; None where they say that everything stays."""
    counts = (settings.keep_last, settings.keep_daily, settings.keep_weekly, settings.keep_monthly)
    return Policy(*counts) if any(counts) else None


def run_due(home: Home, database: Database, *, patience_seconds: float = _PATIENCE_SECONDS) -> list[str]:
    """Does what is due now; returns what was done.

    Args:
        home: Of the server.
        database: Of the home.
        patience_seconds: How long somebody else may hold the store until that is a failure.

    Raises:
        UndercroftError: Something failed; the journal has it.
    """
    loaded = load_settings(home.config_file)
    settings = loaded.settings
    note_settings(database, loaded, home.config_file, sections=("backup",))
    with database.read() as connection:
        state = read_state(connection)
    with telling(database, str(settings.backup.where), SERVER):
        place = place_of(settings.backup, is_new=True)
    now, patience = utc_now(), patience_seconds
    done = []
    if is_backup_due(state, settings.backup, now):
        made = make_backup(home, database, settings, place, at=now, actor=SERVER, patience_seconds=patience)
        done.append(made.manifest.id)
        with database.read() as connection:
            state = read_state(connection)
    if is_trial_due(state, settings.backup, utc_now()):
        # Not the newest of the store: another home may use it, too.
        made_id = state.created_id
        make_trial(home, database, place, made_id, at=utc_now(), actor=SERVER, patience_seconds=patience)
        done.append("trial")
    policy = policy_of(settings.backup)
    if done and policy is not None:
        _prune(database, place, policy)
    return done


def _prune(database: Database, place: Place, policy: Policy) -> None:
    """Somebody who uses the store keeps it from being pruned: the backup is made, and the next one prunes."""
    try:
        with telling(database, place.where, SERVER, harmless=NO_FAILURE):
            make_room(database, place, policy, actor=SERVER)
    except ConflictError as error:
        if error.code != STORE_BUSY:
            raise
        print(f"not pruned: {error.message}", file=sys.stderr)


def _be_modest() -> None:
    with contextlib.suppress(psutil.Error, OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, 0, 19)
        psutil.Process().ionice(psutil.IOPRIO_CLASS_IDLE)


def main() -> None:
    """Reads the command line and runs."""
    parser = argparse.ArgumentParser(prog="undercroft-backup")
    parser.add_argument("--home", required=True)
    parser.add_argument("--parent", type=int, required=True)
    given = parser.parse_args()
    die_with_parent(given.parent)
    home = Home(Path(given.home))
    _be_modest()
    try:
        database = Database(home.database_file)
        try:
            run_due(home, database)
        finally:
            database.close()
    except UndercroftError as error:
        sys.exit(None if error.code in harmless_codes(SERVER) else str(error))


if __name__ == "__main__":
    main()

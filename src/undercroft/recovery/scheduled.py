"""What the server's own backups are: one due backup, one due trial, and what the rules remove.

python -m undercroft.recovery.scheduled --home HOME

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
from undercroft.core.errors import UndercroftError
from undercroft.core.home import Home
from undercroft.core.processes import die_with_parent
from undercroft.core.settings import BackupSettings, load_settings
from undercroft.recovery.places import place_of
from undercroft.recovery.retention import Policy
from undercroft.recovery.runs import NO_FAILURE, make_backup, make_room, make_trial, telling
from undercroft.serving.backups import is_backup_due, is_trial_due, read_state
from undercroft.storage.database import Database

_ACTOR = "system"


def policy_of(settings: BackupSettings) -> Policy | None:
    """The rules that the settings say; None where they say that everything stays."""
    counts = (settings.keep_last, settings.keep_daily, settings.keep_weekly, settings.keep_monthly)
    return Policy(*counts) if any(counts) else None


def run_due(home: Home, database: Database) -> list[str]:
    """Does what is due now; returns what was done.

    Raises:
        UndercroftError: Something failed; the journal has it.
    """
    settings = load_settings(home.config_file).settings
    with database.read() as connection:
        state = read_state(connection)
    with telling(database, str(settings.backup.where), _ACTOR):
        place = place_of(settings.backup, is_new=True)
    done = []
    if is_backup_due(state, settings.backup, utc_now()):
        done.append(make_backup(home, database, settings, place, at=utc_now(), actor=_ACTOR).manifest.id)
        with database.read() as connection:
            state = read_state(connection)
    if is_trial_due(state, settings.backup, utc_now()):
        # Not the newest of the store: another home may use it, too.
        make_trial(home, database, place, state.created_id, at=utc_now(), actor=_ACTOR)
        done.append("trial")
    policy = policy_of(settings.backup)
    if done and policy is not None:
        with telling(database, place.where, _ACTOR):
            make_room(database, place, policy, actor=_ACTOR)
    return done


def _be_modest() -> None:
    with contextlib.suppress(psutil.Error, OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, 0, 19)
        psutil.Process().ionice(psutil.IOPRIO_CLASS_IDLE)


def main() -> None:
    """Reads the command line and runs."""
    parser = argparse.ArgumentParser(prog="undercroft-backup")
    parser.add_argument("--home", required=True)
    home = Home(Path(parser.parse_args().home))
    die_with_parent()
    _be_modest()
    try:
        database = Database(home.database_file)
        try:
            run_due(home, database)
        finally:
            database.close()
    except UndercroftError as error:
        sys.exit(None if error.code in NO_FAILURE else str(error))


if __name__ == "__main__":
    main()

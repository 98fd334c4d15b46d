"""What the journal says of backups, and when the server makes one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from undercroft.cli.status import backup_sentence
from undercroft.core.clock import to_iso
from undercroft.core.settings import BackupSettings
from undercroft.serving.backups import BackupState, is_backup_due, is_trial_due, read_state
from undercroft.serving.doctor.backups import judge_backups
from undercroft.storage import journal
from undercroft.storage.database import Database

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
SETTINGS = BackupSettings(folder=Path("/mnt/backups"), hours=24, trial_days=7)


def ago(**period: float) -> str:
    return to_iso(NOW - timedelta(**period))


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path / "undercroft.db")
    yield opened
    opened.close()


def test_the_newest_of_each_kind_is_read(database: Database) -> None:
    """Older ones, and other entries, do not matter; an empty journal says nothing."""

    def told() -> BackupState:
        with database.read() as connection:
            return read_state(connection)

    assert told() == BackupState()
    rows = [
        ("backup.create", "b1", {"missing": 4}, None),
        ("backup.create", "b2", {"missing": 1}, None),
        ("backup.fail", "/mnt", None, "disk-full: no room"),
        ("key.create", "k", None, None),
    ]
    for hours, (action, subject, after, reason) in enumerate(rows):
        with database.write() as connection:
            journal.record(
                connection,
                actor="system",
                action=action,
                subject=subject,
                after=after,
                reason=reason,
                at=NOW + timedelta(hours=hours),
            )
    state = told()
    assert (state.created_id, state.missing, state.failure, state.tried_at) == ("b2", 1, "disk-full: no room", None)
    assert state.is_failing


@pytest.mark.parametrize(
    ("state", "is_due"),
    [
        (BackupState(), True),
        (BackupState(created_at=ago(hours=23)), False),
        (BackupState(created_at=ago(hours=24)), True),
        (BackupState(failed_at=ago(minutes=59)), False),
        (BackupState(failed_at=ago(minutes=60)), True),
        (BackupState(created_at=ago(hours=30), failed_at=ago(minutes=5)), False),
        (BackupState(created_at=ago(hours=2), failed_at=ago(hours=3)), False),
        (BackupState(created_at=ago(hours=2), failed_at=ago(hours=1)), True),
    ],
)
def test_a_backup_is_due_by_the_clock(state: BackupState, is_due: bool) -> None:
    """After the set hours, and an hour after a failure; never without a folder or with hours at 0."""
    assert is_backup_due(state, SETTINGS, NOW) == is_due
    assert not is_backup_due(state, BackupSettings(), NOW)
    assert not is_backup_due(state, SETTINGS.model_copy(update={"hours": 0.0}), NOW)


def test_a_failure_is_not_tried_again_more_often_than_backups_are_made() -> None:
    """Where one is made every six minutes, the next try is six minutes later, not an hour."""
    often = SETTINGS.model_copy(update={"hours": 0.1})
    assert not is_backup_due(BackupState(failed_at=ago(minutes=5)), often, NOW)
    assert is_backup_due(BackupState(failed_at=ago(minutes=6)), often, NOW)


def test_a_trial_is_due_when_there_is_something_to_try() -> None:
    """Not before the first backup, at once after it, and then every week."""
    assert not is_trial_due(BackupState(), SETTINGS, NOW)
    made = BackupState(created_at=ago(hours=1), created_id="b")
    assert is_trial_due(made, SETTINGS, NOW)
    assert not is_trial_due(made, SETTINGS.model_copy(update={"trial_days": 0.0}), NOW)
    assert not is_trial_due(BackupState(created_at=ago(hours=1), tried_at=ago(days=6)), SETTINGS, NOW)
    assert is_trial_due(BackupState(created_at=ago(hours=1), tried_at=ago(days=7)), SETTINGS, NOW)


@pytest.mark.parametrize(
    ("settings", "state", "levels", "words"),
    [
        (BackupSettings(), BackupState(), ["ok"], "none are set up"),
        (SETTINGS, BackupState(), ["ok"], "none was made yet"),
        (SETTINGS, BackupState(failed_at=ago(hours=1), failure="disk-full: x"), ["problem"], "disk-full: x"),
        (SETTINGS, BackupState(created_at=ago(hours=49), tried_at=ago(days=3)), ["warning"], "2 d 1 h old"),
        (SETTINGS, BackupState(created_at=ago(hours=3)), ["warning"], "no backup was restored on trial"),
        (SETTINGS, BackupState(ago(hours=3), "b", 2, tried_at=ago(days=3)), ["warning"], "lacks 2 stored files"),
        (SETTINGS, BackupState(ago(hours=47), "b", tried_at=ago(days=3)), ["ok"], "is 1 d 23 h old"),
    ],
)
def test_the_doctor_judges(settings: BackupSettings, state: BackupState, levels: list[str], words: str) -> None:
    """Each state, with its level, its words and something to do."""
    verdicts = judge_backups(settings, state, NOW)
    assert [verdict.level for verdict in verdicts] == levels
    assert words in verdicts[0].saw
    assert bool(verdicts[0].mend) == (levels != ["ok"])


@pytest.mark.parametrize(
    ("is_set_up", "state", "sentence"),
    [
        (False, BackupState(), ""),
        (True, BackupState(), "No backup was made yet."),
        (True, BackupState(failed_at=ago(minutes=3), failure="a: b"), "BACKUP FAILED 3 m ago: a: b"),
        (True, BackupState(ago(hours=2), "x"), "Last backup 2 h ago (x); none was restored on trial yet."),
        (
            False,
            BackupState(ago(hours=2), "x", 3, tried_at=ago(days=1)),
            "Last backup 2 h ago (x); it LACKS 3 stored files; restored on trial 1 d ago.",
        ),
    ],
)
def test_status_says_how_it_goes(is_set_up: bool, state: BackupState, sentence: str) -> None:
    """One sentence, none where there is nothing to say."""
    assert backup_sentence({"is_set_up": is_set_up, **state.to_dict()}, NOW) == sentence

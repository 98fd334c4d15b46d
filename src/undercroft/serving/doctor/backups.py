"""Backups of this home: whether they are made, and whether one was restored on trial."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from undercroft.core.clock import from_iso, utc_now
from undercroft.core.settings import BackupSettings
from undercroft.core.units import format_duration
from undercroft.serving.backups import BackupState, read_state
from undercroft.serving.doctor.findings import Check, Verdict, fail, fine, warn
from undercroft.serving.doctor.scene import Scene
from undercroft.serving.doctor.stored_state import read


def judge_backups(settings: BackupSettings, state: BackupState, now: datetime) -> list[Verdict]:
    """Whether backups are made as they were set up, and count.

    Args:
        settings: In force.
        state: As the journal says.
        now: The time.
    """
    if state.is_failing:
        return [fail(f"the last backup failed: {state.failure[:300]}", "undercroft backup create")]
    if settings.where is None and state.created_at is None:
        return [fine("none are set up; undercroft backup create --help")]
    if state.created_at is None:
        return [fine("none was made yet; the server makes the first one")]
    verdicts = []
    age = now - from_iso(state.created_at)
    if settings.hours and age > 2 * timedelta(hours=settings.hours):
        saw = (
            f"the newest backup is {format_duration(age.total_seconds())} old, expected one every {settings.hours:g} h"
        )
        mend = "set backup.place; undercroft up" if settings.where is None else "undercroft up; undercroft status"
        verdicts.append(warn(saw, mend))
    if state.missing:
        saw = f"backup {state.created_id} lacks {state.missing} stored files that this home has not, or damaged"
        verdicts.append(warn(saw, "undercroft model verify; pull the models again"))
    if state.tried_at is None:
        why = "Only a trial restore shows that a backup can be restored."
        verdicts.append(warn("no backup was restored on trial yet", "undercroft backup trial", why=why))
    return verdicts or [fine(f"the newest, {state.created_id}, is {format_duration(age.total_seconds())} old")]


def _look(scene: Scene) -> Sequence[Verdict]:
    return judge_backups(scene.settings.backup, read(scene.home, read_state, BackupState()), utc_now())


CHECKS = (
    Check(
        "backups",
        "what the journal says of the last backup and the last trial restore, against the settings",
        "When the disk dies, everything since the last backup that can be restored is lost.",
        _look,
    ),
)

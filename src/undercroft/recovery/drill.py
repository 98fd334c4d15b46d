"""The whole way once, with a clock: backup, restore into a scratch home, every digest compared."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime

from undercroft.core.clock import from_iso
from undercroft.core.home import Home
from undercroft.core.settings import Settings
from undercroft.recovery.creating import Created
from undercroft.recovery.places import Place
from undercroft.recovery.restoring import Tried
from undercroft.recovery.runs import make_backup, make_trial
from undercroft.registry.progress import Progress, silent
from undercroft.storage.database import Database


@dataclass(frozen=True, slots=True)
class Drill:
    """What it has shown.

    Args:
        created: The backup that was made; None where an earlier one was tried.
        create_seconds: How long making it took; None where none was made.
        tried: The restore.
        restore_seconds: How long that took, comparing included.
        age_seconds: Of the data that came back, when they were back.
        interval_seconds: Between two backups by the settings; None where the server makes none.
    """

    created: Created | None
    create_seconds: float | None
    tried: Tried
    restore_seconds: float
    age_seconds: float
    interval_seconds: float | None

    @property
    def worst_loss_seconds(self) -> float | None:
        """RPO: the most that a dead disk can cost by the settings; None where nothing says when the next one is made.

        Work since the last backup is lost, and the one that is being made when the disk dies.
        """
        if self.interval_seconds is None:
            return None
        return self.interval_seconds + (self.create_seconds or 0.0)


def drill(
    home: Home,
    database: Database,
    settings: Settings,
    place: Place,
    *,
    at: datetime,
    actor: str,
    is_new: bool,
    backup_id: str | None = None,
    progress: Progress = silent,
) -> Drill:
    """Does it. The server goes on meanwhile; nothing of the scratch home stays.

    Args:
        home: Prepared.
        database: Of the home.
        settings: In force.
        place: Of the store.
        at: Now.
        actor: Who.
        is_new: Whether a backup is made first.
        backup_id: Which one is tried where none is made; None is the newest.
        progress: Told how far each file is.

    Raises:
        UndercroftError: A step failed, which is what a drill is for.
    """
    created, create_seconds = None, None
    if is_new:
        begin = time.monotonic()
        created = make_backup(
            home, database, settings, place, at=at, actor=actor, reason="recovery drill", progress=progress
        )
        create_seconds = time.monotonic() - begin
        backup_id = created.manifest.id
    begin = time.monotonic()
    tried = make_trial(home, database, place, backup_id, at=at, actor=actor, progress=progress)
    restore_seconds = time.monotonic() - begin
    is_scheduled = settings.backup.where is not None and settings.backup.hours > 0
    taken = from_iso(tried.restored.manifest.at)
    return Drill(
        created,
        create_seconds,
        tried,
        restore_seconds,
        (at - taken).total_seconds() + (create_seconds or 0.0) + restore_seconds,
        settings.backup.hours * 3600 if is_scheduled else None,
    )

"""What the journal says of backups: when the last ones were made and tried, and whether that worked."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from undercroft.core.clock import from_iso
from undercroft.core.settings import BackupSettings
from undercroft.storage import journal
from undercroft.storage.journal import Entry, Search

CREATE, FAIL, TRIAL = "backup.create", "backup.fail", "backup.trial"
_LONGEST_RETRY = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class BackupState:
    """How backups of this home go.

    Args:
        created_at: When the last one was made; ISO 8601, UTC; None for never. So are the other times.
        created_id: Which.
        missing: Stored files that it lacks; count.
        failed_at: When one last failed.
        failure: Why, in the words of the error.
        tried_at: When a trial restore last compared every digest.
        tried_id: Of which backup.
    """

    created_at: str | None = None
    created_id: str = ""
    missing: int = 0
    failed_at: str | None = None
    failure: str = ""
    tried_at: str | None = None
    tried_id: str = ""

    @property
    def is_failing(self) -> bool:
        """Whether the last thing that was tried did not work."""
        good = max(self.created_at or "", self.tried_at or "")
        return self.failed_at is not None and self.failed_at > good

    def to_dict(self) -> dict[str, Any]:
        """Plain data for `undercroft status`."""
        return {**asdict(self), "is_failing": self.is_failing}


def read_state(connection: Connection) -> BackupState:
    """What the newest entries of the journal say."""
    created, failed, tried = (_newest(connection, action) for action in (CREATE, FAIL, TRIAL))
    after = (created.after or {}) if created else {}
    return BackupState(
        created_at=created.at if created else None,
        created_id=created.subject if created else "",
        missing=int(after.get("missing", 0)),
        failed_at=failed.at if failed else None,
        failure=(failed.reason or "") if failed else "",
        tried_at=tried.at if tried else None,
        tried_id=tried.subject if tried else "",
    )


def _newest(connection: Connection, action: str) -> Entry | None:
    found = journal.find(connection, Search(action=action, limit=1))
    return found[0][0] if found else None


def is_backup_due(state: BackupState, settings: BackupSettings, now: datetime) -> bool:
    """Whether the server has to make one now. After a failure it waits for the time between two, at most an hour."""
    every = timedelta(hours=settings.hours)
    return settings.where is not None and bool(every) and _is_due(state, state.created_at, every, now)


def is_trial_due(state: BackupState, settings: BackupSettings, now: datetime) -> bool:
    """Whether the newest backup has to be restored on trial now."""
    every = timedelta(days=settings.trial_days)
    is_wanted = settings.where is not None and settings.hours > 0 and bool(every) and state.created_at is not None
    return is_wanted and _is_due(state, state.tried_at, every, now)


def _is_due(state: BackupState, last: str | None, every: timedelta, now: datetime) -> bool:
    if state.is_failing and state.failed_at is not None:
        return now - from_iso(state.failed_at) >= min(every, _LONGEST_RETRY)
    return last is None or now - from_iso(last) >= every

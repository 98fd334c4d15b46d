"""Runs of probes as the database remembers them: which time of a schedule each was for, and how it went."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from undercroft.core.clock import from_iso, to_iso
from undercroft.storage.database import Database
from undercroft.storage.tables import probe_runs

# Why a scheduled run broke off that nobody is to blame for.
ENDED_WITH_SERVER = "the server ended while it ran"


@dataclass(frozen=True, slots=True)
class PastRun:
    """One run.

    Args:
        probe: Its name.
        due_at: The time of the schedule that it was for; None by command.
        started_at: When it began.
        finished_at: When it ended; None while it runs.
        asked: Questions; count.
        passed: Questions that passed; count.
        score: 0.0 to 1.0; None until it has ended.
        note: Why nobody could be asked, or it broke off; else empty.
    """

    probe: str
    due_at: datetime | None
    started_at: datetime
    finished_at: datetime | None
    asked: int
    passed: int
    score: float | None
    note: str

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "started_at": to_iso(self.started_at),
            "finished_at": to_iso(self.finished_at) if self.finished_at else None,
            "due_at": to_iso(self.due_at) if self.due_at else None,
            "asked": self.asked,
            "passed": self.passed,
            "score": self.score,
            "note": self.note,
        }


def begin_run(database: Database, probe: str, due_at: datetime | None, now: datetime) -> int | None:
    """Notes a run that begins; None where this time of the schedule has its run already.

    Args:
        database: Of the home.
        probe: Its name.
        due_at: The time of the schedule; None by command.
        now: The current time.
    """
    values = {
        "probe": probe,
        "due_at": to_iso(due_at) if due_at is not None else None,
        "started_at": to_iso(now),
        "release": "",
        "asked": 0,
        "passed": 0,
        "note": "",
    }
    try:
        with database.write() as connection:
            made = connection.execute(insert(probe_runs).values(values)).inserted_primary_key
    except IntegrityError:
        return None
    return int(made[0]) if made else None


def end_run(
    database: Database, run_id: int, now: datetime, *, release: str, asked: int, passed: int, score: float, note: str
) -> None:
    """Notes how a run went."""
    with database.write() as connection:
        connection.execute(
            update(probe_runs)
            .where(probe_runs.c.id == run_id)
            .values(finished_at=to_iso(now), release=release, asked=asked, passed=passed, score=score, note=note)
        )


def break_off(database: Database, now: datetime, note: str, *, run_id: int | None = None) -> None:
    """Notes that a scheduled run ended without a word.

    Args:
        database: Of the home.
        now: The current time.
        note: What is known of it.
        run_id: Which; None is each that has not ended, at the start of the server that would have ended it.
    """
    which = probe_runs.c.id == run_id if run_id is not None else probe_runs.c.due_at.is_not(None)
    with database.write() as connection:
        connection.execute(
            update(probe_runs)
            .where(which, probe_runs.c.finished_at.is_(None))
            .values(finished_at=to_iso(now), note=note)
        )


def last_due(connection: Connection, probe: str) -> datetime | None:
    """The latest time of the schedule that had its run; None where none had."""
    found = connection.execute(select(func.max(probe_runs.c.due_at)).where(probe_runs.c.probe == probe)).scalar()
    return from_iso(found) if found else None


def last_run(connection: Connection, probe: str) -> PastRun | None:
    """The run that began last; None where there was none."""
    row = connection.execute(
        select(probe_runs).where(probe_runs.c.probe == probe).order_by(probe_runs.c.id.desc()).limit(1)
    ).first()
    return _read(row) if row is not None else None


def newest_runs(connection: Connection, probe: str, *, limit: int) -> list[PastRun]:
    """The last runs that have ended, the newest first."""
    query = (
        select(probe_runs)
        .where(probe_runs.c.probe == probe, probe_runs.c.finished_at.is_not(None))
        .order_by(probe_runs.c.id.desc())
        .limit(limit)
    )
    return [_read(row) for row in connection.execute(query)]


def _read(row: Row[Any]) -> PastRun:
    return PastRun(
        row.probe,
        from_iso(row.due_at) if row.due_at else None,
        from_iso(row.started_at),
        from_iso(row.finished_at) if row.finished_at else None,
        row.asked,
        row.passed,
        row.score,
        row.note,
    )

"""Standard questions on a schedule: each time once, whatever is restarted."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.server import wait_for
from undercroft.core.home import Home
from undercroft.storage.database import Database
from undercroft.watch.probes.history import PastRun, begin_run, break_off, end_run, last_due, last_run
from undercroft.watch.probes.probe_files import load_probe, probe_file
from undercroft.watch.probes.scheduler import look_after_probes, next_start, owed_since
from undercroft.watch.reports.report_files import read_report, report_file
from undercroft.watch.reports.report_rows import read_rows

_PROBE = """\
schedule: "0 7 * * *"
jitter_minutes: 5
questions:
  - {id: one, text: Hello, checks: [{kind: no-refusal}]}
"""
_DUE = datetime(2026, 11, 20, 7, tzinfo=UTC)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "home")
    made.prepare()
    return made


@pytest.fixture
def database(home: Home) -> Iterator[Database]:
    made = Database(home.database_file)
    yield made
    made.close()


def last(database: Database, name: str = "bot") -> PastRun | None:
    with database.read() as connection:
        return last_run(connection, name)


def write_probe(home: Home, name: str, text: str, written_at: datetime) -> None:
    path = probe_file(home, name)
    path.write_text(text, encoding="utf-8")
    os.utime(path, (written_at.timestamp(), written_at.timestamp()))


def test_a_time_of_a_schedule_has_one_run(database: Database) -> None:
    """Whoever comes second gets none; by command there may be any number."""
    assert begin_run(database, "bot", _DUE, _DUE) is not None
    assert begin_run(database, "bot", _DUE, _DUE) is None
    assert begin_run(database, "other", _DUE, _DUE) is not None
    assert begin_run(database, "bot", None, _DUE) is not None
    assert begin_run(database, "bot", None, _DUE) is not None
    with database.read() as connection:
        assert last_due(connection, "bot") == _DUE


def test_a_run_that_was_cut_off_says_so_and_one_that_ended_stays(database: Database) -> None:
    """At the next start of the server; a run by command is nobody's to judge."""
    ended = begin_run(database, "bot", _DUE, _DUE)
    assert ended is not None
    end_run(database, ended, _DUE, release="bot@1", asked=2, passed=1, score=0.5, note="")
    break_off(database, _DUE, "the server ended while it ran")
    seen = last(database)
    assert seen is not None
    assert (seen.asked, seen.passed, seen.score, seen.note) == (2, 1, 0.5, "")
    begin_run(database, "bot", _DUE + timedelta(days=1), _DUE)
    break_off(database, _DUE, "the server ended while it ran")
    seen = last(database)
    assert seen is not None
    assert (seen.finished_at, seen.score, seen.note) == (_DUE, None, "the server ended while it ran")
    begin_run(database, "bot", None, _DUE)
    break_off(database, _DUE, "the server ended while it ran")
    seen = last(database)
    assert seen is not None
    assert seen.finished_at is None


def test_the_next_run_follows_the_last_one(home: Home, database: Database) -> None:
    """From when the file was written, then from the last time that had its run, each within its spread."""
    write_probe(home, "bot", _PROBE, _DUE - timedelta(hours=3))
    probe = load_probe(home, "bot")
    start = next_start("bot", probe, owed_since(home, database, "bot"))
    assert start is not None
    assert _DUE <= start < _DUE + timedelta(minutes=5)
    begin_run(database, "bot", _DUE, start)
    start = next_start("bot", probe, owed_since(home, database, "bot"))
    assert start is not None
    assert _DUE + timedelta(days=1) <= start < _DUE + timedelta(days=1, minutes=5)


def test_missed_runs_are_caught_up_once_and_a_restart_does_not_run_twice(home: Home, database: Database) -> None:
    """A week was missed: one run, in a process of its own, and none more after the server starts again.

    Probes are looked at by name, so that when a later one has run, the first has been looked at again.
    """
    week_ago = datetime.now(UTC) - timedelta(days=7)
    (home.probes / "broken.yaml").write_text("questions: 5\n", encoding="utf-8")
    for name in ("bot", "later"):
        write_probe(home, name, _PROBE, week_ago)
        ending = threading.Event()
        looking = threading.Thread(target=look_after_probes, args=(home, database, ending))
        looking.start()
        try:
            wait_for(lambda name=name: (seen := last(database, name)) and seen.finished_at, f"{name} to run")
        finally:
            ending.set()
            looking.join()
    for name in ("bot", "later"):
        rows, _damaged = read_rows(read_report(report_file(home, name)))
        assert [(row.question, row.error) for row in rows] == [("one", "not-running")]
        seen = last(database, name)
        assert seen is not None
        assert (seen.asked, seen.passed, seen.note) == (1, 0, "not-running")
        assert seen.due_at is not None

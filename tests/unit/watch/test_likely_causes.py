"""What probably caused a finding, where the diary tells of settings."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.alerts import NOW
from undercroft.core.home import Home
from undercroft.storage import journal
from undercroft.storage.database import Database
from undercroft.watch.findings import Finding, Kind, Severity
from undercroft.watch.incidents.likely_causes import likely_cause
from undercroft.watch.probes.history import begin_run, end_run


@pytest.mark.parametrize(
    ("names", "cause"),
    [
        (["engines.memory_limit_bytes"], "engines.memory_limit_bytes"),
        (
            ["alerts.site", "limits.queue_requests", "planning.pue", "usage.retention_days"],
            "limits.queue_requests, alerts.site, planning.pue",
        ),
        (["alerts.site", "backup.place"], None),
    ],
)
def test_settings_that_can_do_it_are_a_likely_cause(names: list[str], cause: str | None, tmp_path: Path) -> None:
    """An engine that ends after them: their names and how long before, no values, no file and no owner."""
    home = Home(tmp_path)
    home.prepare()
    database = Database(home.database_file)
    with database.write() as connection:
        journal.record(
            connection,
            actor="file:config.toml",
            action="settings.change",
            subject="settings",
            before=dict.fromkeys(names, "/home/anna/a"),
            after=dict.fromkeys(names, "/home/anna/b"),
            reason="config.toml belongs to anna",
            at=NOW - timedelta(minutes=4),
        )
    found = Finding(Kind.REPLICA_FAILING, "bot", NOW, Severity.WARNING, "bot ends.", {})
    told = likely_cause(database, home)(found)
    database.close()
    assert told == (None if cause is None else f"settings.change {cause}, 4 m before (undercroft journal show 1)")


@pytest.mark.parametrize(("hours_before", "is_told"), [(5, True), (30, False)])
def test_what_was_changed_between_two_runs_is_a_likely_cause(hours_before: int, is_told: bool, tmp_path: Path) -> None:
    """Of a drift of answers that is too small to be found in the reports; a change before the run before is none."""
    home = Home(tmp_path)
    home.prepare()
    database = Database(home.database_file)
    for days in (1, 0):
        at = NOW - timedelta(days=days)
        run = begin_run(database, "bot", at, at)
        assert run is not None
        end_run(database, run, at, release="bot@2", asked=5, passed=5, score=1.0, note="")
    with database.write() as connection:
        at = NOW - timedelta(hours=hours_before)
        journal.record(connection, actor="cli:anna", action="release.promoted", subject="bot@2", at=at)
    found = Finding(Kind.STYLE, "bot", NOW, Severity.WARNING, "Other words.", {"probe": "bot"})
    told = likely_cause(database, home)(found)
    database.close()
    assert told == ("release.promoted bot@2, 5 h before (undercroft journal show 1)" if is_told else None)

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

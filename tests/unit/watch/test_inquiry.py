"""What is asked of incidents, by command and by route."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.alerts import NOW
from undercroft.core.errors import ConflictError, NotFoundError
from undercroft.core.settings import AlertSettings
from undercroft.gateway.admin.control_metrics import incident_families
from undercroft.gateway.metrics import render
from undercroft.storage import journal
from undercroft.storage.database import Database
from undercroft.storage.journal import Search
from undercroft.watch.findings import Finding, Kind, Severity
from undercroft.watch.incidents import incident_store, inquiry, outbox
from undercroft.watch.incidents.incidents import Change, Step

SETTINGS = AlertSettings(slack_url_file=Path("/nowhere/slack.url"))


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """Three incidents: two of latency, which became critical for one of both, and one of a full disk."""
    opened = Database(tmp_path / "undercroft.db")
    found = [
        Finding(Kind.LATENCY, "bot", NOW, Severity.WARNING, "slow", {}),
        Finding(Kind.LATENCY, "far", NOW, Severity.CRITICAL, "slower", {}),
        Finding(Kind.DISK_LOW, "home", NOW, Severity.WARNING, "full", {"free": "1 GiB"}),
    ]
    with opened.write() as connection:
        incident_store.apply(connection, [Change(Step.OPEN, one) for one in found], lambda _: None, NOW)
    yield opened
    opened.close()


def resolve(database: Database, number: int, *, minutes: float = 1) -> None:
    at = NOW + timedelta(minutes=minutes)
    inquiry.resolve(database, SETTINGS, number, actor="key:key_1", reason="seen", now=at)


def listed(database: Database, **wanted: object) -> list[int]:
    values = {"include_resolved": False, "since": None, "limit": 50, **wanted}
    with database.read() as connection:
        return [one.id for one in inquiry.list_incidents(connection, **values)]  # type: ignore[arg-type]


def metrics(database: Database) -> dict[tuple[str, str], float]:
    """Kind and severity → open incidents, as Prometheus reads them."""
    with database.read() as connection:
        text = render(incident_families(incident_store.count_open(connection))).decode()
    return {
        (sample.labels["kind"], sample.labels["severity"]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "undercroft_incidents_open"
    }


def test_the_open_ones_are_listed_the_newest_first(database: Database) -> None:
    """With those that are over where that is asked for; since a moment those that were open then or later."""
    resolve(database, 2)
    assert listed(database) == [3, 1]
    assert listed(database, include_resolved=True) == [3, 2, 1]
    assert listed(database, include_resolved=True, limit=2) == [3, 2]
    assert listed(database, since=NOW) == [3, 2, 1]
    assert listed(database, since=NOW + timedelta(minutes=2)) == [3, 1]


def test_an_end_is_kept_journalled_and_told(database: Database) -> None:
    """Once: who comes second is told who was first, and nothing more is written."""
    resolve(database, 1)
    with pytest.raises(ConflictError, match="incident-resolved"):
        resolve(database, 1)
    with pytest.raises(NotFoundError, match="no-such-incident"):
        resolve(database, 9)
    with database.read() as connection:
        entries = journal.find(connection, Search(action="incident"))
        assert [(entry.actor, entry.subject, entry.reason) for entry, _ in entries] == [
            ("key:key_1", "incident 1", "seen")
        ]
        assert len(outbox.waiting_for(connection, "slack")) == 1
        about = inquiry.inquire(connection, 1).to_dict()
    assert (about["state"], about["resolved_by"], about["actions"]) == ("resolved", "key:key_1", [])


def test_prometheus_reads_how_many_are_open(database: Database) -> None:
    """By kind and severity; what was open once falls to 0, what never was is not there."""
    assert metrics(database) == {
        ("disk-low", "warning"): 1.0,
        ("latency", "critical"): 1.0,
        ("latency", "warning"): 1.0,
    }
    resolve(database, 1)
    assert metrics(database)["latency", "warning"] == 0.0
    assert metrics(database)["latency", "critical"] == 1.0


def test_a_home_without_incidents_has_no_series(tmp_path: Path) -> None:
    """The family is there all the same, with its words."""
    opened = Database(tmp_path / "empty.db")
    assert metrics(opened) == {}
    with opened.read() as connection:
        text = render(incident_families(incident_store.count_open(connection))).decode()
    assert "# HELP undercroft_incidents_open " in text
    opened.close()

"""Measurements: kept with date, journalled; the newest counts."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from undercroft.hardware.measurements import Measurement, find, newest, store
from undercroft.storage import journal
from undercroft.storage.database import Database

MORNING = datetime(2026, 11, 21, 8, tzinfo=UTC)
EVENING = datetime(2026, 11, 21, 20, tzinfo=UTC)


def test_the_newest_of_each_kind_device_and_variant_counts(tmp_path: Path) -> None:
    """An evening's figure replaces the morning's, one of another variant stays, whatever the order of storing."""
    database = Database(tmp_path / "a.db")
    one = Measurement("memory-bandwidth", "EPYC", 30e9, "read, all threads", {"threads": 2})
    store(database, [Measurement("memory-bandwidth", "EPYC", 31e9, "read, all threads")], actor="cli:a", at=EVENING)
    store(database, [one, Measurement("disk-read", "/", 3e9, "cold")], actor="cli:a", at=MORNING)
    with database.read() as connection:
        found = newest(connection)
    database.close()
    assert [(m.kind, m.value, m.at[:13]) for m in found] == [
        ("disk-read", 3e9, "2026-11-21T08"),
        ("memory-bandwidth", 31e9, "2026-11-21T20"),
    ]


def test_what_was_measured_stands_in_the_journal(tmp_path: Path) -> None:
    """Figures and their journal entry are written together; nothing measured is nothing written."""
    database = Database(tmp_path / "a.db")
    store(database, [], actor="cli:a")
    store(database, [Measurement("matrix", "EPYC", 2e11, "f16", {"threads": 2})], actor="cli:a", at=MORNING)
    with database.read() as connection:
        entries = [entry for entry, _ in journal.entries(connection)]
        found = newest(connection)
    database.close()
    assert [(e.actor, e.action, e.after) for e in entries] == [
        ("cli:a", "hardware.measure", {"matrix: EPYC: f16": 2e11})
    ]
    assert found[0].detail == {"threads": 2}


def test_a_figure_is_found_by_what_it_is_of() -> None:
    """Kind, device and variant narrow; of several the newest is given, of none nothing."""
    found = [
        Measurement("disk-read", "/", 3e9, "cold", at="2026-01-01"),
        Measurement("disk-read", "/data", 1e9, "cold", at="2026-02-01"),
        Measurement("disk-read", "/", 9e9, "warm", at="2026-03-01"),
    ]
    assert find(found, "disk-read", variant="cold") == found[1]
    assert find(found, "disk-read", device="/", variant="cold") == found[0]
    assert find(found, "matrix") is None

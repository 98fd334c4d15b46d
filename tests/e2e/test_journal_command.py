"""``undercroft journal`` as it is installed."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
from pathlib import Path

import pytest

from tests.support.cellar import Cellar


@pytest.fixture
def cellar(tmp_path: Path) -> Cellar:
    """A home with three entries."""
    made = Cellar(tmp_path)
    made.run("key", "create", "anna-ward-7")
    made.run("key", "create", "bo")
    made.run("key", "revoke", "anna-ward-7", "--because", "=HYPERLINK(1) ลาออกแล้ว")
    return made


def test_entries_are_found_and_shown_in_full(cellar: Cellar) -> None:
    """By a text in any language, by what and since when; one of them with what it changed."""
    key = cellar.json("journal", "show")[0]["subject"]
    assert [entry["seq"] for entry in cellar.json("journal", "search", key)] == [1, 3]
    assert [entry["seq"] for entry in cellar.json("journal", "search", "ANNA-WARD")] == [1]
    assert [entry["seq"] for entry in cellar.json("journal", "search", "ลาออก")] == [3]
    assert [entry["seq"] for entry in cellar.json("journal", "search", "--action", "key.revoke", "--since", "1h")] == [
        3
    ]
    assert cellar.json("journal", "search", "--until", "2020-01-01") == []
    assert "No entry is like that." in cellar.run("journal", "search", "no such words").stdout
    shown = cellar.run("journal", "show", "3").stdout
    assert "ลาออกแล้ว" in shown
    assert "+ revoked_at:" in shown
    assert "no-such-entry" in cellar.run("journal", "show", "4", expected=4).stderr
    assert "bad-time" in cellar.run("journal", "search", "--since", "soon", expected=2).stderr


def test_a_checkpoint_elsewhere_shows_what_was_cut_off(cellar: Cellar, tmp_path: Path) -> None:
    """After the newest entry and the home's own checkpoints are gone the journal verifies by itself, and not beside
    the copy that was kept elsewhere."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    made = cellar.json("journal", "checkpoint", "--out", str(elsewhere))
    assert made["seq"] == 3
    assert "agrees with 1 checkpoint." in cellar.run("journal", "verify", "--checkpoint", str(elsewhere)).stdout
    with sqlite3.connect(cellar.home / "undercroft.db") as connection:
        connection.execute("DELETE FROM journal WHERE seq = 3")
    connection.close()
    assert "the end was cut off" in cellar.run("journal", "verify", expected=5).stderr
    for file in (cellar.home / "checkpoints").iterdir():
        file.unlink()
    assert "2 entries, no checkpoint" in cellar.run("journal", "verify").stdout
    assert "the end was cut off" in cellar.run("journal", "verify", "--checkpoint", str(elsewhere), expected=5).stderr


def test_exports_can_be_read_elsewhere(cellar: Cellar, tmp_path: Path) -> None:
    """JSON lines hold every entry with its hash; no cell of the CSV is a formula; nothing is left of a failed one."""
    cellar.run("journal", "export", str(tmp_path / "journal.jsonl"))
    lines = [json.loads(line) for line in (tmp_path / "journal.jsonl").read_text(encoding="utf-8").splitlines()]
    assert lines == cellar.json("journal", "show")
    cellar.run("journal", "export", str(tmp_path / "journal.csv"))
    content = (tmp_path / "journal.csv").read_text(encoding="utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(content)))
    assert [row["seq"] for row in rows] == ["1", "2", "3"]
    assert not [cell for row in rows for cell in row.values() if cell.startswith(("=", "+", "-", "@"))]
    assert cellar.run("journal", "export", "-", "--format", "csv").stdout.count("\n") >= 4
    failed = cellar.run("journal", "export", str(tmp_path / "nowhere" / "journal.csv"), expected=6)
    assert "cannot write" in failed.stderr
    assert sorted(path.name for path in tmp_path.glob("*journal*")) == ["journal.csv", "journal.jsonl"]

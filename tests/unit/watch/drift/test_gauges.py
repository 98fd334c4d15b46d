"""How detectors are shown, and the command that shows them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import insert, select
from typer.testing import CliRunner

from tests.unit.watch.drift.test_surveying import BEGIN, Watched
from undercroft.cli import build
from undercroft.core.clock import to_iso
from undercroft.storage.tables import journal, probe_outcomes
from undercroft.watch.drift import look, survey
from undercroft.watch.drift.gauges import Standing, gauges_of
from undercroft.watch.findings import Kind


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watched:
    """With one deployment; commands use its home."""
    made = Watched(tmp_path / "home")
    made.serve()
    monkeypatch.setenv("UNDERCROFT_HOME", str(made.home.root))
    return made


def test_a_detector_learns_is_quiet_rises_and_alarms(watched: Watched) -> None:
    """Its standing, its values and its share of the limit say how it is."""

    def score() -> tuple[Standing, int, float | None]:
        drift = survey(watched.database, watched.home, BEGIN)
        gauge = next(one for one in gauges_of(drift, "bot") if one.kind is Kind.SCORE)
        return gauge.standing, gauge.values, gauge.limit_ratio

    watched.mornings(range(4))
    assert score() == (Standing.LEARNING, 4, None)
    watched.mornings(range(4, 20))
    assert score() == (Standing.QUIET, 50, 0.0)
    watched.mornings(range(20, 21), score=0.94)
    standing, values, ratio = score()
    assert (standing, values) == (Standing.RISING, 55)
    assert ratio is not None
    assert 0.5 <= ratio < 1
    watched.mornings(range(21, 23), score=0.94)
    assert score() == (Standing.ALARM, 65, 1.0)


def test_only_what_was_asked_for_is_shown(watched: Watched) -> None:
    """Another name has no detector."""
    watched.mornings(range(4))
    drift = survey(watched.database, watched.home, BEGIN)
    assert {gauge.subject for gauge in gauges_of(drift)} == {"bot"}
    assert gauges_of(drift, "other") == []


def run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(build("drift"), ["drift", *words])
    return result.exit_code, result.output


def test_the_command_prints_findings_and_detectors(watched: Watched) -> None:
    """People get a table, programs JSON; nothing is changed by looking."""
    watched.mornings(range(20))
    watched.mornings(range(20, 26), score=0.5)
    status, output = run("show", "bot")
    assert status == 0
    assert output.startswith("CRITICAL: Standard questions of bot score 0.50")
    assert "ALARM" in output
    status, output = run("show", "--json")
    plain = json.loads(output)
    assert [one["kind"] for one in plain["findings"]] == ["score"]
    assert {one["kind"] for one in plain["detectors"]} >= {"score", "latency", "style", "pass-rate"}


def test_an_empty_home_says_what_to_do(watched: Watched) -> None:
    """No detector is no error; a name that nobody watches is."""
    assert run("show") == (0, "Nothing is watched yet. Try: undercroft probe init NAME\n")
    result = CliRunner().invoke(build("drift"), ["drift", "show", "other"])
    assert getattr(result.exception, "code", "") == "nothing-watched"


def test_a_reset_is_in_the_journal_and_ends_what_was_found(watched: Watched) -> None:
    """Who, when and why; what was read is not judged again."""
    watched.mornings(range(20))
    end = watched.mornings(range(20, 26), score=0.5)
    assert look(watched.database, watched.home, end) != []
    assert run("reset", "bot", "--because", "shorter answers are wanted")[0] == 0
    assert look(watched.database, watched.home, end) == []
    with watched.database.read() as connection:
        entry = connection.execute(select(journal).order_by(journal.c.seq.desc()).limit(1)).one()
    assert (entry.action, entry.subject, entry.reason) == ("drift.reset", "bot", "shorter answers are wanted")


def test_old_homes_without_outcomes_are_shown(watched: Watched) -> None:
    """A row of a probe of a deployment that is gone is nobody's."""
    rows = [{**row, "deployment": "gone"} for row in watched.rows(BEGIN)]
    with watched.database.write() as connection:
        connection.execute(insert(probe_outcomes), rows)
    assert survey(watched.database, watched.home, BEGIN).probes == {}
    assert to_iso(BEGIN) == rows[0]["run_at"]

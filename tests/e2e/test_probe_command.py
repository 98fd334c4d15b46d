"""``undercroft probe`` as it is installed, against the starter model."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from tests.support.cellar import Cellar
from tests.support.server import Server

_TICKET = "Hi, where is my order SG-4471? I need it today."
_PROBE = f"""\
time_zone: Asia/Bangkok
questions:
  - id: good
    text: "{_TICKET}"
    total_seconds: 300
    checks:
      - kind: json
        schema: {{required: [language, intent, order_id]}}
      - {{kind: exact, text: SG-4471, at: order_id}}
      - {{kind: language, language: en, among: [en, ms, vi], at: summary}}
  - id: bad
    text: "{_TICKET}"
    checks: [{{kind: contains, text: [SG-4471, philosophy]}}]
"""


def write_probe(server: Server | Cellar, name: str, text: str) -> None:
    folder = server.home / "probes"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.yaml").write_text(text, encoding="utf-8")


def report_rows(server: Server | Cellar, name: str) -> list[dict[str, str]]:
    content = (server.home / "reports" / f"{name}.csv").read_text(encoding="utf-8-sig")
    return list(csv.DictReader(io.StringIO(content, newline="")))


def test_a_run_says_what_passed_and_adds_rows(server: Server) -> None:
    """At 80 columns, with the reason of what failed; a row for each question with figures and without the answer."""
    write_probe(server, "tickets", _PROBE.replace("time_zone", "model: ticket-pilot\ntime_zone"))
    shown = server.run("probe", "run", "tickets", check=False)
    assert shown.returncode == 1, shown.stderr
    assert "tickets: 1 of 2 passed, score 0.75, by ticket-pilot@" in shown.stdout
    assert "bad: contains: expected 'philosophy' in it" in " ".join(shown.stdout.split())
    path = str(server.home)
    assert all(len(line) <= 80 or path in line for line in shown.stdout.splitlines())
    good, bad = report_rows(server, "tickets")
    assert (good["passed"], good["score"], good["json"], good["error"]) == ("yes", "1.000", "1.000", "")
    assert (bad["passed"], bad["failed_checks"], bad["contains"]) == ("no", "contains", "0.500")
    assert int(good["answer_tokens"]) > 3
    assert float(good["total_seconds"]) >= float(good["first_token_seconds"]) > 0
    assert good["answer_digest"] == bad["answer_digest"]
    assert good["release"].startswith("ticket-pilot@")
    assert "SG-4471" not in (server.home / "reports" / "tickets.csv").read_text(encoding="utf-8")


def test_a_run_can_be_read_by_programs(server: Server) -> None:
    """As JSON, with every check, and with the exit status all the same."""
    write_probe(server, "ticket-pilot", _PROBE)
    shown = server.run("probe", "run", "ticket-pilot", "--json", check=False)
    assert shown.returncode == 1
    assert '"has_passed": false' in shown.stdout
    assert len(report_rows(server, "ticket-pilot")) == 2
    write_probe(server, "ticket-pilot", _PROBE.split("  - id: bad")[0])
    assert server.json("probe", "run", "ticket-pilot")[0]["outcomes"][0]["has_passed"] is True


def test_a_name_that_is_not_served_fails_its_questions(server: Server) -> None:
    """The door's own word is in the row, and the exit status says that some failed."""
    write_probe(server, "nobody", _PROBE)
    shown = server.run("probe", "run", "nobody", check=False)
    assert shown.returncode == 1
    assert {row["error"] for row in report_rows(server, "nobody")} == {"model_not_found"}


@pytest.fixture
def cellar(tmp_path: Path) -> Cellar:
    """A home without a server."""
    return Cellar(tmp_path, "probe")


def test_without_a_server_the_rows_say_so(cellar: Cellar) -> None:
    """Exit status 6, and a report that has no gap."""
    write_probe(cellar, "bot", _PROBE)
    shown = cellar.run("run", "bot", expected=6)
    assert "not-running" in shown.stdout
    assert [(row["passed"], row["score"], row["error"]) for row in report_rows(cellar, "bot")] == [
        ("no", "0.000", "not-running")
    ] * 2


def test_a_wrong_probe_is_said_before_anything_is_asked(cellar: Cellar) -> None:
    """With its line; and a language that cannot be told is refused by name."""
    write_probe(cellar, "bot", _PROBE.replace("kind: exact", "kind: exactly"))
    assert "line 9" in cellar.run("run", "bot", expected=2).stderr
    write_probe(cellar, "bot", _PROBE.replace("language: en,", "language: xx,"))
    assert "unknown-language" in cellar.run("run", "bot", expected=2).stderr
    assert "no-such-probe" in cellar.run("run", "bott", expected=4).stderr
    assert "which-probe" in cellar.run("run", expected=2).stderr
    assert not (cellar.home / "reports" / "bot.csv").exists()

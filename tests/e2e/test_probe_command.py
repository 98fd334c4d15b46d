"""``undercroft probe`` as it is installed, against the starter model."""

from __future__ import annotations

import csv
import io
import json
import os
import select
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.cellar import Cellar
from tests.support.server import Server, wait_for

pytestmark = pytest.mark.long

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


def test_a_first_probe_is_written_out_of_accepted_answers(server: Server) -> None:
    """Five tickets, shown with their answers; only what was accepted stands in the file, and it passes."""
    shown = server.run("probe", "init", "first", "--model", "ticket-pilot", stdin="y\nn\n\nn\ny\n")
    assert "5 of 5: 请给我订单" in shown.stdout
    assert "3 questions are in" in shown.stdout
    ran = server.json("probe", "run", "first")[0]
    assert [outcome["question"] for outcome in ran["outcomes"]] == [
        "order-status-english",
        "cancel-malay",
        "invoice-chinese",
    ]
    assert ran["passed"] == 3
    again = server.run("probe", "init", "first", "--model", "ticket-pilot", "--yes", check=False)
    assert again.returncode == 5
    assert "probe-exists" in again.stderr


def test_nothing_is_written_where_nothing_was_confirmed(server: Server) -> None:
    """Neither when all were declined, nor when the input ends in the middle."""
    declined = server.run("probe", "init", "declined", "--model", "ticket-pilot", stdin="n\n" * 5, check=False)
    assert declined.returncode == 4
    ended = server.run("probe", "init", "declined", "--model", "ticket-pilot", stdin="y\n", check=False)
    assert ended.returncode == 130
    assert not (server.home / "probes" / "declined.yaml").exists()


def test_a_baseline_and_a_report(server: Server) -> None:
    """The starter answers the same each time; likeness is in the rows that follow, the report has both days, and the
    detectors of drift have learnt from the last baseline and the run."""
    write_probe(server, "daily", _PROBE.replace("time_zone", "model: ticket-pilot\ntime_zone"))
    taken = server.json("probe", "baseline", "daily", "--runs", "2")
    assert taken["questions"]["good"]["noisy"] == []
    assert taken["questions"]["good"]["checks"]["exact"]["passed"] == 2
    shown = server.run("probe", "baseline", "daily", "--runs", "2").stdout
    assert "Never passed, and will fail every run: bad: contains" in shown
    server.run("probe", "run", "daily", check=False)
    assert [row["likeness"] for row in report_rows(server, "daily")] == ["1.000", "1.000"]
    watched = [
        one for one in server.json("drift", "show", "ticket-pilot")["detectors"] if one["source"] == "probe:daily"
    ]
    assert {one["kind"]: (one["standing"], one["values"]) for one in watched}["pass-rate"] == ("learning", 3)
    page = server.home / "daily.html"
    shown = server.run("probe", "report", "daily", "--html", str(page)).stdout
    assert "1 of 2 questions" in shown
    assert all(len(line) <= 80 or str(server.home) in line for line in shown.splitlines())
    assert "<svg" in page.read_text(encoding="utf-8")
    assert "# daily: standard questions" in server.run("probe", "report", "daily", "--markdown", "-").stdout
    assert server.json("probe", "report", "daily")["whole"]["asked"] == 2
    assert "no-rows" in server.run("probe", "report", "daily", "--since", "2099-01-01", check=False).stderr
    assert "bad-time" in server.run("probe", "report", "daily", "--since", "soon", check=False).stderr


def test_a_schedule_is_kept_by_the_server(server: Server) -> None:
    """What was missed since the file was written is asked once, through the door, and the list says how it went."""
    write_probe(server, "nightly", 'model: ticket-pilot\nschedule: "0 3 * * *"\n' + _PROBE)
    yesterday = time.time() - 2 * 86_400
    os.utime(server.home / "probes" / "nightly.yaml", (yesterday, yesterday))

    def entry() -> dict[str, Any]:
        found: dict[str, Any] = next(each for each in server.json("probe", "list") if each["probe"] == "nightly")
        return found

    wait_for(lambda: (last := entry()["last"]) and last["finished_at"], "the scheduled run to end")
    found = entry()
    assert (found["last"]["asked"], found["last"]["passed"], found["last"]["note"]) == (2, 1, "")
    assert found["last"]["due_at"] is not None
    assert found["next"] > found["last"]["due_at"]
    assert len(report_rows(server, "nightly")) == 2
    shown = server.run("probe", "list").stdout
    assert "1 of 2" in shown
    assert all(len(line) <= 80 for line in shown.splitlines())


def test_all_others_are_asked_beside_a_probe_that_cannot_be(cellar: Cellar) -> None:
    """It is named on stderr, the status is its own, and what the others were asked is shown and kept."""
    write_probe(cellar, "bad", "questions: 5")
    write_probe(cellar, "good", _PROBE)
    write_probe(cellar, "worse", "questions: 6")
    shown = cellar.run("run", "--all", expected=2)
    assert "good:" in shown.stdout
    assert "bad.yaml" in shown.stderr
    assert "worse.yaml" in shown.stderr
    assert len(report_rows(cellar, "good")) == 2
    shown = cellar.run("run", "--all", "--json", expected=2)
    assert [run["probe"] for run in json.loads(shown.stdout)] == ["good"]
    codes = [json.loads(line)["error"]["code"] for line in shown.stderr.splitlines()]
    assert codes == ["bad-probe", "bad-probe"]


def test_a_probe_that_cannot_be_used_is_listed_as_such(cellar: Cellar) -> None:
    """With its problem, beside those that can."""
    write_probe(cellar, "bad", "questions: 5")
    write_probe(cellar, "good", _PROBE)
    shown = cellar.run("list").stdout
    assert "cannot be used" in shown
    assert "questions: expected a list" in shown
    assert [each["next"] for each in cellar.json("list")] == [None, None]
    cellar.run("run", "good", expected=6)
    assert cellar.json("list")[1]["last"]["note"] == "not-running"


def test_rows_can_be_watched_as_they_come(cellar: Cellar) -> None:
    """Those from before are not shown, each new one is, and Ctrl-C ends it."""
    write_probe(cellar, "bot", _PROBE)
    cellar.run("run", "bot", expected=6)
    watching = cellar.start("watch", "bot")
    assert watching.stdout is not None
    assert "Waiting for rows" in watching.stdout.readline()
    try:
        # The first look at the file may come after this line and before the next run, or a little later.
        shown = ""
        while "good" not in shown:
            cellar.run("run", "bot", expected=6)
            if select.select([watching.stdout], [], [], 5)[0]:
                shown = watching.stdout.readline()
        assert shown.split("  ")[1:] == ["good", "NO", "0.00", "-", "not-running\n"]
    finally:
        watching.send_signal(signal.SIGINT)
        watching.communicate(timeout=240)
    assert watching.returncode == 130

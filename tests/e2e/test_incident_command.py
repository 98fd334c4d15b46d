"""``undercroft incident`` and ``undercroft alert`` without a server: what they print and how they end."""

from __future__ import annotations

from pathlib import Path

from tests.support.alerts import NOW
from tests.support.cellar import Cellar
from undercroft.core.home import Home
from undercroft.storage.database import Database
from undercroft.watch.findings import Finding, Kind, Severity
from undercroft.watch.incidents import incident_store
from undercroft.watch.incidents.incidents import Change, Step


def test_an_incident_is_shown_and_resolved_once(tmp_path: Path) -> None:
    """What, since when, what helps; whoever comes second is told who was first."""
    cellar = Cellar(tmp_path)
    home = Home(cellar.home)
    home.prepare()
    database = Database(home.database_file)
    figures = {"deployment": "support", "previous": 6}
    found = Finding(Kind.PROBE_FAILING, "bot", NOW, Severity.CRITICAL, "bot fails.", figures)
    with database.write() as connection:
        incident_store.apply(connection, [Change(Step.OPEN, found)], lambda _: "release.promoted bot@7", NOW)
    database.close()
    shown = cellar.run("incident", "show", "1").stdout
    assert shown == (
        "incident  1, critical, open\n"
        "what      bot fails.\n"
        "since     2026-11-21 07:00 UTC, noticed 2026-11-21 07:00 UTC\n"
        "cause     release.promoted bot@7\n"
        "to act    undercroft probe report bot\n"
        "to act    undercroft rollback support --to 6\n"
    )
    resolved = cellar.run("incident", "resolve", "1", "--because", "known").stdout
    assert "it opens again when that was gone" in " ".join(resolved.split())
    assert "resolved by cli:" in cellar.run("incident", "resolve", "1", expected=5).stderr
    listed = cellar.json("incident", "list", "--all")
    assert [(one["id"], one["state"], one["reason"]) for one in listed] == [(1, "resolved", "known")]


def test_settings_that_cannot_work_say_so(tmp_path: Path) -> None:
    """A sink whose file is missing is not sent and says which setting; one that is not set has nothing to test."""
    cellar = Cellar(tmp_path, "alert", UNDERCROFT_ALERTS__SLACK_URL_FILE=str(tmp_path / "nowhere"))
    tried = " ".join(cellar.run("test", expected=1).stdout.split())
    assert tried.startswith("slack: NOT SENT; alerts.slack_url_file: cannot read")
    assert "do not name email" in cellar.run("test", "email", expected=4).stderr
    assert "got 'pager'" in cellar.run("test", "pager", expected=2).stderr
    assert cellar.json("list")["sinks"] == [{"sink": "slack", "waiting": 0, "dead": 0, "sent_at": None, "problem": ""}]

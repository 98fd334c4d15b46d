"""A real server whose probe fails and whose engine is killed: told, shown, acted upon, resolved by a person."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests

from tests.support.alerts import receiving
from tests.support.server import Server, kill, wait_for


def test_what_goes_wrong_is_told_shown_acted_upon_and_resolved(
    fake_server: Callable[..., Server], tmp_path: Path
) -> None:
    """From the command line and the receiver, as a team sees it."""
    with receiving() as receiver:
        (tmp_path / "url").write_text(receiver.url, encoding="utf-8")
        (tmp_path / "secret").write_text("a secret of the test, long enough", encoding="utf-8")
        server = fake_server(
            UNDERCROFT_ALERTS__WEBHOOK_URL_FILE=str(tmp_path / "url"),
            UNDERCROFT_ALERTS__WEBHOOK_SECRET_FILE=str(tmp_path / "secret"),
            UNDERCROFT_ALERTS__SITE="cellar-1",
        )
        server.run("alert", "test")
        assert receiver.received.pop().json()["data"]["text"].startswith("[Test] cellar-1")
        assert server.run("incident", "list").stdout == "No incident is open.\n"
        first = server.wait_ready("bot")["replicas"][0]["id"]
        (server.home / "actions.yaml").write_text(
            "rules:\n  - {name: again, when: [probe-failing], do: restart}\n", encoding="utf-8"
        )
        (server.home / "probes" / "bot.yaml").write_text(
            "alert_after_failures: 1\nquestions:\n"
            "  - {id: one, text: Hello, checks: [{kind: exact, text: nobody says this}]}\n",
            encoding="utf-8",
        )
        server.run("probe", "run", "bot", check=False)

        def told() -> list[tuple[str, str]]:
            alerts = [alert for one in receiver.received for alert in one.json()["data"]["alerts"]]
            return [(alert["event"], alert["kind"]) for alert in alerts]

        wait_for(lambda: ("acted", "probe-failing") in told(), "the rule to have acted")
        assert told() == [("opened", "probe-failing"), ("acted", "probe-failing")]
        wait_for(lambda: [r["id"] for r in server.wait_ready("bot")["replicas"]] != [first], "another replica")
        assert server.json("journal", "search", "--action", "action.restart")[0]["subject"] == "bot"
        kill(server.wait_ready("bot")["replicas"][0]["pid"])
        wait_for(lambda: ("opened", "replica-failing") in told(), "the engine's end to be told")
        assert "INCIDENT 1 (critical, since" in server.run("status").stdout
        listed = server.run("incident", "list", "--json", check=False)
        assert listed.returncode == 1
        assert '"replica-failing"' in listed.stdout
        shown = server.run("incident", "show", "1").stdout
        assert "rule again: restart bot" in shown
        assert "to act    undercroft probe report bot" in shown
        assert_the_routes_say_the_same(server)
        server.run("incident", "resolve", "1", "--because", "the check was wrong")
        wait_for(lambda: ("resolved", "probe-failing") in told(), "the end to be told")
        kept = server.json("alert", "list")
        assert {one["state"] for one in kept["alerts"]} == {"sent"}
        assert kept["sinks"] == [
            {"sink": "webhook", "waiting": 0, "dead": 0, "sent_at": kept["sinks"][0]["sent_at"], "problem": ""}
        ]


def assert_the_routes_say_the_same(server: Server) -> None:
    """The admin routes show what the commands show, resolve as they do, and Prometheus reads how many are open."""
    admin = server.json("key", "create", "ops", "--admin")["key"]

    def ask(method: str, path: str, key: str = admin, **options: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {key}"}
        return requests.request(method, f"{server.url}{path}", headers=headers, timeout=30, **options)

    assert ask("GET", "/admin/incidents", server.key).status_code == 403
    assert ask("POST", "/admin/incidents/2/resolve", server.key).status_code == 403
    shown = ask("GET", "/admin/incidents/1").json()
    assert shown == server.json("incident", "show", "1")
    assert (shown["actions"][0]["rule"], shown["commands"]) == ("again", ["undercroft probe report bot"])
    assert ask("GET", "/admin/incidents/rules").json()[0]["name"] == "again"
    open_now = 'undercroft_incidents_open{kind="replica-failing",severity="'
    assert any(line.startswith(open_now) and line.endswith(" 1.0") for line in ask("GET", "/metrics").text.splitlines())
    resolved = ask("POST", "/admin/incidents/2/resolve", json={"reason": "a kill of the test"}).json()
    assert (resolved["state"], resolved["reason"]) == ("resolved", "a kill of the test")
    assert resolved["resolved_by"].startswith("key:key_")
    again = ask("POST", "/admin/incidents/2/resolve")
    assert (again.status_code, again.json()["error"]["code"]) == (409, "incident-resolved")
    assert ask("POST", "/admin/incidents/2/resolve", json={"why": 1}).status_code == 422
    assert ask("GET", "/admin/incidents/99").status_code == 404
    assert [one["id"] for one in ask("GET", "/admin/incidents").json()] == [1]
    assert [one["id"] for one in ask("GET", "/admin/incidents?all=true&limit=1").json()] == [2]
    assert [one["id"] for one in ask("GET", "/admin/incidents?since=1h").json()] == [2, 1]
    assert ask("GET", "/admin/incidents?since=yesterday").json()["error"]["code"] == "bad-time"
    assert all(
        not line.startswith(open_now) or line.endswith(" 0.0") for line in ask("GET", "/metrics").text.splitlines()
    )
    assert "/admin/incidents/{number}/resolve" in ask("GET", "/openapi.json").json()["paths"]

"""``undercroft release`` as it is installed, against the starter model."""

from __future__ import annotations

import signal
import subprocess
from typing import Any

import pytest
import requests

from tests.support.server import COMMAND, Server, wait_for

pytestmark = pytest.mark.long

_TICKET = "Hi, where is my order SG-4471? I need it today."


def ask(server: Server, model: str) -> tuple[int, str, str]:
    """One ticket: status, the release and the replica that answered."""
    answer = requests.post(
        f"{server.url}/v1/chat/completions",
        headers={"Authorization": f"Bearer {server.key}"},
        json={"model": model, "messages": [{"role": "user", "content": _TICKET}], "max_tokens": 8},
        timeout=120,
    )
    headers = answer.headers
    return answer.status_code, headers.get("x-undercroft-release", ""), headers.get("x-undercroft-replica", "")


def test_an_edited_prompt_is_promoted_and_taken_back_without_a_load(server: Server) -> None:
    """By name, number and tag the header says which release answered; the same replica answers for both."""
    server.run(
        "release", "create", "desk", "--model", "ticket-pilot", "--sampling", "temperature=0", "--because", "first"
    )
    shown = server.run("release", "promote", "desk@1").stdout
    assert shown.splitlines()[0] == "desk@1 is being loaded"
    assert shown.splitlines()[-1] == "desk@1 came into production"
    answers = [ask(server, model) for model in ("desk", "desk@1", "desk:production")]
    assert {answer[:2] for answer in answers} == {(200, "desk@1")}

    server.run("release", "create", "desk", "--from", "desk", "--system", "Answer with JSON.", "--because", "shorter")
    assert ask(server, "desk@2") == (200, "desk@2", answers[0][2])
    assert server.run("promote", "desk", "--because", "asked for").returncode == 0
    assert ask(server, "desk") == (200, "desk@2", answers[0][2])

    shown = server.run("release", "diff", "desk@1", "desk@2").stdout
    assert "  +Answer with JSON." in shown.splitlines()
    assert all(len(line) <= 80 for line in shown.splitlines())
    assert server.json("release", "diff", "desk@2", "desk:production")["is_same"] is True

    done = server.json("rollback", "desk", "--because", "too short")
    assert (done["left"], done["production"], done["server"]) == (2, 1, "ready")
    assert ask(server, "desk") == (200, "desk@1", answers[0][2])
    assert [entry["subject"] for entry in server.json("release", "log", "desk")][:2] == ["desk@1", "desk@2"]
    shown = " ".join(server.run("release", "log", "desk").stdout.split())
    assert all(word in shown for word in ("came back into production", "too short", "asked for", "was made"))


def test_what_is_tried_can_be_watched_and_stopped(server: Server) -> None:
    """Ctrl-C ends the following alone; a rollback ends the trial; what is sent back ends with status 1."""
    server.run("release", "create", "tried", "--model", "ticket-pilot")
    server.run("release", "create", "tried", "--model", "ticket-pilot", "--system", "Answer with JSON.")
    server.run("release", "promote", "tried@1")
    command = [COMMAND, "release", "promote", "tried@2", "--canary", "10%", "--hold", "1h"]
    following = subprocess.Popen(
        command, env=server.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )

    def running() -> Any:
        return server.json("release", "status", "tried")["tried"]["running"]

    wait_for(lambda: (now := running()) and now["state"] == "canary", "the trial to begin")
    following.send_signal(signal.SIGINT)
    _, errors = following.communicate(timeout=120)
    assert following.returncode == 130
    assert "undercroft release status tried" in errors
    assert running()["state"] == "canary"
    assert "is tried by 10 % of the users" in server.run("release", "status", "tried").stdout
    assert ask(server, "tried:canary")[:2] == (200, "tried@2")

    assert "is cancelled; tried@1 stays in production" in " ".join(server.run("rollback", "tried").stdout.split())
    assert running() is None
    rules = server.home / "rules.yaml"
    rules.write_text("undecided: revert\ngive_up_seconds: 1\n", encoding="utf-8")
    given = ("release", "promote", "tried@2", "--canary", "10%", "--hold", "1s", "--rules", str(rules))
    ended = server.run(*given, check=False)
    assert ended.returncode == 1, ended.stderr
    assert "tried@2 was sent back" in ended.stdout
    assert ask(server, "tried")[:2] == (200, "tried@1")


def test_programs_do_the_same_through_the_admin_routes(server: Server) -> None:
    """Make, list, tag, promote, compare, take back, remove; errors have their codes; no key of a user may."""
    key = server.json("key", "create", "boss", "--admin")["key"]

    def call(method: str, path: str, body: Any = None, *, key: str = key) -> tuple[int, Any]:
        answer = requests.request(
            method,
            f"{server.url}/admin/releases{path}",
            headers={"Authorization": f"Bearer {key}"},
            json=body,
            timeout=120,
        )
        return answer.status_code, answer.json()

    plain = server.json("key", "create", "user")["key"]
    assert call("GET", "", key=plain)[0] == 403
    for system in ("One.", "Two."):
        content = {"model": "ticket-pilot", "prompt": {"system": system}}
        status, made = call("POST", "", {"name": "routes", "content": content, "reason": "by program"})
        assert status == 201
    assert (made["number"], made["reason"]) == (2, "by program")
    assert made["actor"].startswith("key:")
    assert call("POST", "", {"name": "routes", "content": {"modl": "x"}})[1]["error"]["code"] == "bad-release"
    assert call("POST", "/routes/promote", {"number": 1})[0] == 202
    wait_for(lambda: call("GET", "/routes/promotions")[1][0]["state"] == "done", "the promotion to end")
    assert call("POST", "/routes/tags", {"tag": "stable", "number": 1}) == (200, {"production": 1, "stable": 1})
    assert call("POST", "/routes/tags", {"tag": "canary", "number": 1})[0] == 409
    assert [(one["number"], one["tags"]) for one in call("GET", "/routes")[1]] == [
        (2, []),
        (1, ["production", "stable"]),
    ]
    assert call("GET", "/routes/diff?a=1&b=2")[1]["prompt"][-2:] != []
    assert call("GET", "/routes/2")[1]["content"]["prompt"] == {"system": "Two."}
    assert call("POST", "/routes/rollback", {"to": 2})[1]["production"] == 2
    assert ask(server, "routes")[:2] == (200, "routes@2")
    assert call("DELETE", "/routes/tags/stable")[1] == {"previous": 1, "production": 2}
    assert call("DELETE", "/routes/2")[1]["error"]["code"] == "release-in-use"
    assert call("GET", "/routes/9")[0] == 404
    assert call("GET", "/nobody")[1]["error"]["code"] == "no-such-release"
    wrong = {"number": 1, "plan": {"rules": {"alpha": 2}}}
    assert call("POST", "/routes/promote", wrong)[1]["error"]["code"] == "bad-rules"
    assert call("POST", "/routes/promote", {"number": 1, "plan": {"hold_seconds": 5}})[0] == 422

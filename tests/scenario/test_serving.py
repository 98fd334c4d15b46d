"""Deployments over time: changes, crashes, poison, idleness, several engines. The engine is a fake, and a process."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import requests

from tests.support import ggufs
from tests.support.server import Server, wait_for

Start = Callable[..., Server]


def test_what_is_said_comes_back_with_its_deployment(fake_server: Start) -> None:
    """The engine's answer goes through the door, and headers say who answered."""
    server = fake_server()
    status, body = server.say("hello there")
    assert status == 200
    assert body["choices"][0]["message"]["content"] == "hello there"
    assert body["model"] == "bot"
    assert body["usage"]["prompt_tokens"] == 2


def test_a_request_that_kills_twice_is_quarantined_and_the_rest_goes_on(fake_server: Start) -> None:
    """POISON aborts the engine: sent once more, it aborts the next; then it is refused with 409, by its digest.
    Other requests are answered, before and after, and the refusal survives a restart of control and door."""
    server = fake_server()
    assert server.say("fine")[0] == 200
    status, body = server.say("POISON please")
    assert status in {409, 502, 503}
    status, body = wait_for(lambda: (r := server.say("POISON please"))[0] == 409 and r, "the quarantine")
    assert body["error"]["code"] == "request-quarantined"
    assert server.say("fine")[0] == 200
    assert server.deployment("bot")["restarts"] == 2
    server.run("restart")
    assert server.say("POISON please")[0] == 409
    assert server.deployment("bot")["restarts"] <= 2


def test_a_stream_that_breaks_ends_with_an_error_event(fake_server: Start) -> None:
    """A client that reads a stream when the engine dies gets an error in OpenAI's form and no [DONE]."""
    server = fake_server()
    body = {"model": "bot", "stream": True, "messages": [{"role": "user", "content": "SLOW " + "word " * 50}]}
    headers = {"Authorization": f"Bearer {server.key}"}
    with requests.post(
        f"{server.url}/v1/chat/completions", json=body, headers=headers, stream=True, timeout=60
    ) as response:
        lines = response.iter_lines()
        assert next(lines).startswith(b"data: {")
        for process in server.processes():
            if "llama-server" in " ".join(process.cmdline()):
                process.kill()
        rest = [line for line in lines if line.startswith(b"data: ")]
    assert "error" in json.loads(rest[-1].removeprefix(b"data: "))
    assert b"data: [DONE]" not in rest


def test_a_change_starts_the_new_before_the_old_stops(fake_server: Start) -> None:
    """While settings change there is always somebody who answers, and in the end the new context is in force."""
    server = fake_server(deployment=("--context", "64"))
    outcomes: list[int] = []
    ending = threading.Event()

    def ask() -> None:
        while not ending.wait(0.02):
            outcomes.append(server.say("steady")[0])

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        old = server.deployment("bot")["replicas"][0]["id"]
        server.run("deployment", "change", "bot", "--context", "128", "--because", "longer letters")
        wait_for(lambda: [r["id"] for r in server.deployment("bot")["replicas"]] not in ([old], []), "a new replica")
        wait_for(lambda: all(r["id"] != old for r in server.deployment("bot")["replicas"]), "the old one to go")
    finally:
        ending.set()
        thread.join()
    assert set(outcomes) == {200}
    assert server.deployment("bot")["context_tokens"] == 128


def test_a_request_under_way_is_finished_before_a_stop(fake_server: Start) -> None:
    """Stopping a deployment waits for the running answer; a later request is told that there is no such model."""
    server = fake_server()
    answers: list[tuple[int, dict[str, object]]] = []
    thread = threading.Thread(target=lambda: answers.append(server.say("SLOW one two three four five six")))
    thread.start()
    wait_for(lambda: _in_flight(server) == 1, "the request to be under way")
    server.run("deployment", "stop", "bot")
    assert server.say("hello")[0] == 404
    thread.join()
    assert answers[0][0] == 200
    wait_for(lambda: server.deployment("bot")["replicas"] == [], "the replica to be gone")
    assert server.deployment("bot")["state"] == "stopped"
    server.run("deployment", "start", "bot")
    server.wait_ready("bot")
    assert server.say("hello")[0] == 200


def _in_flight(server: Server) -> int:
    text = requests.get(f"{server.url}/metrics", headers={"Authorization": f"Bearer {server.key}"}, timeout=30).text
    lines = [line for line in text.splitlines() if line.startswith('undercroft_requests_in_flight{deployment="bot"}')]
    return int(float(lines[0].split()[-1])) if lines else 0


def test_a_model_on_demand_loads_with_the_first_request_and_leaves_when_idle(fake_server: Start) -> None:
    """Nothing runs before the first request, which waits and is answered; after the idle time nothing runs again."""
    server = fake_server(deployment=("--load", "on-demand", "--idle-unload-seconds", "2"))
    assert server.deployment("bot")["state"] == "unloaded"
    assert server.deployment("bot")["replicas"] == []
    assert server.say("wake up")[0] == 200
    wait_for(lambda: server.deployment("bot")["state"] == "unloaded", "idle unloading")
    wait_for(lambda: server.deployment("bot")["replicas"] == [], "the replica to be gone")
    assert server.say("again")[0] == 200


def test_replicas_share_the_work_and_one_may_die(fake_server: Start) -> None:
    """Two replicas: requests go to both; when one is killed the other answers while a third is started."""
    server = fake_server(deployment=("--replicas", "2", "--slots", "1"))
    wait_for(lambda: sum(r["state"] == "ready" for r in server.deployment("bot")["replicas"]) == 2, "both")
    began = time.monotonic()
    threads = [threading.Thread(target=server.say, args=("SLOW a b c d e",)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    first = server.deployment("bot")["replicas"][0]
    for process in server.processes():
        if process.pid == first["pid"]:
            process.kill()
    assert server.say("still here")[0] == 200
    wait_for(
        lambda: (
            [r["state"] for r in server.deployment("bot")["replicas"]].count("ready") == 2
            and first["id"] not in [r["id"] for r in server.deployment("bot")["replicas"]]
        ),
        "two again",
    )
    assert time.monotonic() > began


def test_an_engine_that_never_starts_is_said_to_fail(fake_server: Start, tmp_path: Path) -> None:
    """A broken engine: `up` does not hang and ends with 6, the deployment says failed and why, requests get 503."""
    server = Server(tmp_path / "broken", UNDERCROFT_ENGINES__LLAMA_SERVER="/bin/false")
    try:
        result = server.run("up", "--detach", "--json", check=False)
        assert result.returncode == 6
        assert "nothing-ready" in result.stderr
        server.key = json.loads(result.stdout)["key"]
        entry = server.deployment()
        assert entry["state"] == "failed"
        assert entry["note"]
        status, body = server.say("hello", model="ticket-pilot")
        assert status == 503
        assert body["error"]["message"]
    finally:
        server.down()


def test_another_openai_server_is_behind_the_same_door(fake_server: Start, tmp_path: Path) -> None:
    """`external`: a second Undercroft stands for any OpenAI-compatible server; its key is read from a file."""
    upstream = fake_server()
    key_file = tmp_path / "upstream.key"
    key_file.write_text(upstream.key)
    front = Server(tmp_path / "front")
    try:
        arguments = ("--engine", "external", "--url", upstream.url, "--upstream-model", "bot")
        front.run("deployment", "create", "remote", *arguments, "--key-file", str(key_file))
        front.up()
        front.wait_ready("remote")
        status, body = front.say("through two doors", model="remote")
        assert status == 200
        assert body["choices"][0]["message"]["content"] == "through two doors"
        assert body["model"] == "remote"
    finally:
        front.down()


def test_several_models_at_once(fake_server: Start) -> None:
    """Each deployment has its own replica, and each name is answered by its own."""
    server = fake_server()
    server.run("deployment", "create", "bot", "--name", "second", "--context", "32")
    server.wait_ready("second")
    ids = {model["id"] for model in _models(server)}
    assert {"bot", "second", "ticket-pilot"} <= ids
    assert server.say("hello", model="second")[1]["model"] == "second"
    server.run("deployment", "remove", "second")
    wait_for(lambda: "second" not in {model["id"] for model in _models(server)}, "it to be gone")


def _models(server: Server) -> list[dict[str, object]]:
    response = requests.get(f"{server.url}/v1/models", headers={"Authorization": f"Bearer {server.key}"}, timeout=30)
    found: list[dict[str, object]] = response.json()["data"]
    return found


def test_a_key_for_one_model_opens_only_that(fake_server: Start) -> None:
    """A key with a model list gets 403 or 404 for the others and does not see them."""
    server = fake_server()
    server.key = server.json("key", "create", "narrow", "--model", "bot")["key"]
    assert server.say("hello")[0] == 200
    assert server.say("hello", model="ticket-pilot")[0] in {403, 404}
    assert [model["id"] for model in _models(server)] == ["bot"]


def test_admin_routes_need_an_admin_key_and_name_the_actor(fake_server: Start) -> None:
    """A plain key gets 403 on /admin; an admin's changes stand in the journal with the id of the key."""
    server = fake_server()
    plain = {"Authorization": f"Bearer {server.key}"}
    assert requests.get(f"{server.url}/admin/status", headers=plain, timeout=30).status_code == 403
    assert requests.get(f"{server.url}/internal/status", headers=plain, timeout=30).status_code == 404
    made = server.json("key", "create", "boss", "--admin")
    admin = {"Authorization": f"Bearer {made['key']}", "X-Undercroft-Actor": "cli:mallory"}
    response = requests.post(f"{server.url}/admin/keys", headers=admin, json={"name": "by-admin"}, timeout=30)
    assert response.status_code == 201
    assert requests.post(f"{server.url}/admin/keys", headers=admin, json={"nam": 1}, timeout=30).status_code == 422
    last = server.json("journal", "show", "-n", "1")[0]
    assert (last["action"], last["actor"]) == ("key.create", f"key:{made['id']}")


def test_the_admin_route_holds_back_what_a_licence_does_not_cover(fake_server: Start, tmp_path: Path) -> None:
    """A model that came in for research is not served for another use over HTTP until its licence is accepted."""
    server = fake_server()
    ggufs.write_chat_model(tmp_path / "study.gguf", licence="mrl", seed=3)
    server.run(
        "model", "pull", str(tmp_path / "study.gguf"), "--name", "study", "--use", "research", "--accept-licence"
    )
    made = server.json("key", "create", "deployer", "--admin")

    def create(**more: object) -> requests.Response:
        headers = {"Authorization": f"Bearer {made['key']}"}
        body = {"name": "study", "model": "study", "replicas": 1, **more}
        return requests.post(f"{server.url}/admin/deployments", headers=headers, json=body, timeout=120)

    refused = create()
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "licence-refuses-use")
    assert "study" not in {one["name"] for one in server.status()["deployments"]}
    assert create(accept_licence=True, reason="our own contract").status_code == 201
    accepted = [entry for entry in server.json("journal", "show") if entry["action"] == "licence.accept"][-1]
    assert (accepted["subject"], accepted["reason"]) == ("mrl", "our own contract")
    assert accepted["actor"].startswith("key:")

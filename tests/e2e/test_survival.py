"""Kill anything: what clients see, and that it comes back."""

from __future__ import annotations

import itertools
import json
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from tests.support.server import COMMAND, Server, kill, wait_for
from undercroft.core.home import Home
from undercroft.core.ids import KEY_PATTERN
from undercroft.serving.keeper_client import is_running

pytestmark = pytest.mark.long

BODY = {"model": "ticket-pilot", "messages": [{"role": "user", "content": "Where is order 99120?"}], "temperature": 0}


class Load:
    """Requests at a steady pace over kept-alive connections, each one's outcome kept."""

    def __init__(self, server: Server, per_second: float, clients: int = 8) -> None:
        self.outcomes: list[int | str] = []
        self._server = server
        self._pause = clients / per_second
        self._ending = threading.Event()
        self._numbers = itertools.count()
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]

    def _ask(self) -> None:
        headers = {"Authorization": f"Bearer {self._server.key}"}
        url = f"{self._server.url}/v1/chat/completions"
        with requests.Session() as session:
            session.headers.update(headers)
            while not self._ending.wait(self._pause):
                body = {**BODY, "messages": [{"role": "user", "content": f"Where is order {next(self._numbers)}?"}]}
                try:
                    response = session.post(url, json=body, timeout=60)
                    self.outcomes.append(response.status_code)
                except requests.RequestException as error:
                    self.outcomes.append(f"{type(error).__name__}: {error}")

    @contextmanager
    def running(self) -> Iterator[None]:
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._ending.set()
            for thread in self._threads:
                thread.join()

    def wait_for_more(self, count: int) -> None:
        """Until so many more requests have ended."""
        wanted = len(self.outcomes) + count
        wait_for(lambda: len(self.outcomes) >= wanted, f"{count} more requests")


def test_a_restart_loses_no_request_and_keeps_the_engines(own_server: Server) -> None:
    """At 50 requests a second every request is answered, and the engine's process is the same before and after."""
    own_server.up()
    before = own_server.deployment()["replicas"][0]["pid"]
    load = Load(own_server, per_second=50)
    with load.running():
        load.wait_for_more(50)
        answer = own_server.json("restart")
        load.wait_for_more(100)
    assert answer["engines_kept"] == 1
    assert own_server.deployment()["replicas"][0]["pid"] == before
    assert [outcome for outcome in load.outcomes if outcome != 200] == []


def test_requests_go_on_without_control_and_it_adopts(own_server: Server) -> None:
    """Control killed: no request fails, and a new control has the same engine ready again."""
    own_server.up()
    status = own_server.status()
    engine = status["deployments"][0]["replicas"][0]["pid"]
    load = Load(own_server, per_second=30)
    with load.running():
        load.wait_for_more(30)
        kill(status["control"]["pid"])
        load.wait_for_more(60)
        entry = own_server.wait_ready()
    assert [outcome for outcome in load.outcomes if outcome != 200] == []
    assert entry["replicas"][0]["pid"] == engine
    assert entry["replicas"][0]["was_adopted"] is True


def test_a_killed_door_is_back(own_server: Server) -> None:
    """Door killed: the port answers again, with the same engine."""
    own_server.up()
    door = own_server.status()["doors"][0]["pid"]
    kill(door)
    response = requests.post(
        f"{own_server.url}/v1/chat/completions",
        json=BODY,
        headers={"Authorization": f"Bearer {own_server.key}"},
        timeout=30,
    )
    assert response.status_code == 200
    assert own_server.status()["keeper"]["doors"][0]["pid"] != door


def test_a_killed_engine_is_replaced_and_requests_are_sent_again(own_server: Server) -> None:
    """Engine killed under load: requests that had not begun to stream are answered by its successor."""
    own_server.up()
    first = own_server.deployment()["replicas"][0]
    load = Load(own_server, per_second=30)
    with load.running():
        load.wait_for_more(20)
        kill(first["pid"])
        load.wait_for_more(60)
    entry = own_server.wait_ready()
    assert entry["replicas"][0]["id"] != first["id"]
    assert entry["restarts"] == 1
    assert [outcome for outcome in load.outcomes if outcome != 200] == []


def test_an_engine_that_hangs_is_killed_and_replaced(tmp_path: Path) -> None:
    """A stopped process gives no sign of life, so it is killed after the deadline and another takes its place."""
    server = Server(tmp_path / "home", UNDERCROFT_ENGINES__HEALTH_DEADLINE_SECONDS="3")
    try:
        server.up()
        replica = server.deployment()["replicas"][0]
        for process in server.processes():
            if process.pid == replica["pid"]:
                for child in [*process.children(recursive=True), process]:
                    kill(child.pid, signal.SIGSTOP)
        entry = wait_for(
            lambda: (d := server.deployment())["state"] == "ready" and d["replicas"][0]["id"] != replica["id"] and d,
            "another replica",
        )
        assert entry["restarts"] == 1
    finally:
        server.down()


def test_a_killed_keeper_leaves_a_home_that_up_repairs(own_server: Server) -> None:
    """Keeper killed: doors and control end with it, and `up` adopts the engine that goes on."""
    own_server.up()
    status = own_server.status()
    engine = status["deployments"][0]["replicas"][0]["pid"]
    kill(status["keeper"]["pid"])
    wait_for(lambda: {p.pid for p in own_server.processes()}.isdisjoint({status["control"]["pid"]}), "control to end")
    own_server.up()
    assert own_server.deployment()["replicas"][0]["pid"] == engine


def test_after_a_power_cut_everything_is_there_again(own_server: Server) -> None:
    """All processes killed at once: `up` brings back models, keys and deployments."""
    own_server.up()
    for process in own_server.processes():
        kill(process.pid)
    wait_for(lambda: own_server.processes() == [], "all to be gone")
    own_server.up()
    with own_server.client() as client:
        answer = client.chat.completions.create(model="ticket-pilot", messages=BODY["messages"])
    assert json.loads(answer.choices[0].message.content)["language"] == "en"


def test_a_copied_home_serves(own_server: Server, tmp_path: Path) -> None:
    """A home that was copied or restored has other inodes: its models are read once more, and answer."""
    own_server.up()
    own_server.down()
    copy = Server(tmp_path / "copy")
    shutil.copytree(own_server.home, copy.home)
    try:
        copy.up()
        assert copy.wait_ready()["state"] == "ready"
    finally:
        copy.down()


def test_a_damaged_model_is_said_and_up_does_not_hang(own_server: Server) -> None:
    """A flipped byte in the stored file: the deployment has failed, with the reason, and `up` says so."""
    own_server.up()
    own_server.down()
    blob = next(path for path in (own_server.home / "blobs" / "sha256").rglob("*") if path.is_file())
    blob.chmod(0o600)
    content = bytearray(blob.read_bytes())
    content[-100] ^= 0xFF
    blob.write_bytes(content)
    result = own_server.run("up", "--detach", check=False)
    assert result.returncode == 6
    assert "FAILED" in result.stdout
    assert "undercroft model verify" in result.stdout
    assert own_server.deployment()["state"] == "failed"


def test_a_first_up_that_was_cut_off_is_finished_by_the_next(own_server: Server) -> None:
    """Killed before it showed a key: `up` again shows one, once."""
    process = subprocess.Popen([COMMAND, "up", "--detach"], env=own_server.environment, stdout=subprocess.DEVNULL)
    wait_for(lambda: is_running(Home(own_server.home)), "the keeper")
    process.kill()
    process.wait()
    first, second = own_server.run("up", "--detach").stdout, own_server.run("up", "--detach").stdout
    listed = own_server.json("key", "list")
    assert [key["name"] for key in listed] == ["first"]
    assert bool(KEY_PATTERN.search(first)) or process.returncode == 0
    assert not KEY_PATTERN.search(second)


def test_a_home_with_links_in_it_is_refused(own_server: Server, tmp_path: Path) -> None:
    """A folder of the home that is a link could lead anywhere: nothing is changed there."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o755)
    own_server.home.mkdir()
    (own_server.home / "logs").symlink_to(elsewhere)
    result = own_server.run("up", "--detach", check=False)
    assert result.returncode == 6
    assert "it is a link" in result.stderr
    assert elsewhere.stat().st_mode & 0o777 == 0o755
    assert list(elsewhere.iterdir()) == []


def test_down_clears_what_a_crash_left(own_server: Server) -> None:
    """When the keeper is gone `down` still stops the engines."""
    own_server.up()
    kill(own_server.status()["keeper"]["pid"])
    wait_for(lambda: not any("keeper" in line for line in own_server.command_lines()), "the keeper to end")
    text = wait_for(lambda: own_server.run("down").stdout, "down")
    assert "engine" in text
    wait_for(lambda: own_server.processes() == [], "all to be gone")


@pytest.mark.long
def test_it_survives_a_long_row_of_kills(own_server: Server, is_full: bool) -> None:
    """Engine, door, control, again and again, in turn: it always comes back, and nothing piles up."""
    own_server.up()
    for number in range(60 if is_full else 3):
        status = own_server.status()
        victims = [
            status["deployments"][0]["replicas"][0]["pid"],
            status["doors"][0]["pid"],
            status["control"]["pid"],
        ]
        kill(victims[number % 3])
        began = time.monotonic()
        wait_for(lambda: _answers(own_server), "an answer")
        assert time.monotonic() - began < 60
        own_server.wait_ready()
    names = own_server.command_lines()
    assert sum("gateway.control" in name for name in names) == 1
    assert sum("gateway.door" in name for name in names) == 1


def _answers(server: Server) -> bool:
    headers = {"Authorization": f"Bearer {server.key}"}
    try:
        response = requests.post(f"{server.url}/v1/chat/completions", json=BODY, headers=headers, timeout=60)
    except requests.RequestException:
        return False
    return response.status_code == 200

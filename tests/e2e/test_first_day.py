"""What a user does on the first day."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httptools
import psutil
import pytest
import requests

from tests.support.server import COMMAND, Server, wait_for
from undercroft.core.ids import KEY_PATTERN

TICKET = "Hi, my order SG-4471 still has not arrived. Where is it?"


def test_up_says_what_to_do_next_and_its_words_work(own_server: Server) -> None:
    """`up` shows the key once, and a Python snippet that runs as it stands."""
    text = own_server.run("up", "--detach").stdout
    keys = set(KEY_PATTERN.findall(text))
    assert len(keys) == 1
    snippet = text[text.index("  from openai") : text.index("In a second terminal")]
    code = "\n".join(line.removeprefix("  ") for line in snippet.splitlines())
    from_python = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert json.loads(from_python)["intent"]
    assert max(len(line) for line in text.splitlines() if str(own_server.home) not in line) <= 80
    own_server.run("down")
    again = own_server.run("up", "--detach").stdout
    assert not KEY_PATTERN.search(again), "a key is shown once"
    assert "undercroft key create" in again


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_curl_line_of_up_works(own_server: Server) -> None:
    """It is run as it stands."""
    text = own_server.run("up", "--detach").stdout
    curl = text[text.index("  curl ") : text.index("From Python")]
    answer = subprocess.run(["bash", "-c", curl], capture_output=True, text=True, check=True).stdout
    assert "choices" in answer, answer
    assert json.loads(json.loads(answer)["choices"][0]["message"]["content"])["order_id"]


def test_up_in_the_foreground_ends_with_ctrl_c(own_server: Server) -> None:
    """Without --detach it stays, and Ctrl-C stops everything: no process and no socket is left."""
    process = subprocess.Popen(
        [COMMAND, "up"], env=own_server.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("Running."):
            break
    assert process.poll() is None
    assert own_server.deployment()["state"] == "ready"
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=60)
    assert "Undercroft has stopped." in rest
    assert process.returncode == 0
    assert own_server.processes() == []


def test_a_second_up_says_who_is_running(server: Server) -> None:
    """It names the process and the address, and starts nothing."""
    text = server.run("up").stdout
    keeper = server.status()["keeper"]["pid"]
    assert f"process {keeper}" in text
    assert str(server.port) in text


def test_the_real_client_talks_to_it(server: Server) -> None:
    """The openai client, streaming and not, gets the starter's JSON."""
    messages = [{"role": "user", "content": TICKET}]
    with server.client() as client:
        whole = client.chat.completions.create(model="ticket-pilot", messages=messages, temperature=0)
        pieces = client.chat.completions.create(model="ticket-pilot", messages=messages, temperature=0, stream=True)
        streamed = "".join(chunk.choices[0].delta.content or "" for chunk in pieces if chunk.choices)
    answer = json.loads(whole.choices[0].message.content)
    assert set(answer) == {"language", "intent", "urgency", "order_id", "summary"}
    assert json.loads(streamed) == answer
    assert whole.usage is not None
    assert whole.usage.completion_tokens > 0


def test_chat_goes_through_the_same_door(server: Server) -> None:
    """`undercroft chat` needs no key from its user, through a pipe as with --message."""
    text = server.run("chat", stdin=TICKET).stdout
    assert json.loads(text)["language"] == "en"
    answer = server.json("chat", "--message", TICKET)
    assert json.loads(answer["answer"]) == json.loads(text)
    assert answer["usage"]["completion_tokens"] > 0


@pytest.mark.parametrize(
    "locale", [{"LC_ALL": "C"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {"LC_ALL": "xx_XX"}]
)
def test_chat_takes_every_language_in_any_locale(
    server: Server, monkeypatch: pytest.MonkeyPatch, locale: dict[str, str]
) -> None:
    """A Thai message is read and answered in Thai where the locale knows ASCII only, or is not installed."""
    for name, value in locale.items():
        monkeypatch.setitem(server.environment, name, value)
    message = "สวัสดี คำสั่งซื้อของฉันอยู่ที่ไหน"
    for answer in (server.run("chat", "--message", message), server.run("chat", stdin=message)):
        assert json.loads(answer.stdout)["language"] == "th"


def test_status_shows_what_there_is(server: Server) -> None:
    """Models, replicas, memory, requests, uptime; as JSON and within 80 columns."""
    with server.client() as client:
        client.chat.completions.create(model="ticket-pilot", messages=[{"role": "user", "content": TICKET}])
    entry = wait_for(lambda: (d := server.deployment())["requests"] > 0 and d, "the request to be counted")
    assert entry["replicas"][0]["private_bytes"] > 0
    assert server.status()["uptime_seconds"] > 0
    text = server.run("status").stdout
    assert "ticket-pilot" in text
    assert max(len(line) for line in text.splitlines()[2:]) <= 80


def test_the_engine_is_sealed(server: Server) -> None:
    """Where the kernel allows it the engine sees no network interface but a loopback that is down."""
    replica = server.deployment()["replicas"][0]
    if replica["is_sealed"] is False:
        pytest.skip(f"this kernel does not seal: {replica['seal_note']}")
    interfaces = Path(f"/proc/{replica['pid']}/net/dev").read_text().splitlines()[2:]
    assert [line.split(":")[0].strip() for line in interfaces] in ([], ["lo"])


def test_nothing_listens_but_the_door(server: Server) -> None:
    """Of all processes of this home only doors and the keeper hold a TCP socket, one address, the door's port."""
    listening = {
        (connection.laddr.ip, connection.laddr.port)
        for process in server.processes()
        for connection in _connections(process)
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {("127.0.0.1", server.port)}


def _connections(process: psutil.Process) -> list[psutil._common.pconn]:
    try:
        return list(process.net_connections(kind="inet"))
    except psutil.Error:
        return []


def test_only_keys_open_the_door(server: Server) -> None:
    """Without a key, with a wrong one, or with a revoked one there is no answer, on loopback too."""
    made = server.json("key", "create", "short-lived")
    assert _status(server, made["key"]) == 200
    assert _status(server, None) == 401
    assert _status(server, "uc-" + "A" * 43) == 401
    server.run("key", "revoke", "short-lived")
    assert _status(server, made["key"]) == 401


def _status(server: Server, key: str | None) -> int:
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        header = f"Authorization: Bearer {key}\r\n" if key else ""
        connection.sendall(f"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n{header}Connection: close\r\n\r\n".encode())
        content = b""
        while piece := connection.recv(65536):
            content += piece
    parser = httptools.HttpResponseParser(_Ignore())
    parser.feed_data(content)
    return int(parser.get_status_code())


class _Ignore:
    pass


def test_metrics_tell_of_door_and_engine(server: Server) -> None:
    """Prometheus text with requests, latencies, memory and load time of this server."""
    with server.client() as client:
        client.chat.completions.create(model="ticket-pilot", messages=[{"role": "user", "content": TICKET}])
    text = _get(server, "/metrics")
    for name in (
        "undercroft_requests_total",
        "undercroft_request_duration_seconds_bucket",
        "undercroft_completion_tokens_total",
        "undercroft_replica_private_memory_bytes",
        "undercroft_replica_load_seconds",
        "undercroft_replica_up",
    ):
        assert re.search(rf'^{name}\{{.*deployment="ticket-pilot"', text, re.M), name


def _get(server: Server, path: str) -> str:
    response = requests.get(server.url + path, headers={"Authorization": f"Bearer {server.key}"}, timeout=60)
    response.raise_for_status()
    return response.text


def test_logs_hold_no_prompt_and_no_key(server: Server) -> None:
    """After requests, no log of this home and no row of its database holds what was said or the key."""
    said = "zanzibar-violet-4711"
    with server.client() as client:
        client.chat.completions.create(model="ticket-pilot", messages=[{"role": "user", "content": said}])
    server.run("chat", "--message", said)
    for file in server.home.rglob("*"):
        if file.is_file() and not file.is_symlink():
            content = file.read_bytes()
            assert said.encode() not in content, file
            assert server.key.encode() not in content, file
    assert not any(server.key in line for line in server.command_lines())


def test_config_show_says_which_source_won(server: Server) -> None:
    """The port came from the environment, the host is a default."""
    shown = server.json("config", "show")
    assert shown["gateway.port"] == {"value": server.port, "origin": "environment"}
    assert shown["gateway.host"]["origin"] == "default"


def test_doctor_finds_no_problem_here(server: Server) -> None:
    """On a healthy machine with a running server no finding is a problem."""
    findings = server.json("doctor", "--patience", "60")
    assert [finding for finding in findings if finding["level"] == "problem"] == []
    assert {"sealing", "engine", "database", "server"} <= {finding["name"] for finding in findings}


def test_the_journal_tells_the_first_day(server: Server) -> None:
    """Model, deployment and key of the first start are in it, and the chain holds."""
    actions = [entry["action"] for entry in server.json("journal", "show", "-n", "1000")]
    assert actions[:3] == ["model.add", "deployment.create", "key.create"]
    assert server.json("journal", "verify")["is_whole"] is True


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"UNDERCROFT_GATEWAY__PROT": "1"}, "nearest is 'gateway.port'"),
        ({"UNDERCROFT_GATEWAY__PORT": "70000"}, "gateway.port"),
        ({"UNDERCROFT_GATEWAY__HOST": "0.0.0.0"}, "TLS"),
    ],
)
def test_bad_settings_are_refused_before_anything_starts(tmp_path: Path, settings: dict[str, str], words: str) -> None:
    """A sentence that says what to do, a non-zero exit status, no process."""
    refused = Server(tmp_path / "home", **settings)
    result = refused.run("up", "--detach", check=False)
    assert result.returncode in {2, 3}
    assert words in result.stderr
    assert "Traceback" not in result.stderr
    assert refused.processes() == []


def test_a_taken_port_is_said(own_server: Server) -> None:
    """Somebody else's port: a sentence that names it and what to do."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", own_server.port))
        other.listen()
        result = own_server.run("up", "--detach", check=False)
    assert result.returncode == 6
    assert f"cannot listen on 127.0.0.1:{own_server.port}" in result.stderr
    assert "UNDERCROFT_GATEWAY__PORT" in result.stderr


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_home_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    """A sentence that names the home."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    result = Server(closed / "home").run("up", "--detach", check=False)
    assert result.returncode == 6
    assert "home-unusable" in result.stderr

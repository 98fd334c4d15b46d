"""Doors come and go: a drain loses nothing, and the new door takes over at the same port."""

from __future__ import annotations

import asyncio
import http.client
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from tests.scenario.door.conftest import CHAT, ROUTE
from tests.scenario.door.test_http import read_all
from tests.support.doors import DoorProcess, deployment, replica
from tests.support.server import wait_for
from tests.support.upstream import Received, Upstream, begin_stream, chunk, end_stream, write_event
from undercroft.core.processes import identify


def test_no_request_is_lost_at_a_restart(own_door: DoorProcess) -> None:
    """At more than 50 requests a second over kept connections, doors are replaced three times and every one answers."""
    stop = threading.Event()
    counts = {"asked": 0}
    failures: list[str] = []

    def ask() -> None:
        # A client that keeps its connection and opens a new one only where the door says "Connection: close".
        connection = http.client.HTTPConnection("127.0.0.1", own_door.port, timeout=30)
        headers = {"authorization": f"Bearer {own_door.key}"}
        while not stop.is_set():
            try:
                connection.request("POST", ROUTE, json.dumps(CHAT), headers)
                reply = connection.getresponse()
                reply.read()
                if reply.status != 200:
                    failures.append(str(reply.status))
            except (OSError, http.client.HTTPException) as error:
                failures.append(repr(error))
            counts["asked"] += 1
            time.sleep(0.02)
        connection.close()

    with ThreadPoolExecutor(6) as threads:
        asking = [threads.submit(ask) for _ in range(6)]
        for _ in range(3):
            old = own_door.processes[-1]
            own_door.start(None, has_control=True)
            own_door.drain(old)
            assert old.wait(20) == 0
        stop.set()
        for one in asking:
            one.result(30)
    assert failures == []
    assert counts["asked"] > 150


def test_a_stream_ends_before_the_door_does(own_door: DoorProcess, engine: Upstream) -> None:
    """A drain lets a running stream come to its end, and answers with Connection: close from then on."""
    go_on = asyncio.Event()

    async def slow(_: Received, writer: asyncio.StreamWriter) -> None:
        begin_stream(writer)
        write_event(writer, chunk("a"))
        await writer.drain()
        await go_on.wait()
        write_event(writer, chunk("b"))
        end_stream(writer)
        await writer.drain()

    engine.behaviour = slow
    body = json.dumps({**CHAT, "stream": True})
    process = own_door.processes[0]
    with own_door.connect() as connection, own_door.client() as kept:
        assert kept.get("/healthz").status == 200
        head = f"POST {ROUTE} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {own_door.key}\r\n"
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        found = connection.recv(65536)
        own_door.drain(process)
        # Asked again and again: a connection that says nothing for a while is closed, however slow the machine is.
        wait_for(lambda: kept.get("/healthz").headers.get("connection") == "close", "the last answer of a connection")
        own_door.start(None, has_control=True)
        assert process.poll() is None
        engine.call(go_on.set)
        found += read_all(connection)
    assert b"[DONE]" in found
    assert process.wait(20) == 0


def test_a_drain_has_an_end(make_door: Callable[[str], DoorProcess], engine: Upstream) -> None:
    """What does not end within gateway.drain_seconds is cut off."""
    arrived = threading.Event()

    async def hang(_: Received, __: asyncio.StreamWriter) -> None:
        arrived.set()
        await asyncio.Event().wait()

    engine.behaviour = hang
    door = make_door("[gateway]\ndrain_seconds = 0.3\n")
    process = door.start(door.snapshot(deployment("bot", replica(socket_path=str(engine.socket_path)))))
    body = json.dumps(CHAT)
    with door.connect() as connection:
        head = f"POST {ROUTE} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {door.key}\r\n"
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        assert arrived.wait(10)
        door.drain(process)
        assert process.wait(20) == 0
    assert engine.aborted.acquire(timeout=10)


def test_usage_is_handed_over_before_the_end(own_door: DoorProcess) -> None:
    """What a door counted last reaches control before it goes."""
    reply = own_door.post(ROUTE, CHAT)
    own_door.drain(own_door.processes[0])
    assert own_door.processes[0].wait(20) == 0
    assert own_door.control is not None
    assert own_door.control.usage(reply.request_id)["status"] == 200


def test_a_killed_door_leaves_the_port_to_the_next(own_door: DoorProcess) -> None:
    """Who connects while no door is there is answered by the next one."""
    own_door.processes[0].kill()
    own_door.processes[0].wait(10)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(own_door.post, ROUTE, CHAT)
        own_door.start(None, has_control=True)
        assert waiting.result(20).status == 200


def test_doors_share_one_port(own_door: DoorProcess) -> None:
    """Two doors on one socket both answer, and both tell control."""
    own_door.start(None, has_control=True)
    with ThreadPoolExecutor(8) as threads:
        replies = list(threads.map(lambda _: own_door.post(ROUTE, CHAT), range(40)))
    assert [reply.status for reply in replies] == [200] * 40
    assert own_door.control is not None
    for reply in replies:
        own_door.control.usage(reply.request_id)


def test_a_door_ends_with_its_parent(own_door: DoorProcess) -> None:
    """A keeper that is killed leaves no door behind."""
    command = [sys.executable, "-m", "undercroft.gateway.door", "--home", str(own_door.home.root)]
    command += ["--listen-fd", str(own_door.listener.fileno()), "--index", "9"]
    code = (
        "import os, subprocess, sys, time\n"
        f"command = [*{command!r}, '--parent', str(os.getpid())]\n"
        f"door = subprocess.Popen(command, pass_fds=({own_door.listener.fileno()},))\n"
        "print(door.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, pass_fds=(own_door.listener.fileno(),)
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert own_door.control is not None
        own_door.control.wait(lambda events: [e for e in events if e["type"] == "hello" and e["pid"] == pid])
        identity = identify(pid)
        parent.kill()
        parent.wait(10)
    assert identity is not None
    deadline = time.monotonic() + 20
    while identity.is_alive():  # a zombie that nobody reaps has ended too
        assert time.monotonic() < deadline, "the door is still there"
        time.sleep(0.05)

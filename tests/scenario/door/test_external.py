"""Engines that an administrator configured by URL: any OpenAI-compatible server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest

from tests.scenario.door.conftest import CHAT, ROUTE
from tests.support.doors import DoorProcess, deployment, replica
from tests.support.upstream import Received, Upstream, answer_json, completion


@pytest.fixture
def server() -> Iterator[Upstream]:
    """A server on a loopback port that calls its model something else."""
    with Upstream(answer_json(completion(model="org/Some-Model"))) as made:
        yield made


def push(door: DoorProcess, server: Upstream, path: str = "", **others: object) -> None:
    """Makes it the only replica of ``bot``."""
    fields = {"protocol": "openai", "base_url": server.base_url + path, "upstream_model": "org/Some-Model", **others}
    door.push(door.snapshot(deployment("bot", replica("rep_ext", **fields), tasks=("chat", "completions", "rerank"))))


def test_the_model_is_renamed_both_ways(door: DoorProcess, server: Upstream) -> None:
    """The server is asked for its own name, and the client sees the deployment's."""
    push(door, server)
    reply = door.post(ROUTE, CHAT)
    assert (reply.status, reply.json()["model"]) == (200, "bot")
    assert server.received[0].json["model"] == "org/Some-Model"


def test_a_path_before_the_routes_is_kept(door: DoorProcess, server: Upstream) -> None:
    """A base URL may have a path, and the Host header names the server."""
    push(door, server, path="/tenant/a")
    assert door.post(ROUTE, CHAT).status == 200
    assert server.received[0].path == "/tenant/a" + ROUTE
    assert server.received[0].headers["host"] == f"127.0.0.1:{server.port}"


def test_its_key_is_sent_and_the_clients_is_not(door: DoorProcess, server: Upstream) -> None:
    """Nothing that opens this door reaches another server."""
    push(door, server, key="their-key")
    door.post(ROUTE, CHAT, {"cookie": "secret", "x-api-key": door.key})
    headers = server.received[0].headers
    assert headers["authorization"] == "Bearer their-key"
    assert door.key not in str(headers)
    assert "cookie" not in headers


def test_without_a_key_none_is_sent(door: DoorProcess, server: Upstream) -> None:
    """A server that asks for none gets none."""
    push(door, server, key=None)
    assert door.post(ROUTE, CHAT).status == 200
    assert "authorization" not in server.received[0].headers


def test_several_choices_are_left_to_it(door: DoorProcess, server: Upstream) -> None:
    """An OpenAI-compatible server makes and counts n choices by itself."""
    push(door, server)
    assert door.post(ROUTE, {**CHAT, "n": 2}).status == 200
    assert [one.json.get("n") for one in server.received] == [2]


def test_a_request_that_names_an_address_changes_nothing(door: DoorProcess, server: Upstream) -> None:
    """Where an engine listens is never taken from a request."""
    push(door, server)
    assert door.post(ROUTE, {**CHAT, "base_url": "http://169.254.169.254"}).error["param"] == "base_url"
    assert door.post(ROUTE, {**CHAT, "model": "http://127.0.0.1:1/bot"}).status == 404


def test_its_slots_are_its_capacity(make_door: Callable[[str], DoorProcess], server: Upstream) -> None:
    """concurrency_per_slot is for engines of our own; an external one gets what was configured."""
    door = make_door("[limits]\nconcurrency_per_slot = 8.0\nqueue_requests = 0\n")
    entry = replica(base_url=server.base_url, protocol="openai", slots=1)
    door.start(door.snapshot(deployment("bot", entry)))
    gate = asyncio.Event()

    async def nested(_: Received, writer: asyncio.StreamWriter) -> None:
        await gate.wait()

    server.behaviour = nested
    with door.connect() as first:
        body = b'{"model":"bot","messages":[{"role":"user","content":"x"}]}'
        head = f"POST {ROUTE} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {door.key}\r\n"
        first.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        while not server.received:
            assert door.get("/healthz").status == 200
        assert door.post(ROUTE, CHAT).status == 429
        server.call(gate.set)


def test_an_answer_that_is_no_json_is_its_failure(door: DoorProcess, server: Upstream) -> None:
    """A page of a proxy in between is not passed on as an answer."""
    server.behaviour = answer_json(b"<html>hello</html>")
    push(door, server)
    reply = door.post(ROUTE, CHAT)
    assert (reply.status, reply.error["source"]) == (502, "engine")


def test_a_stream_that_is_none_is_its_failure(door: DoorProcess, server: Upstream) -> None:
    """A server that ignores stream is not waited for as if it streamed."""
    push(door, server)
    reply = door.post(ROUTE, {**CHAT, "stream": True})
    assert (reply.status, reply.error["code"]) == (502, "engine-error")


def test_an_answer_may_end_with_the_connection(door: DoorProcess, server: Upstream) -> None:
    """Old servers say where an answer ends by closing; a stream must then say that it is done."""

    async def old(request: Received, writer: asyncio.StreamWriter) -> None:
        is_stream = request.json.get("stream")
        kind = b"text/event-stream" if is_stream else b"application/json"
        body = b'data: {"model":"x","choices":[]}\n\n' if is_stream else b'{"model":"x","choices":[]}'
        writer.write(b"HTTP/1.0 200 OK\r\ncontent-type: " + kind + b"\r\n\r\n" + body)
        await writer.drain()
        writer.close()

    server.behaviour = old
    push(door, server)
    assert door.post(ROUTE, CHAT).json() == {"model": "bot", "choices": []}
    cut = door.post(ROUTE, {**CHAT, "stream": True})
    assert cut.events[-1]["error"]["code"] == "engine-crashed"

"""Clients that end their side of the connection: those that still read, and those that are gone."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from typing import Any

import pytest

from tests.scenario.door.conftest import CHAT, ROUTE
from tests.support.doors import DoorProcess
from tests.support.upstream import (
    Received,
    Upstream,
    begin_stream,
    chunk,
    completion,
    end_stream,
    write_event,
    write_json,
)

_INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"


def request(door: DoorProcess, data: dict[str, Any], version: str = "1.1") -> bytes:
    """The bytes of a whole request."""
    body = json.dumps(data)
    head = f"POST {ROUTE} HTTP/{version}\r\nHost: localhost\r\nAuthorization: Bearer {door.key}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()


def read_all(connection: socket.socket) -> bytes:
    """Everything until the end."""
    found = b""
    while piece := connection.recv(65536):
        found += piece
    return found


class Held:
    """An engine's behaviour that says when a request has come, and answers when it may."""

    def __init__(self, *, is_stream: bool) -> None:
        self.arrived = threading.Event()
        self.go_on = asyncio.Event()
        self._is_stream = is_stream

    async def __call__(self, _: Received, writer: asyncio.StreamWriter) -> None:
        self.arrived.set()
        await self.go_on.wait()
        if self._is_stream:
            begin_stream(writer)
            write_event(writer, chunk("hello"))
            end_stream(writer)
        else:
            write_json(writer, completion())
        await writer.drain()


@pytest.mark.parametrize("is_stream", [False, True])
def test_who_only_ended_its_side_is_answered(door: DoorProcess, engine: Upstream, is_stream: bool) -> None:
    """A client that sends its whole request and then no more gets the whole answer, and the end of the connection."""
    held = Held(is_stream=is_stream)
    engine.behaviour = held
    with door.connect() as connection:
        connection.sendall(request(door, {**CHAT, "stream": is_stream}))
        assert held.arrived.wait(10)
        connection.shutdown(socket.SHUT_WR)
        begun = b""
        while not begun.startswith(_INTERIM):  # the door has seen it, and asks whether somebody reads
            begun += connection.recv(len(_INTERIM) - len(begun))
        engine.call(held.go_on.set)
        answer = read_all(connection).replace(_INTERIM, b"")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"connection: close" in answer
    assert answer.endswith(
        b"data: [DONE]\n\n\r\n0\r\n\r\n"
        if is_stream
        else json.dumps(completion()["usage"], separators=(",", ":")).encode() + b"}"
    )


def test_all_that_was_asked_for_is_answered(door: DoorProcess) -> None:
    """Requests that were sent together are all answered after the client's side has ended."""
    with door.connect() as connection:
        connection.sendall(request(door, CHAT) * 5)
        connection.shutdown(socket.SHUT_WR)
        answers = read_all(connection)
    assert answers.count(b"HTTP/1.1 200 ") == 5
    # Where the last answer was out before the end was seen, it could not say so.
    assert answers.rpartition(b"HTTP/1.1 200 ")[0].count(b"connection: close") == 0


def test_half_a_request_is_not_waited_for(door: DoorProcess, engine: Upstream) -> None:
    """A client that ends its side within a request can never end it: the connection is closed."""
    with door.connect() as connection:
        connection.sendall(request(door, CHAT)[:-5])
        connection.shutdown(socket.SHUT_WR)
        assert read_all(connection) == b""
    assert engine.received == []


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_who_ends_its_side_and_then_goes_stops_the_engine(door: DoorProcess, engine: Upstream, version: str) -> None:
    """The generation ends when the client that had ended its side does not read any more either."""
    held = Held(is_stream=False)
    engine.behaviour = held
    with door.connect() as connection:
        connection.sendall(request(door, CHAT, version))
        assert held.arrived.wait(10)
        connection.shutdown(socket.SHUT_WR)
        if version == "1.1":
            assert connection.recv(len(_INTERIM)) == _INTERIM
    assert engine.aborted.acquire(timeout=20)


def test_who_goes_within_a_stream_after_ending_its_side_stops_it(door: DoorProcess, engine: Upstream) -> None:
    """The frames themselves find out that nobody reads them."""

    async def endless(_: Received, writer: asyncio.StreamWriter) -> None:
        begin_stream(writer)
        while True:
            write_event(writer, chunk("a"))
            await writer.drain()
            await asyncio.sleep(0.005)

    engine.behaviour = endless
    with door.connect() as connection:
        connection.sendall(request(door, {**CHAT, "stream": True}))
        connection.shutdown(socket.SHUT_WR)
        found = b""
        while found.count(b'"a"') < 5:
            found += connection.recv(65536)
    assert engine.aborted.acquire(timeout=10)

"""Streams: passed through as they are, changed where they must be, ended as they should end."""

from __future__ import annotations

import asyncio
import json
import threading

import pytest

from tests.scenario.door.conftest import CHAT, ROUTE
from tests.support.doors import DoorProcess, deployment, replica
from tests.support.upstream import Received, Upstream, begin_stream, chunk, end_stream, stream, write_event

STREAM = {**CHAT, "stream": True}


def test_frames_pass_unchanged(door: DoorProcess, engine: Upstream) -> None:
    """What llama.cpp streams arrives as it came, without its own timings."""
    engine.behaviour = stream("a", "b\u00e9", "c")
    reply = door.post(ROUTE, STREAM)
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert [e["choices"][0]["delta"].get("content") for e in reply.events[:3]] == ["a", "b\u00e9", "c"]
    assert reply.events[-1] == "[DONE]"
    assert "timings" not in reply.text


def test_tokens_of_a_stream_are_metered(door: DoorProcess, engine: Upstream) -> None:
    """The engine's last frame says how many tokens there were, cached ones of the prompt included."""
    engine.behaviour = stream("a", "b", timings={"cache_n": 7, "prompt_n": 4, "predicted_n": 2})
    reply = door.post(ROUTE, STREAM)
    assert door.control is not None
    row = door.control.usage(reply.request_id)
    assert (row["prompt_tokens"], row["completion_tokens"]) == (11, 2)
    assert row["first_token_seconds"] is not None
    assert row["route"] == ROUTE
    assert row["key_id"] == "key_user"


def test_each_frame_comes_when_it_is_there(door: DoorProcess, engine: Upstream) -> None:
    """A frame is not kept back until the next one."""
    go_on = asyncio.Event()

    async def behave(_: Received, writer: asyncio.StreamWriter) -> None:
        begin_stream(writer)
        write_event(writer, chunk("first"))
        await writer.drain()
        await go_on.wait()
        end_stream(writer)

    engine.behaviour = behave
    with door.connect() as connection:
        body = json.dumps(STREAM)
        head = f"POST {ROUTE} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {door.key}\r\n"
        connection.sendall(f"{head}Connection: close\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        found = b""
        while b"first" not in found:
            found += connection.recv(65536)
        assert b"[DONE]" not in found
        engine.call(go_on.set)
        while piece := connection.recv(65536):
            found += piece
        assert found.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")


def test_a_stream_that_breaks_ends_with_an_error_event(door: DoorProcess, engine: Upstream) -> None:
    """An engine that ends in the middle: an error in OpenAI's form and no [DONE]."""

    async def behave(_: Received, writer: asyncio.StreamWriter) -> None:
        begin_stream(writer)
        write_event(writer, chunk("a"))
        await writer.drain()
        writer.transport.abort()

    engine.behaviour = behave
    reply = door.post(ROUTE, STREAM)
    assert reply.status == 200
    assert reply.events[0]["choices"][0]["delta"]["content"] == "a"
    error = reply.events[-1]["error"]
    assert (error["code"], error["source"]) == ("engine-crashed", "engine")
    assert "[DONE]" not in reply.events
    assert door.control is not None
    assert door.control.wait_for("broke")["replica"] == "rep_000000000001"


def test_an_error_in_the_stream_is_said_in_the_doors_words(door: DoorProcess, engine: Upstream) -> None:
    """An engine's own error event becomes ours, with who failed."""

    async def behave(_: Received, writer: asyncio.StreamWriter) -> None:
        begin_stream(writer)
        write_event(writer, chunk("a"))
        write_event(writer, {"error": {"code": 500, "message": "it burns", "type": "server_error"}})
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    engine.behaviour = behave
    reply = door.post(ROUTE, STREAM)
    assert "it burns" in reply.events[-1]["error"]["message"]
    assert reply.events[-1]["error"]["source"] == "engine"


def test_an_error_before_the_first_frame_is_an_http_error(door: DoorProcess, engine: Upstream) -> None:
    """A stream that fails before it begins has an HTTP status."""

    async def behave(_: Received, writer: asyncio.StreamWriter) -> None:
        begin_stream(writer)
        write_event(writer, {"error": {"code": 500, "message": "it burns", "type": "server_error"}})
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    engine.behaviour = behave
    reply = door.post(ROUTE, STREAM)
    assert (reply.status, reply.error["code"]) == (502, "engine-error")


def test_a_client_that_goes_stops_the_engine(door: DoorProcess, engine: Upstream) -> None:
    """Who closes the connection in the middle of a stream ends the generation, and its place is free."""

    async def endless(_: Received, writer: asyncio.StreamWriter) -> None:
        begin_stream(writer)
        while True:
            write_event(writer, chunk("a"))
            await writer.drain()
            await asyncio.sleep(0.005)

    engine.behaviour = endless
    body = json.dumps(STREAM)
    head = f"POST {ROUTE} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {door.key}\r\n"
    head += "X-Request-Id: gone-early\r\n"
    with door.connect() as connection:
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        found = b""
        while found.count(b'"a"') < 5:
            found += connection.recv(65536)
    assert engine.aborted.acquire(timeout=10)
    assert door.control is not None
    row = door.control.usage("gone-early")
    assert row["status"] == 499
    assert row["prompt_tokens"] is None
    assert row["completion_tokens"] > 0


def test_a_client_that_goes_before_the_answer_stops_the_engine(door: DoorProcess, engine: Upstream) -> None:
    """The same while an answer that is not streamed is computed."""
    arrived = threading.Event()

    async def hang(_: Received, __: asyncio.StreamWriter) -> None:
        arrived.set()
        await asyncio.Event().wait()

    engine.behaviour = hang
    body = json.dumps(CHAT)
    head = f"POST {ROUTE} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {door.key}\r\n"
    head += "X-Request-Id: gone-before\r\n"
    with door.connect() as connection:
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        assert arrived.wait(10)
    assert engine.aborted.acquire(timeout=10)
    assert door.control is not None
    row = door.control.usage("gone-before")
    assert (row["status"], row["prompt_tokens"], row["completion_tokens"]) == (499, None, None)


def test_a_slow_reader_holds_the_engine_back(door: DoorProcess, engine: Upstream) -> None:
    """A client that does not read stops the engine's sending, so that nothing piles up in the door."""
    sent = 0
    is_stuck = threading.Event()

    async def flood(_: Received, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        begin_stream(writer)
        text = "x" * 60_000
        for _ in range(2_000):
            write_event(writer, chunk(text))
            sent += len(text)
            try:
                async with asyncio.timeout(1.0):
                    await writer.drain()
            except TimeoutError:
                is_stuck.set()
                await writer.drain()
        end_stream(writer)

    engine.behaviour = flood
    body = json.dumps(STREAM)
    head = f"POST {ROUTE} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {door.key}\r\n"
    with door.connect() as connection:
        connection.sendall(f"{head}Connection: close\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        assert is_stuck.wait(20)
        assert sent < 60_000_000
        found = 0
        while piece := connection.recv(1 << 20):
            found += len(piece)
    assert found > 120_000_000


def test_the_models_name_is_the_deployments(door: DoorProcess, engine: Upstream) -> None:
    """What the engine calls the model is not shown, in a stream or whole."""
    engine.behaviour = stream("a", "b", model="/srv/models/secret-path.gguf")
    reply = door.post(ROUTE, STREAM)
    assert {event["model"] for event in reply.events[:-1]} == {"bot"}


@pytest.mark.parametrize("wants_usage", [False, True])
def test_usage_of_an_openai_engine(door: DoorProcess, engine: Upstream, wants_usage: bool) -> None:
    """Usage is asked for so that it can be metered, and shown to who asked for it."""

    async def behave(_: Received, writer: asyncio.StreamWriter) -> None:
        begin_stream(writer)
        write_event(writer, {**chunk("a", "up/model"), "usage": None})
        usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
        write_event(writer, {**chunk("", "up/model"), "choices": [], "usage": usage})
        end_stream(writer)
        await writer.drain()

    engine.behaviour = behave
    entry = replica(socket_path=str(engine.socket_path), protocol="openai", upstream_model="up/model")
    door.push(door.snapshot(deployment("bot", entry)))
    reply = door.post(ROUTE, {**STREAM, "stream_options": {"include_usage": True}} if wants_usage else STREAM)
    assert engine.received[0].json["stream_options"] == {"include_usage": True}
    assert engine.received[0].json["model"] == "up/model"
    events = [event for event in reply.events if event != "[DONE]"]
    assert {event["model"] for event in events} == {"bot"}
    assert len([event for event in events if event.get("usage")]) == int(wants_usage)
    assert door.control is not None
    row = door.control.usage(reply.request_id)
    assert (row["prompt_tokens"], row["completion_tokens"]) == (3, 4)


def test_frames_in_any_pieces(door: DoorProcess, engine: Upstream) -> None:
    """Frames that arrive in pieces, with other line ends, are put together before they are changed."""

    async def behave(_: Received, writer: asyncio.StreamWriter) -> None:
        begin_stream(writer)
        frames = "".join(f"data: {json.dumps(chunk(c, 'up/model'))}\r\n\r\n" for c in "abc") + "data: [DONE]\r\n\r\n"
        for at in range(0, len(frames), 7):
            piece = frames[at : at + 7].encode()
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await writer.drain()
            await asyncio.sleep(0)
        writer.write(b"0\r\n\r\n")

    engine.behaviour = behave
    entry = replica(socket_path=str(engine.socket_path), protocol="openai", upstream_model="up/model")
    door.push(door.snapshot(deployment("bot", entry)))
    reply = door.post(ROUTE, STREAM)
    assert [e["choices"][0]["delta"]["content"] for e in reply.events[:-1]] == ["a", "b", "c"]
    assert {event["model"] for event in reply.events[:-1]} == {"bot"}
    assert reply.events[-1] == "[DONE]"


def test_a_response_that_breaks_ends_with_an_error_event(door: DoorProcess, engine: Upstream) -> None:
    """The Responses API has its own form of events, for errors too."""

    async def behave(_: Received, writer: asyncio.StreamWriter) -> None:
        begin_stream(writer)
        write_event(writer, chunk("a"))
        await writer.drain()
        writer.transport.abort()

    engine.behaviour = behave
    reply = door.post("/v1/responses", {"model": "bot", "input": "hello", "stream": True})
    assert [event["type"] for event in reply.events][-2:] == ["response.output_text.delta", "error"]
    last = reply.events[-1]
    assert last["code"] == last["error"]["code"] == "engine-crashed"
    assert last["sequence_number"] == len(reply.events) - 1


def test_one_choice_that_fails_fails_all(door: DoorProcess, engine: Upstream) -> None:
    """Of several choices in a stream one breaks: the stream ends with the error, and the others are cancelled."""
    is_first = True

    async def behave(_: Received, writer: asyncio.StreamWriter) -> None:
        nonlocal is_first
        begin_stream(writer)
        write_event(writer, chunk("a"))
        await writer.drain()
        if is_first:
            is_first = False
            await asyncio.sleep(0.1)
            writer.transport.abort()
        else:
            await asyncio.Event().wait()

    engine.behaviour = behave
    reply = door.post(ROUTE, {**STREAM, "n": 2})
    assert reply.events[-1]["error"]["code"] == "engine-crashed"
    assert {event["choices"][0]["index"] for event in reply.events[:-1]} == {0, 1}
    assert engine.aborted.acquire(timeout=10)


def test_an_old_client_gets_its_stream(door: DoorProcess, engine: Upstream) -> None:
    """HTTP/1.0 has no chunks: the stream comes plain and ends with the connection."""
    engine.behaviour = stream("a", "b")
    body = json.dumps(STREAM)
    with door.connect() as connection:
        head = f"POST {ROUTE} HTTP/1.0\r\nHost: localhost\r\nAuthorization: Bearer {door.key}\r\n"
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        found = b""
        while piece := connection.recv(65536):
            found += piece
    assert b"transfer-encoding" not in found
    assert found.endswith(b"\n\ndata: [DONE]\n\n")

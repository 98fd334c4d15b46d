"""Engines that break: retried once, told apart from the harmless, refused when they harm."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.scenario.door.conftest import CHAT, ROUTE
from tests.support.doors import DoorProcess, Reply, deployment, replica
from tests.support.upstream import (
    Received,
    Upstream,
    answer_json,
    begin_stream,
    chunk,
    completion,
    crash,
    hang,
    stream,
    write_event,
    write_json,
)


def chat(text: str, **others: Any) -> dict[str, Any]:
    """A chat request with that text."""
    return {"model": "bot", "messages": [{"role": "user", "content": text}], **others}


def digest(data: dict[str, Any]) -> str:
    """How the door names a request."""
    return hashlib.sha256(ROUTE.encode() + b"\n" + json.dumps(data).encode()).hexdigest()


def test_another_replica_answers(own_door: DoorProcess, engine: Upstream, tmp_path: Path) -> None:
    """A replica that ends before the answer costs the client nothing but time."""
    engine.behaviour = crash
    with Upstream(answer_json(completion("saved")), tmp_path / "other.sock") as other:
        own_door.push(
            own_door.snapshot(
                deployment(
                    "bot",
                    replica("rep_bad", socket_path=str(engine.socket_path), slots=8),
                    replica("rep_good", socket_path=str(other.socket_path), slots=8),
                )
            )
        )
        replies = [own_door.post(ROUTE, chat(str(number))) for number in range(4)]
    assert [reply.status for reply in replies] == [200] * 4
    assert {reply.headers["x-undercroft-replica"] for reply in replies} == {"rep_good"}
    assert own_door.control is not None
    event = own_door.control.wait_for("broke")
    assert event["replica"] == "rep_bad"
    assert event["in_flight"] == [digest(chat("0"))]


def test_a_stream_that_has_not_begun_is_tried_again(own_door: DoorProcess, engine: Upstream, tmp_path: Path) -> None:
    """An engine that sends its headers and then ends has not begun for the client."""

    async def headers_only(_: Received, writer: asyncio.StreamWriter) -> None:
        begin_stream(writer)
        await writer.drain()
        writer.close()

    engine.behaviour = headers_only
    with Upstream(stream("saved"), tmp_path / "other.sock") as other:
        own_door.push(
            own_door.snapshot(
                deployment(
                    "bot",
                    replica("rep_bad", socket_path=str(engine.socket_path)),
                    replica("rep_good", socket_path=str(other.socket_path)),
                )
            )
        )
        reply = own_door.post(ROUTE, chat("x", stream=True))
    assert reply.events[0]["choices"][0]["delta"]["content"] == "saved"
    assert reply.headers["x-undercroft-replica"] == "rep_good"


def test_a_second_end_is_an_error(own_door: DoorProcess, engine: Upstream) -> None:
    """Once more and no further: the second replica that ends is 502."""
    engine.behaviour = crash
    reply = own_door.post(ROUTE, CHAT)
    assert (reply.status, reply.error["code"], reply.error["source"]) == (502, "engine-crashed", "engine")
    assert len(engine.received) == 2


def test_a_request_waits_for_the_new_replica(own_door: DoorProcess, engine: Upstream, tmp_path: Path) -> None:
    """The only replica ends: its request waits until control has started another, and is answered by that."""
    engine.behaviour = crash
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(own_door.post, ROUTE, CHAT)
        assert own_door.control is not None
        own_door.control.wait_for("broke")
        own_door.push(own_door.snapshot(deployment("bot", state="loading")))
        with Upstream(answer_json(completion("back")), tmp_path / "new.sock") as new:
            own_door.push(own_door.snapshot(deployment("bot", replica("rep_new", socket_path=str(new.socket_path)))))
            reply = waiting.result(20)
    assert reply.status == 200
    assert reply.headers["x-undercroft-replica"] == "rep_new"


def test_the_harmful_request_is_refused_and_the_others_go_on(own_door: DoorProcess, engine: Upstream) -> None:
    """Many requests at a time, one of which ends the engine: it is refused in the end, and all others are answered."""

    async def fragile(request: Received, writer: asyncio.StreamWriter) -> None:
        if b"POISON" in request.body:
            # Takes everything with it that is there, as a process does that ends.
            await asyncio.sleep(0.05)
            for other in list(engine._writers):
                other.transport.abort()
            return
        await asyncio.sleep(0.2)
        write_json(writer, completion())
        await writer.drain()

    engine.behaviour = fragile
    own_door.push(own_door.snapshot(deployment("bot", replica(socket_path=str(engine.socket_path), slots=8))))
    poison = chat("POISON")
    with ThreadPoolExecutor(8) as threads:
        good = [threads.submit(own_door.post, ROUTE, chat(f"good {number}")) for number in range(6)]
        bad = threads.submit(own_door.post, ROUTE, poison)
        assert [one.result(30).status for one in good] == [200] * 6
        assert bad.result(30).status == 502
    assert own_door.control is not None
    event = own_door.control.wait_for("quarantine")
    assert (event["deployment"], event["digest"]) == ("bot", digest(poison))
    seen = len(engine.received)
    refused = own_door.post(ROUTE, poison)
    assert (refused.status, refused.error["code"]) == (409, "request-quarantined")
    assert digest(poison) in refused.error["message"]
    assert len(engine.received) == seen
    replies: list[Reply] = [own_door.post(ROUTE, chat(f"good {number}")) for number in range(6)]
    assert [reply.status for reply in replies] == [200] * 6


def test_what_control_has_in_quarantine_is_refused(door: DoorProcess, engine: Upstream) -> None:
    """Another door's finding, or one of last week, holds here too."""
    entry = deployment("bot", replica(socket_path=str(engine.socket_path)))
    door.push(door.snapshot(entry, quarantined=frozenset({digest(CHAT)})))
    assert door.post(ROUTE, CHAT).status == 409
    door.push(door.snapshot(entry))
    assert door.post(ROUTE, CHAT).status == 200


def test_a_kept_connection_that_was_closed_is_no_failure(own_door: DoorProcess, engine: Upstream) -> None:
    """An engine may close an idle connection whenever it likes."""

    async def answer_and_close(_: Received, writer: asyncio.StreamWriter) -> None:
        write_json(writer, completion())
        await writer.drain()
        writer.close()

    engine.behaviour = answer_and_close
    assert [own_door.post(ROUTE, CHAT).status for _ in range(20)] == [200] * 20
    assert own_door.control is not None
    assert [event for event in own_door.control.events if event["type"] == "broke"] == []


def test_connections_to_the_engine_are_kept(door: DoorProcess, engine: Upstream) -> None:
    """Requests one after the other share a connection."""
    for _ in range(10):
        assert door.post(ROUTE, CHAT).status == 200
    assert engine.connections <= 1


def test_a_silent_engine_is_given_up(make_door: Callable[[str], DoorProcess], engine: Upstream) -> None:
    """An engine that says nothing for too long is 504, and its generation is cancelled."""
    door = make_door("[limits]\nrequest_timeout_seconds = 0.3\n")
    door.start(door.snapshot(deployment("bot", replica(socket_path=str(engine.socket_path)))))
    engine.behaviour = hang
    reply = door.post(ROUTE, CHAT)
    assert (reply.status, reply.error["code"]) == (504, "engine-silent")
    assert engine.aborted.acquire(timeout=10)


def test_a_stream_that_goes_silent_is_ended(make_door: Callable[[str], DoorProcess], engine: Upstream) -> None:
    """Silence in the middle of a stream ends it with an error event."""

    async def stall(_: Received, writer: asyncio.StreamWriter) -> None:
        begin_stream(writer)
        write_event(writer, chunk("a"))
        await writer.drain()
        await asyncio.Event().wait()

    door = make_door("[limits]\nrequest_timeout_seconds = 0.3\n")
    door.start(door.snapshot(deployment("bot", replica(socket_path=str(engine.socket_path)))))
    engine.behaviour = stall
    reply = door.post(ROUTE, chat("x", stream=True))
    assert reply.events[-1]["error"]["code"] == "engine-silent"


def test_an_engine_that_is_away_is_given_up(own_door: DoorProcess, engine: Upstream) -> None:
    """An engine that cannot be reached for seconds is 502 that says so; when it is back it is used again."""
    engine.crash()
    began = time.monotonic()
    reply = own_door.post(ROUTE, CHAT)
    assert (reply.status, reply.error["code"]) == (502, "engine-unreachable")
    assert time.monotonic() - began < 15
    engine.revive()
    assert own_door.post(ROUTE, CHAT).status == 200


@pytest.mark.parametrize(
    ("status", "body", "expected", "code", "source"),
    [
        (400, {"error": {"message": "bad grammar"}}, 400, "engine-refused", "client"),
        (401, {"error": {"message": "no"}}, 502, "engine-locked", "engine"),
        (404, {"detail": "Not Found"}, 502, "engine-error", "engine"),
        (429, {"error": {"message": "busy"}}, 429, "engine-busy", "engine"),
        (500, {"error": {"message": "boom"}}, 502, "engine-error", "engine"),
        (503, {"error": {"message": "Loading model"}}, 503, "engine-busy", "engine"),
        (
            400,
            {"error": {"type": "exceed_context_size_error", "n_prompt_tokens": 1218, "n_ctx": 512, "message": "x"}},
            400,
            "context_length_exceeded",
            "client",
        ),
    ],
)
def test_an_engines_errors_are_translated(
    door: DoorProcess, engine: Upstream, status: int, body: Any, expected: int, code: str, source: str
) -> None:
    """Whoever failed is named, and an engine's trouble is never blamed on the client."""
    engine.behaviour = answer_json(body, status)
    reply = door.post(ROUTE, CHAT)
    assert (reply.status, reply.error["code"], reply.error["source"]) == (expected, code, source)
    if code == "context_length_exceeded":
        assert "takes 512 tokens, the request has 1218" in reply.error["message"]


def test_redirects_are_never_followed(door: DoorProcess, engine: Upstream) -> None:
    """An engine that points elsewhere is an error that says so, and nothing is sent there."""
    engine.behaviour = answer_json({}, 307, {"location": "http://169.254.169.254/secret"})
    reply = door.post(ROUTE, CHAT)
    assert (reply.status, reply.error["code"]) == (502, "engine-redirected")
    assert "never followed" in reply.error["message"]
    assert len(engine.received) == 1


def test_an_engine_that_does_not_speak_http(door: DoorProcess, engine: Upstream) -> None:
    """Nonsense in place of an answer is the engine's failure."""

    async def nonsense(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
        await writer.drain()

    engine.behaviour = nonsense
    reply = door.post(ROUTE, CHAT)
    assert (reply.status, reply.error["source"]) == (502, "engine")


@pytest.mark.long
def test_suspects_do_not_wait_for_each_others_long_answers(own_door: DoorProcess, engine: Upstream) -> None:
    """After a break all are tried again one by one, each only for its first seconds: long answers go on together."""
    running = 0
    most = 0

    async def long(_: Received, writer: asyncio.StreamWriter) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(9)
        running -= 1
        write_json(writer, completion())
        await writer.drain()

    async def break_all(_: Received, __: asyncio.StreamWriter) -> None:
        if len(engine.received) == 3:
            engine.behaviour = long
            for other in list(engine._writers):
                other.transport.abort()
        await asyncio.Event().wait()

    engine.behaviour = break_all
    own_door.push(own_door.snapshot(deployment("bot", replica(socket_path=str(engine.socket_path), slots=8))))
    began = time.monotonic()
    with ThreadPoolExecutor(3) as threads:
        asked = [threads.submit(own_door.post, ROUTE, chat(str(number))) for number in range(3)]
        assert [one.result(60).status for one in asked] == [200] * 3
    assert most > 1
    assert time.monotonic() - began < 3 * 9

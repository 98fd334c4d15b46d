"""A name whose releases come and go while requests wait: they are answered by whoever took the place."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.scenario.door.conftest import CHAT, ROUTE
from tests.scenario.door.test_queue import Gate
from tests.support.doors import DoorProcess, deployment, replica
from tests.support.server import wait_for
from tests.support.upstream import (
    Upstream,
    answer_json,
    begin_stream,
    completion,
    end_stream,
    stream,
    write_event,
    write_json,
)
from undercroft.serving.snapshot import DeploymentEntry, NameEntry, ReleaseEntry, Snapshot


def release(number: int, **sampling: Any) -> ReleaseEntry:
    """A release with a deployment of its own."""
    return ReleaseEntry(number, f"bot@{number}", None, sampling, 0)


def served(engine: Upstream, number: int, **others: Any) -> DeploymentEntry:
    """The deployment of a release, on an engine that computes one request at a time."""
    own = replica(f"rep_00000000000{number}", socket_path=str(engine.socket_path), slots=1)
    return deployment(f"bot@{number}", own, serves="bot", **others)


def named(live: int, **others: Any) -> dict[str, NameEntry]:
    """The name ``bot`` with two releases."""
    tags = {"production": live}
    return {"bot": NameEntry("bot", live, tags, {number: release(number) for number in (1, 2)}, **others)}


def waiting(door: DoorProcess, name: str) -> int:
    """Requests that wait for a deployment, as the metrics say."""
    start = f'undercroft_queue_depth{{deployment="{name}"}}'
    lines = [line for line in door.get("/metrics").text.splitlines() if line.startswith(start)]
    return int(float(lines[0].split()[-1])) if lines else 0


def asking(content: str) -> dict[str, Any]:
    """A chat that no other test sends."""
    return {**CHAT, "messages": [{"role": "user", "content": content}]}


def _after_leaving(door: DoorProcess, engine: Upstream, name: str, before: Snapshot, after: Snapshot) -> list[Any]:
    """Two requests, one computed and one waiting for ``name``, when what is served becomes something else."""
    door.push(before)
    gate = Gate()
    engine.behaviour = gate
    with ThreadPoolExecutor(2) as threads:
        futures = [threads.submit(door.post, ROUTE, CHAT)]
        assert gate.arrived.acquire(timeout=10)
        futures.append(threads.submit(door.post, ROUTE, CHAT))
        wait_for(lambda: waiting(door, name) == 1, "the second to wait")
        door.push(after)
        assert gate.arrived.acquire(timeout=10)
        gate.open(engine)
        return [future.result(10) for future in futures]


def test_who_waits_for_a_release_that_leaves_is_answered_by_the_next(door: DoorProcess, engine: Upstream) -> None:
    """What was computed is finished; what waited moves, and its header says by whom it was answered."""
    before = door.snapshot(served(engine, 1), names=named(1))
    replies = _after_leaving(door, engine, "bot@1", before, door.snapshot(served(engine, 2), names=named(2)))
    assert [reply.status for reply in replies] == [200, 200]
    assert [reply.headers["x-undercroft-release"] for reply in replies] == ["bot@1", "bot@2"]


def test_who_waits_for_a_deployment_is_answered_by_its_first_release(door: DoorProcess, engine: Upstream) -> None:
    """A name that gets its first release into production loses nobody on the way."""
    plain = deployment("bot", replica(socket_path=str(engine.socket_path), slots=1))
    after = door.snapshot(served(engine, 1), names=named(1))
    replies = _after_leaving(door, engine, "bot", door.snapshot(plain), after)
    assert [reply.status for reply in replies] == [200, 200]
    assert [reply.headers.get("x-undercroft-release") for reply in replies] == [None, "bot@1"]


def test_who_named_a_release_that_leaves_is_told(door: DoorProcess, engine: Upstream) -> None:
    """A release that was asked for by number has no successor: 404 for who waited."""
    door.push(door.snapshot(served(engine, 1), names=named(1)))
    gate = Gate()
    engine.behaviour = gate
    with ThreadPoolExecutor(2) as threads:
        futures = [threads.submit(door.post, ROUTE, {**CHAT, "model": "bot@1"})]
        assert gate.arrived.acquire(timeout=10)
        futures.append(threads.submit(door.post, ROUTE, {**CHAT, "model": "bot@1"}))
        wait_for(lambda: waiting(door, "bot@1") == 1, "the second to wait")
        door.push(door.snapshot(served(engine, 2), names=named(2)))
        gate.open(engine)
        assert [future.result(10).status for future in futures] == [200, 404]


@pytest.mark.parametrize("status", [400, 500])
@pytest.mark.parametrize("is_stream", [False, True])
def test_what_a_canary_fails_production_answers(
    door: DoorProcess, engine: Upstream, status: int, is_stream: bool
) -> None:
    """The user sees an answer of what is in production; the candidate's failure is told to control, once."""
    names = named(1, canary=2, canary_ratio=1.0)
    names["bot"].releases[2].sampling["seed"] = 7  # how the engine knows it
    door.reset(door.snapshot(served(engine, 1), served(engine, 2), names=names))

    async def behave(request: Any, writer: Any) -> None:
        is_candidates = request.json.get("seed") == 7
        answer = answer_json({"error": {"message": "no"}}, status) if is_candidates else engine_answer
        await answer(request, writer)

    engine_answer = answer_json(completion())
    if is_stream:
        engine_answer = stream("hello")
    engine.behaviour = behave
    reply = door.post(ROUTE, {**CHAT, "stream": is_stream})
    assert (reply.status, reply.headers["x-undercroft-release"]) == (200, "bot@1")
    assert door.control is not None
    assert door.control.usage(reply.request_id)["release"] == 1
    rows = [row for event in door.control.events if event["type"] == "usage" for row in event["rows"]]
    failed = [(row["release"], row["status"]) for row in rows if row["key_id"] == "key_shadow"]
    assert failed == [(2, 400 if status == 400 else 502)]


def test_what_production_refuses_as_well_is_not_the_canarys_fault(door: DoorProcess, engine: Upstream) -> None:
    """Control is told of the refusal by production only; a failure of the candidate that follows is told."""
    names = named(1, canary=2, canary_ratio=1.0)
    names["bot"].releases[2].sampling["seed"] = 7  # how the engine knows it
    door.reset(door.snapshot(served(engine, 1), served(engine, 2), names=names))
    engine.behaviour = answer_json({"error": {"message": "no"}}, 400)
    reply = door.post(ROUTE, CHAT)
    assert (reply.status, reply.headers["x-undercroft-release"]) == (400, "bot@1")
    engine.behaviour = answer_json({"error": {"message": "no"}}, 500)
    assert door.post(ROUTE, CHAT).status == 502
    assert copies(door, 1) == [(2, 502)]


def test_a_canary_that_fails_when_its_name_is_gone_ends_the_request(door: DoorProcess, engine: Upstream) -> None:
    """The deployment is removed while the candidate computes, and the candidate breaks: there is nobody left to ask."""
    names = named(1, canary=2, canary_ratio=1.0)
    door.reset(door.snapshot(served(engine, 1), served(engine, 2), names=names))
    arrived, leave = threading.Semaphore(0), asyncio.Event()

    async def behave(_: Any, writer: Any) -> None:
        arrived.release()
        await leave.wait()
        writer.transport.abort()

    engine.behaviour = behave
    with ThreadPoolExecutor(1) as threads:
        future = threads.submit(door.post, ROUTE, CHAT)
        assert arrived.acquire(timeout=10)
        door.push(door.snapshot())
        engine.call(leave.set)
        assert future.result(20).status == 404
    assert door.get("/v1/models").status == 200


def test_what_ends_a_canarys_engine_is_not_kept_from_production(door: DoorProcess, engine: Upstream) -> None:
    """The candidate breaks its connection again and again; the same request is answered by production every time."""
    names = named(1, canary=2, canary_ratio=1.0)
    names["bot"].releases[2].sampling["seed"] = 7  # how the engine knows it
    door.push(door.snapshot(served(engine, 1), served(engine, 2), names=names))

    async def behave(request: Any, writer: Any) -> None:
        if request.json.get("seed") == 7:
            writer.transport.abort()
        else:
            await answer_json(completion())(request, writer)

    engine.behaviour = behave
    own = asking("canary")  # the quarantine keeps what ended engines, also from the tests that follow
    replies = [door.post(ROUTE, own) for _ in range(4)]
    assert [(reply.status, reply.headers["x-undercroft-release"]) for reply in replies] == [(200, "bot@1")] * 4


def test_what_ends_an_engine_in_the_shadow_is_not_kept_from_users(door: DoorProcess, engine: Upstream) -> None:
    """A copy ends the candidate's engine twice; a user who sends the very bytes of that copy is answered."""
    names = named(1, canary=2, is_shadow=True)
    names["bot"].releases[2].sampling["seed"] = 7  # how the engine knows it
    door.reset(door.snapshot(served(engine, 1), served(engine, 2), names=names))

    async def behave(request: Any, writer: Any) -> None:
        if request.json.get("seed") == 7:
            writer.transport.abort()
        else:
            await answer_json(completion())(request, writer)

    engine.behaviour = behave
    own = asking("shadow")
    assert door.post(ROUTE, json.dumps(own, indent=1).encode()).status == 200
    assert copies(door, 1) == [(2, 502)]
    assert door.post(ROUTE, json.dumps(own, separators=(",", ":")).encode()).status == 200


def test_an_answer_of_another_form_is_looked_at_as_far_as_that_goes(door: DoorProcess, engine: Upstream) -> None:
    """Engines that answer in parts, or with choices that are none, are compared like others and fail nobody."""
    names = named(1, canary=2, is_shadow=True)
    door.reset(door.snapshot(served(engine, 1), served(engine, 2), names=names))
    parts = {"choices": [None, {"message": {"content": [{"type": "text", "text": "hello"}]}, "finish_reason": "stop"}]}
    engine.behaviour = answer_json(parts)
    assert door.post(ROUTE, asking("parts")).status == 200
    assert copies(door, 1) == [(2, 200)]


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize(
    ("route", "body", "asked"),
    [
        ("/v1/chat/completions", {**CHAT, "n": 3}, 3),
        ("/v1/completions", {"model": "bot", "prompt": ["one", "two"]}, 2),
        ("/v1/completions", {"model": "bot", "prompt": "once"}, 1),
        ("/v1/responses", {"model": "bot", "input": "hello"}, 1),
    ],
)
def test_every_kind_of_answer_is_copied_to_a_shadow(
    door: DoorProcess, engine: Upstream, route: str, body: dict[str, Any], asked: int, is_stream: bool
) -> None:
    """Each choice and each prompt; compared with what the user got, and the user's own row says what it was like."""
    names = named(1, canary=2, is_shadow=True)
    names["bot"].releases[2].sampling["seed"] = 7  # how the engine knows it
    door.reset(door.snapshot(served(engine, 1), served(engine, 2), names=names))
    seen = {1: 0, 2: 0}

    async def behave(request: Any, writer: Any) -> None:
        is_candidates = "seed" in request.json
        seen[2 if is_candidates else 1] += 1
        said = {"index": 0, "finish_reason": "stop"}
        if request.path == "/v1/completions":
            said |= {"text": "hello"}
        else:
            said |= {"delta" if request.json.get("stream") else "message": {"role": "assistant", "content": "hello"}}
        if request.json.get("stream"):
            begin_stream(writer)
            write_event(writer, {**completion(), "choices": [said]})
            end_stream(writer)
        else:
            write_json(writer, {**completion(), "choices": [said]})
        await writer.drain()

    engine.behaviour = behave
    reply = door.post(route, {**body, "stream": is_stream})
    assert reply.status == 200, reply.text
    assert copies(door, 1) == [(2, 200)]
    assert seen == {1: asked, 2: asked}
    assert door.control is not None
    own = door.control.usage(reply.request_id)
    rows = [row for event in door.control.events if event["type"] == "usage" for row in event["rows"]]
    (copy,) = [row for row in rows if row["key_id"] == "key_shadow"]
    signs = {"is_empty": False, "is_refusal": False, "is_invalid": None, "is_cut": False}
    assert own["signs"] == signs
    assert (copy["route"], copy["signs"]) == (route, {**signs, "likeness": 1.0})
    assert copy["completion_tokens"] == own["completion_tokens"]


def test_all_wait_for_what_takes_the_place_of_another(
    make_door: Callable[[str], DoorProcess], engine: Upstream
) -> None:
    """With a queue for one and a short patience for other loads: nobody is refused until it is ready, and those who
    come then find the ordinary queue, in which the others do not count."""
    door = make_door("[limits]\nqueue_requests = 1\nload_wait_seconds = 0.1\n")
    loading = deployment("bot@2", serves="bot", is_replacing=True)
    door.start(door.snapshot(loading, names=named(2)), has_control=True)
    gate = Gate()
    engine.behaviour = gate
    with ThreadPoolExecutor(8) as threads:
        futures = [threads.submit(door.post, ROUTE, CHAT) for _ in range(5)]
        wait_for(lambda: waiting(door, "bot@2") == 5, "all to wait")
        door.push(door.snapshot(served(engine, 2), names=named(2)))
        wait_for(lambda: waiting(door, "bot@2") == 4, "the first to be computed")
        futures.append(threads.submit(door.post, ROUTE, CHAT))
        wait_for(lambda: waiting(door, "bot@2") == 5, "one more to wait")
        assert door.post(ROUTE, CHAT).status == 429
        gate.open(engine)
        assert [future.result(20).status for future in futures] == [200] * 6


def copies(door: DoorProcess, count: int) -> list[tuple[int, int]]:
    """Release and status of so many copies that control was told of."""

    def found(events: list[dict[str, Any]]) -> list[tuple[int, int]] | None:
        rows = [row for event in events if event["type"] == "usage" for row in event["rows"]]
        told = [(row["release"], row["status"]) for row in rows if row["key_id"] == "key_shadow"]
        return told if len(told) >= count else None

    assert door.control is not None
    answer: list[tuple[int, int]] = door.control.wait(found)
    return answer


def test_nobody_is_sent_to_a_canary_that_is_starting_again(door: DoorProcess, engine: Upstream) -> None:
    """While its engine loads what is in production answers; who asks for it by its tag waits for it."""
    names = named(1, canary=2, canary_ratio=1.0)
    door.push(door.snapshot(served(engine, 1), deployment("bot@2", serves="bot"), names=names))
    reply = door.post(ROUTE, CHAT)
    assert (reply.status, reply.headers["x-undercroft-release"]) == (200, "bot@1")
    with ThreadPoolExecutor(1) as threads:
        future = threads.submit(door.post, ROUTE, {**CHAT, "model": "bot@2"})
        wait_for(lambda: waiting(door, "bot@2") == 1, "it to wait")
        door.push(door.snapshot(served(engine, 1), served(engine, 2), names=names))
        assert future.result(10).headers["x-undercroft-release"] == "bot@2"


def test_who_waits_for_a_candidate_that_gives_up_is_answered_by_production(door: DoorProcess, engine: Upstream) -> None:
    """It was to take the place of what was unloaded for it and cannot: who asked for the name moves, who asked for that
    very release waits on."""
    door.push(door.snapshot(deployment("bot@2", serves="bot"), names=named(2)))
    with ThreadPoolExecutor(2) as threads:
        by_name = threads.submit(door.post, ROUTE, CHAT)
        by_number = threads.submit(door.post, ROUTE, {**CHAT, "model": "bot@2"})
        wait_for(lambda: waiting(door, "bot@2") == 2, "both to wait")
        door.push(door.snapshot(served(engine, 1), deployment("bot@2", serves="bot", state="unloaded"), names=named(1)))
        assert by_name.result(10).headers["x-undercroft-release"] == "bot@1"
        wait_for(lambda: waiting(door, "bot@2") == 1, "the other to wait on")
        door.push(door.snapshot(served(engine, 1), served(engine, 2), names=named(1)))
        assert by_number.result(10).headers["x-undercroft-release"] == "bot@2"

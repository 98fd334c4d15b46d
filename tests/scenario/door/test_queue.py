"""Places, queues and waiting: least loaded first, bounded, first come first served, told how long."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.scenario.door.conftest import CHAT, ROUTE
from tests.support.doors import DoorProcess, deployment, replica
from tests.support.upstream import Received, Upstream, answer_json, completion, write_json
from undercroft.core.ids import new_api_key
from undercroft.serving.snapshot import KeyEntry


class Gate:
    """A behaviour that answers only when it is opened, one request at a time or for all."""

    def __init__(self) -> None:
        self.waiting: list[asyncio.Event] = []
        self.order: list[str] = []
        self.arrived = threading.Semaphore(0)

    async def __call__(self, request: Received, writer: asyncio.StreamWriter) -> None:
        event = asyncio.Event()
        self.waiting.append(event)
        self.order.append(request.json["messages"][0]["content"])
        self.arrived.release()
        await event.wait()
        write_json(writer, completion())
        await writer.drain()

    def open(self, engine: Upstream) -> None:
        """Lets everything go, now and later."""

        def release() -> None:
            engine.behaviour = answer_json(completion())
            for event in self.waiting:
                event.set()

        engine.call(release)


def ask(door: DoorProcess, text: str = "x") -> tuple[int, dict[str, str], float]:
    """Status, headers and seconds of a request."""
    began = time.monotonic()
    reply = door.post(ROUTE, {"model": "bot", "messages": [{"role": "user", "content": text}]})
    return reply.status, reply.headers, time.monotonic() - began


def wait_for(condition: Callable[[], bool]) -> None:
    """Waits until something is true."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it did not become true"
        time.sleep(0.005)


def queue_depth(door: DoorProcess) -> int:
    """Requests waiting, as the metrics say."""
    for line in door.get("/metrics").text.splitlines():
        if line.startswith('undercroft_queue_depth{deployment="bot"}'):
            return int(float(line.split()[-1]))
    return -1


def test_a_full_queue_is_told_at_once(make_door: Callable[[str], DoorProcess], engine: Upstream) -> None:
    """One at the engine, one waiting; the third is refused within 100 ms with Retry-After, the others are answered."""
    door = make_door("[limits]\nqueue_requests = 1\n")
    door.start(door.snapshot(deployment("bot", replica(socket_path=str(engine.socket_path), slots=1))))
    gate = Gate()
    engine.behaviour = gate
    with ThreadPoolExecutor(4) as threads:
        first = threads.submit(ask, door, "1")
        assert gate.arrived.acquire(timeout=10)
        second = threads.submit(ask, door, "2")
        wait_for(lambda: queue_depth(door) == 1)
        status, headers, seconds = ask(door, "3")
        assert status == 429
        assert int(headers["retry-after"]) >= 1
        assert seconds < 0.1
        gate.open(engine)
        assert first.result(10)[0] == 200
        assert second.result(10)[0] == 200


def test_first_come_first_served(make_door: Callable[[str], DoorProcess], engine: Upstream) -> None:
    """Those that wait get their turn in the order in which they came."""
    door = make_door("")
    door.start(door.snapshot(deployment("bot", replica(socket_path=str(engine.socket_path), slots=1))))
    gate = Gate()
    engine.behaviour = gate
    with ThreadPoolExecutor(6) as threads:
        futures = [threads.submit(ask, door, "0")]
        assert gate.arrived.acquire(timeout=10)
        for number in range(1, 5):
            futures.append(threads.submit(ask, door, str(number)))
            wait_for(lambda number=number: queue_depth(door) == number)
        for number in range(4):
            engine.call(gate.waiting[number].set)
            assert gate.arrived.acquire(timeout=10)
        gate.open(engine)
        assert [future.result(10)[0] for future in futures] == [200] * 5
    assert gate.order == ["0", "1", "2", "3", "4"]


def test_waiting_ends(make_door: Callable[[str], DoorProcess], engine: Upstream) -> None:
    """Who waited longer than is allowed gets 503 with Retry-After."""
    door = make_door("[limits]\nqueue_wait_seconds = 0.2\n")
    door.start(door.snapshot(deployment("bot", replica(socket_path=str(engine.socket_path), slots=1))))
    gate = Gate()
    engine.behaviour = gate
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(ask, door)
        assert gate.arrived.acquire(timeout=10)
        status, headers, _ = ask(door)
        assert status == 503
        assert "retry-after" in headers
        gate.open(engine)
        assert first.result(10)[0] == 200


def test_who_goes_leaves_the_queue(make_door: Callable[[str], DoorProcess], engine: Upstream) -> None:
    """A client that closes its connection while it waits frees its place in the queue at once."""
    door = make_door("")
    door.start(door.snapshot(deployment("bot", replica(socket_path=str(engine.socket_path), slots=1))))
    gate = Gate()
    engine.behaviour = gate
    body = json.dumps(CHAT)
    head = f"POST {ROUTE} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {door.key}\r\n"
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(ask, door)
        assert gate.arrived.acquire(timeout=10)
        with door.connect() as connection:
            connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
            wait_for(lambda: queue_depth(door) == 1)
        wait_for(lambda: queue_depth(door) == 0)
        gate.open(engine)
        assert first.result(10)[0] == 200
    assert len(engine.received) == 1


def test_the_least_loaded_replica_takes_it(
    make_door: Callable[[str], DoorProcess], engine: Upstream, tmp_path: Path
) -> None:
    """Two replicas get two requests, and capacity is slots times concurrency_per_slot."""
    door = make_door("[limits]\nconcurrency_per_slot = 2.0\nqueue_requests = 0\n")
    gate, other_gate = Gate(), Gate()
    engine.behaviour = gate
    with Upstream(other_gate, tmp_path / "other.sock") as other, ThreadPoolExecutor(6) as threads:
        door.start(
            door.snapshot(
                deployment(
                    "bot",
                    replica("rep_one", socket_path=str(engine.socket_path), slots=1),
                    replica("rep_two", socket_path=str(other.socket_path), slots=1),
                )
            )
        )
        futures = [threads.submit(ask, door) for _ in range(4)]
        for one in (gate, other_gate):
            assert one.arrived.acquire(timeout=10)
            assert one.arrived.acquire(timeout=10)
        assert ask(door)[0] == 429
        gate.open(engine)
        other_gate.open(other)
        assert [future.result(10)[0] for future in futures] == [200] * 4


def test_an_unloaded_model_is_asked_for_and_waited_for(door: DoorProcess, engine: Upstream) -> None:
    """A request for a model that is not loaded tells control, waits, and is answered once it is loaded."""
    door.push(door.snapshot(deployment("bot", state="unloaded", tasks=(), context_tokens=0)))
    assert door.control is not None
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(ask, door)
        assert door.control.wait_for("demand")["deployment"] == "bot"
        door.push(door.snapshot(deployment("bot", state="loading", tasks=())))
        assert not waiting.done()
        door.push(door.snapshot(deployment("bot", replica(socket_path=str(engine.socket_path)))))
        assert waiting.result(10)[0] == 200


def test_a_model_that_turns_out_to_be_another_is_refused(door: DoorProcess, engine: Upstream) -> None:
    """What a model can do is known once it is loaded: then a request that it cannot do is refused after all."""
    door.push(door.snapshot(deployment("bot", state="unloaded", tasks=())))
    assert door.control is not None
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(door.post, ROUTE, CHAT)
        door.control.wait_for("demand")
        entry = replica(socket_path=str(engine.socket_path))
        door.push(door.snapshot(deployment("bot", entry, tasks=("embeddings",))))
        reply = waiting.result(10)
    assert (reply.status, reply.error["code"]) == (400, "task-not-offered")
    assert engine.received == []


def test_a_model_that_loads_too_long_is_not_waited_for(door: DoorProcess) -> None:
    """Where loading is known to take longer than a request may wait, it is told how long, and the model is loaded."""
    door.push(door.snapshot(deployment("bot", state="unloaded", load_seconds=94.2)))
    status, headers, seconds = ask(door)
    assert (status, headers["retry-after"]) == (503, "95")
    assert seconds < 1
    assert door.control is not None
    assert door.control.wait_for("demand")["deployment"] == "bot"


def test_loading_is_waited_for_only_so_long(make_door: Callable[[str], DoorProcess]) -> None:
    """A model that does not come up in time is 503 with Retry-After."""
    door = make_door("[limits]\nload_wait_seconds = 0.2\n")
    door.start(door.snapshot(deployment("bot", state="loading")))
    reply = door.post(ROUTE, CHAT)
    assert (reply.status, reply.error["code"]) == (503, "model-loading")
    assert "retry-after" in reply.headers


def test_a_failed_model_says_why(door: DoorProcess) -> None:
    """503 with the reason, for new requests and for those that wait."""
    door.push(door.snapshot(deployment("bot", state="loading")))
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(door.post, ROUTE, CHAT)
        wait_for(lambda: queue_depth(door) == 1)
        door.push(door.snapshot(deployment("bot", state="failed", note="there is not enough memory")))
        for reply in (waiting.result(10), door.post(ROUTE, CHAT)):
            assert (reply.status, reply.error["code"]) == (503, "deployment-failed")
            assert "there is not enough memory" in reply.error["message"]


def test_readiness_follows_the_states(door: DoorProcess, engine: Upstream) -> None:
    """Ready with one that is, others failed or not; not ready with none; no names in it."""
    ready = deployment("secret-name", replica(socket_path=str(engine.socket_path)))
    for snapshot, status in (
        (door.snapshot(ready), 200),
        (door.snapshot(ready, deployment("b", state="failed", note="x")), 200),
        (door.snapshot(deployment("b", state="failed", note="x")), 503),
        (door.snapshot(deployment("b", state="loading")), 503),
        (door.snapshot(deployment("b", state="unloaded")), 200),
        (door.snapshot(), 503),
    ):
        door.push(snapshot)
        reply = door.get("/readyz", key=None)
        assert reply.status == status, reply.text
        assert "secret-name" not in reply.text


def test_requests_in_the_background_wait_for_everybody_else(
    make_door: Callable[[str], DoorProcess], engine: Upstream
) -> None:
    """A standard question that was first in the queue is computed after a person's, and is answered all the same."""
    door = make_door("")
    probe_key = new_api_key()
    keys = {probe_key: KeyEntry("key_probe", None, None, False, is_background=True)}
    door.start(door.snapshot(deployment("bot", replica(socket_path=str(engine.socket_path), slots=1)), keys=keys))
    gate = Gate()
    engine.behaviour = gate

    def probe() -> int:
        body = {"model": "bot", "messages": [{"role": "user", "content": "probe"}]}
        return door.post(ROUTE, body, key=probe_key).status

    with ThreadPoolExecutor(3) as threads:
        first = threads.submit(ask, door, "1")
        assert gate.arrived.acquire(timeout=10)
        asked = threads.submit(probe)
        wait_for(lambda: queue_depth(door) == 1)
        second = threads.submit(ask, door, "2")
        wait_for(lambda: queue_depth(door) == 2)
        engine.call(gate.waiting[0].set)
        assert gate.arrived.acquire(timeout=10)
        assert gate.order == ["1", "2"]
        gate.open(engine)
        assert [first.result()[0], second.result()[0], asked.result()] == [200, 200, 200]

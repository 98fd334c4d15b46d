"""The door and control: snapshots in, events out, admin requests through, and serving without it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import orjson
import pytest

from tests.scenario.door.conftest import CHAT, ROUTE
from tests.support.doors import ControlSide, DoorProcess, deployment, replica
from tests.support.upstream import Received, Upstream, answer_json, write_json
from undercroft.gateway import metrics


@pytest.fixture
def control(door: DoorProcess) -> Upstream:
    """Something in control's place that answers admin requests."""
    return Upstream(answer_json({"ok": True}), door.home.control_socket)


def test_the_kept_snapshot_is_enough(make_door: Callable[[str], DoorProcess], engine: Upstream) -> None:
    """A door that starts while control is away serves from the last snapshot."""
    door = make_door("")
    door.start(door.snapshot(deployment("bot", replica(socket_path=str(engine.socket_path)))))
    assert door.post(ROUTE, CHAT).status == 200


def test_a_damaged_snapshot_is_no_reason_not_to_start(make_door: Callable[[str], DoorProcess]) -> None:
    """Half a file is passed over: the door opens, and is not ready."""
    door = make_door("")
    door.home.snapshot_file.write_text('{"version": 1, "keys": {')
    door.start(None)
    assert door.get("/healthz").status == 200
    assert door.get("/readyz").status == 503


def test_serving_goes_on_without_control(own_door: DoorProcess) -> None:
    """Control goes and comes back: requests are answered all the time, and what was counted is not lost."""
    assert own_door.control is not None
    own_door.control.close()
    missed = [own_door.post(ROUTE, CHAT) for _ in range(5)]
    assert [reply.status for reply in missed] == [200] * 5
    own_door.control = ControlSide(own_door.home)
    assert own_door.control.wait_for("hello")["door"].startswith("door_")
    for reply in missed:
        assert own_door.control.usage(reply.request_id)["status"] == 200


def test_a_new_control_counts_from_the_start(own_door: DoorProcess, engine: Upstream) -> None:
    """A control process that was started anew has lower versions, and its snapshots hold."""
    entry = deployment("bot", replica(socket_path=str(engine.socket_path)))
    own_door._version = 50
    own_door.push(own_door.snapshot(entry))
    own_door._version = 0
    own_door.push(own_door.snapshot())
    assert own_door.post(ROUTE, CHAT).status == 404


def test_activity_is_told(door: DoorProcess) -> None:
    """Control hears when a deployment was last used, for unloading it when idle."""
    before = time.time()
    door.post(ROUTE, CHAT)
    assert door.control is not None
    door.control.wait(
        lambda events: [e for e in events if e["type"] == "activity" and e["deployments"].get("bot", 0) >= before - 1]
    )


def test_usage_has_everything_but_text(door: DoorProcess) -> None:
    """One row a request, with the columns of the table."""
    reply = door.post(ROUTE, CHAT)
    assert door.control is not None
    row = door.control.usage(reply.request_id)
    assert set(row) == {
        "at",
        "request_id",
        "key_id",
        "deployment",
        "release",
        "replica",
        "route",
        "status",
        "prompt_tokens",
        "completion_tokens",
        "queue_seconds",
        "first_token_seconds",
        "total_seconds",
        "signs",
        "input_language",
        "input_topic",
    }
    assert (row["prompt_tokens"], row["completion_tokens"], row["status"]) == (5, 2, 200)
    assert len(row["at"]) == 24


def test_refused_requests_are_metered_too(door: DoorProcess, engine: Upstream) -> None:
    """An engine's error is in the usage with its status."""
    engine.behaviour = answer_json({"error": {"message": "boom"}}, 500)
    reply = door.post(ROUTE, CHAT)
    assert door.control is not None
    assert door.control.usage(reply.request_id)["status"] == 502


def test_metrics_are_sent_and_can_be_rendered(door: DoorProcess) -> None:
    """A door sends its families, which control adds up and renders."""
    door.post(ROUTE, CHAT)
    assert door.control is not None

    def with_requests(events: list[dict[str, object]]) -> object:
        found = [e["families"] for e in events if e["type"] == "metrics"]
        return [one for one in found if one["undercroft_requests"]["samples"]]  # type: ignore[index]

    families = door.control.wait(with_requests)[-1]
    text = metrics.render(metrics.merge([families, families])).decode()
    assert 'undercroft_requests_total{deployment="bot",route="/v1/chat/completions",status="200"}' in text


def test_metrics_without_control_are_the_doors_own(door: DoorProcess) -> None:
    """Prometheus gets what the door knows while control is away."""
    door.post(ROUTE, CHAT)
    text = door.get("/metrics").text
    for name in (
        "undercroft_requests_total",
        "undercroft_request_duration_seconds_bucket",
        "undercroft_queue_duration_seconds_count",
        "undercroft_prompt_tokens_total",
        "undercroft_replica_requests_total",
        "undercroft_requests_in_flight",
    ):
        assert f"{name}{{" in text


def test_metrics_come_from_control_when_it_is_there(door: DoorProcess, control: Upstream) -> None:
    """The door sends its counters to control and passes on everybody's."""

    async def gather(request: Received, writer: asyncio.StreamWriter) -> None:
        assert request.path == "/internal/metrics"
        given = request.json
        text = metrics.render(metrics.merge([given["families"]])) + b"from_control 1\n"
        write_json(writer, text)
        await writer.drain()

    control.behaviour = gather
    with control:
        reply = door.get("/metrics")
    assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "from_control 1" in reply.text
    assert "undercroft_requests_in_flight" in reply.text
    assert control.received[0].json["door"].startswith("door_")


def test_metrics_do_not_wait_for_a_stuck_control(door: DoorProcess, control: Upstream) -> None:
    """A control process that does not answer costs a second, not the scrape."""

    async def hang(_: Received, __: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    control.behaviour = hang
    with control:
        assert "undercroft_requests_in_flight" in door.get("/metrics").text


def test_admin_requests_pass_to_control(door: DoorProcess, control: Upstream) -> None:
    """Method, path, query and body arrive as they are; who asks is said by the door alone."""
    with control, door.client(door.admin_key) as client:
        reply = client.send(
            "PATCH",
            "/admin/models/a%2Fb?x=1&y=%20",
            b'{"a":1}',
            {"x-undercroft-actor": "key:forged", "x-undercroft-other": "x", "content-type": "application/json"},
        )
    assert (reply.status, reply.json()) == (200, {"ok": True})
    seen = control.received[0]
    assert (seen.method, seen.path, seen.body) == ("PATCH", "/admin/models/a%2Fb?x=1&y=%20", b'{"a":1}')
    assert seen.headers["x-undercroft-actor"] == "key:key_admin"
    assert "x-undercroft-other" not in seen.headers
    assert "authorization" not in seen.headers
    assert seen.headers["x-request-id"] == reply.request_id


def test_admin_errors_come_back(door: DoorProcess, control: Upstream) -> None:
    """What control refuses is refused with its status and words."""
    control.behaviour = answer_json({"error": {"code": "no-such-model"}}, 404)
    with control:
        reply = door.get("/admin/models/x", key=door.admin_key)
    assert (reply.status, reply.error["code"]) == (404, "no-such-model")


def test_admin_answers_come_in_pieces(door: DoorProcess, control: Upstream) -> None:
    """Progress that control streams reaches the client while it is made."""
    go_on = asyncio.Event()

    async def progress(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n")
        writer.write(b"4\r\n{1}\n\r\n")
        await writer.drain()
        await go_on.wait()
        writer.write(b"4\r\n{2}\n\r\n0\r\n\r\n")
        await writer.drain()

    control.behaviour = progress
    with control, door.connect() as connection:
        connection.sendall(
            f"GET /admin/jobs HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            f"Authorization: Bearer {door.admin_key}\r\n\r\n".encode()
        )
        found = b""
        while b"{1}" not in found:
            found += connection.recv(4096)
        assert b"{2}" not in found
        control.call(go_on.set)
        while piece := connection.recv(4096):
            found += piece
    assert b"{2}" in found
    assert b"application/x-ndjson" in found


def test_admin_without_control_says_so(door: DoorProcess) -> None:
    """503 that names control, while models go on answering."""
    reply = door.get("/admin/models", key=door.admin_key)
    assert (reply.status, reply.error["code"], reply.error["source"]) == (503, "control-away", "door")
    assert door.post(ROUTE, CHAT).status == 200


def test_a_rating_is_passed_on_with_the_key_that_gave_it(door: DoorProcess, control: Upstream) -> None:
    """Control is told who rates by the door, which keeps to itself what it can refuse; without control it says so."""
    control.behaviour = answer_json({"rated": {"deployment": "bot", "release": 7}})
    given = {"request_id": "req-1", "rating": "bad"}
    with control:
        kept = door.post("/v1/feedback", given).json()
        refused = door.post("/v1/feedback", {**given, "key_id": "key_admin"})
    away = door.post("/v1/feedback", given)
    assert kept == {"object": "feedback", **given, "model": "bot", "release": "bot@7"}
    assert (refused.status, refused.error["param"]) == (400, "key_id")
    told = [orjson.loads(one.body) for one in control.received if one.path == "/internal/feedback"]
    assert told == [{**given, "key_id": "key_user"}]
    assert (away.status, away.error["code"], away.headers["retry-after"]) == (503, "control-away", "2")


def test_internal_routes_are_not_reachable(door: DoorProcess, control: Upstream) -> None:
    """What our own processes ask each other is not at the door, for admins neither."""
    with control:
        assert door.get("/internal/status", key=door.admin_key).status == 404
        assert door.get("/admin/../internal/status", key=door.admin_key).json() != orjson.dumps({})
    assert all(not one.path.startswith("/internal") for one in control.received)

"""Adapters of one base, each asked for by its own name: who gets what, and that no request chooses for itself."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.support.doors import DoorProcess, Reply, deployment, replica
from tests.support.upstream import Upstream, stream
from undercroft.core.ids import new_api_key
from undercroft.serving.snapshot import DeploymentEntry, KeyEntry, NameEntry, ReleaseEntry

SAID = {"messages": [{"role": "user", "content": "hello"}]}
BODIES: dict[str, Any] = {
    "/v1/chat/completions": SAID,
    "/v1/completions": {"prompt": "x"},
    "/v1/responses": {"input": "x"},
}
ADAPTERS = ("polite", "terse")
NONE, POLITE, TERSE = (
    [{"id": 0, "scale": float(wanted == "polite")}, {"id": 1, "scale": float(wanted == "terse")}]
    for wanted in (None, "polite", "terse")
)


def with_adapters(
    engine: Upstream, name: str = "bot", wanted: tuple[str, ...] = ADAPTERS, **others: Any
) -> DeploymentEntry:
    """A deployment on the engine, which has both adapters."""
    own = replica(socket_path=str(engine.socket_path), adapters=ADAPTERS)
    return deployment(name, own, adapters=wanted, **others)


def loras(engine: Upstream) -> list[Any]:
    """What each request to the engine said of adapters."""
    return [json.loads(request.body).get("lora") for request in engine.received]


@pytest.fixture
def base(door: DoorProcess, engine: Upstream) -> DoorProcess:
    """A door before a base with two adapters."""
    door.reset(door.snapshot(with_adapters(engine)))
    return door


def chat(door: DoorProcess, model: str, **more: Any) -> Reply:
    return door.post("/v1/chat/completions", {"model": model, **SAID, **more})


def test_each_name_gets_exactly_its_adapter(base: DoorProcess, engine: Upstream) -> None:
    """The base is asked with all adapters at 0, an adapter with itself at 1 and the others at 0, in any order."""
    for model in ("bot", "polite", "bot", "terse", "polite"):
        reply = chat(base, model)
        assert reply.status == 200
        assert reply.json()["model"] == model
        assert reply.headers["x-undercroft-deployment"] == "bot"
        assert reply.headers.get("x-undercroft-adapter") == (None if model == "bot" else model)
    assert loras(engine) == [NONE, POLITE, NONE, TERSE, POLITE]


@pytest.mark.parametrize("model", ["bot", "polite"])
def test_every_route_names_the_adapters(base: DoorProcess, engine: Upstream, model: str) -> None:
    """Completions, responses, streams and several choices say the same of adapters as one chat does."""
    wanted = POLITE if model == "polite" else NONE
    assert base.post("/v1/completions", {"model": model, "prompt": "x"}).status == 200
    assert base.post("/v1/completions", {"model": model, "prompt": ["x", "y"], "n": 2}).status == 200
    assert base.post("/v1/responses", {"model": model, "input": "x"}).status == 200
    assert chat(base, model, n=2).status == 200
    engine.behaviour = stream("a", "b")
    assert chat(base, model, stream=True).events[-1] == "[DONE]"
    assert chat(base, model, stream=True, n=2).events[-1] == "[DONE]"
    assert base.post("/v1/responses", {"model": model, "input": "x", "stream": True}).status == 200
    assert len(engine.received) == 1 + 4 + 1 + 2 + 1 + 2 + 1
    assert all(found == wanted for found in loras(engine))


@pytest.mark.parametrize(
    "field", [{"lora": [{"id": 1, "scale": 1.0}]}, {"adapter": "terse"}, {"id_slot": 0}, {"cache_prompt": True}]
)
@pytest.mark.parametrize("route", sorted(BODIES))
def test_no_field_overrides_the_name(base: DoorProcess, engine: Upstream, route: str, field: dict[str, Any]) -> None:
    """What would choose an adapter, a slot or a cache by itself is refused on every route, and no engine sees it."""
    reply = base.post(route, {"model": "polite", **BODIES[route], **field})
    assert (reply.status, reply.error["code"]) == (400, "refused-field")
    assert engine.received == []


def test_a_field_that_is_null_is_kept_from_the_engine(base: DoorProcess, engine: Upstream) -> None:
    """A null asks for nothing; the engine is told the adapters all the same, and the null does not reach it twice."""
    asked = {"model": "polite", **SAID, "lora": [{"id": 1, "scale": 1.0}]}
    doubled = json.dumps(asked)[:-1].encode() + b', "lora": null}'
    assert base.post("/v1/chat/completions", doubled).status == 200
    assert engine.received[0].body.count(b'"lora"') == 1
    assert loras(engine) == [POLITE]


def test_models_are_listed_with_their_base(base: DoorProcess) -> None:
    """Clients see an adapter as a model of its own that names its base as its parent."""
    listed = {model["id"]: model for model in base.get("/v1/models").json()["data"]}
    assert list(listed) == ["bot", "polite", "terse"]
    assert "parent" not in listed["bot"]
    assert listed["polite"]["parent"] == "bot"
    assert listed["polite"]["state"] == "ready"
    assert base.get("/v1/models/terse").json() == listed["terse"]
    assert base.get("/v1/models/rude").status == 404


def test_rights_are_those_of_the_name(door: DoorProcess, engine: Upstream) -> None:
    """A key for an adapter opens neither its base nor another adapter, and one for the base no adapter."""
    of_polite, of_base = new_api_key(), new_api_key()
    keys = {of_polite: KeyEntry("key_p", ("polite",), None, False), of_base: KeyEntry("key_b", ("bot",), None, False)}
    door.reset(door.snapshot(with_adapters(engine), keys=keys))

    def asks(key: str, model: str) -> int:
        return door.post("/v1/chat/completions", {"model": model, **SAID}, key=key).status

    assert [asks(of_polite, model) for model in ("polite", "terse", "bot")] == [200, 403, 403]
    assert [asks(of_base, model) for model in ("polite", "terse", "bot")] == [403, 403, 200]
    assert [model["id"] for model in door.get("/v1/models", key=of_polite).json()["data"]] == ["polite"]
    assert door.get("/v1/models/terse", key=of_polite).status == 403


def test_usage_is_counted_by_the_name(door: DoorProcess, engine: Upstream) -> None:
    """What an adapter answered is metered under its own name, and keeps its base from being unloaded as idle."""
    own = replica(socket_path=str(engine.socket_path), adapters=("metered",))
    door.reset(door.snapshot(deployment("bot", own, adapters=("metered",))))
    before = time.time()
    reply = chat(door, "metered")
    assert door.control is not None
    assert door.control.usage(reply.request_id)["deployment"] == "metered"
    active = door.control.wait(
        lambda events: [e for e in events if e["type"] == "activity" and e["deployments"].get("bot", 0) >= before - 1]
    )
    assert all("metered" not in event["deployments"] for event in active)
    assert 'deployment="metered"' in door.get("/metrics").text


def test_a_replica_that_lacks_the_adapter_is_not_asked(door: DoorProcess, engine: Upstream) -> None:
    """While an adapter is being added, who asks for it is told to come again; nobody gets the base in its place."""
    door.reset(door.snapshot(with_adapters(engine, wanted=(*ADAPTERS, "rude"))))
    reply = chat(door, "rude")
    assert (reply.status, reply.error["code"]) == (503, "model-loading")
    assert reply.headers["retry-after"] == "1"
    assert engine.received == []
    assert chat(door, "polite").status == 200


def test_of_two_replicas_the_one_that_has_it_is_asked(door: DoorProcess, engine: Upstream) -> None:
    """While new replicas take the place of old ones, the new adapter answers from the first that is ready."""
    address = str(engine.socket_path)
    old = replica("rep_000000000001", socket_path=address)
    new = replica("rep_000000000002", socket_path=address, adapters=ADAPTERS)
    door.reset(door.snapshot(deployment("bot", old, new, adapters=ADAPTERS)))
    replies = [chat(door, "polite") for _ in range(6)]
    assert {(reply.status, reply.headers.get("x-undercroft-replica")) for reply in replies} == {(200, new.id)}
    assert chat(door, "bot").headers["x-undercroft-replica"] == old.id  # which was given less so far


def test_a_request_for_an_adapter_waits_until_its_base_is_loaded(door: DoorProcess, engine: Upstream) -> None:
    """An adapter of a base that is not loaded is known, and asking for it loads the base."""
    door.reset(door.snapshot(deployment("bot", state="unloaded", adapters=ADAPTERS)))
    assert door.control is not None
    with door.client() as client:
        client._connection.request(
            "POST",
            "/v1/chat/completions",
            json.dumps({"model": "terse", **SAID}).encode(),
            {"authorization": f"Bearer {door.key}"},
        )
        assert door.control.wait_for("demand")["deployment"] == "bot"
        door.push(door.snapshot(with_adapters(engine)))
        assert client._connection.getresponse().status == 200
    assert loras(engine) == [TERSE]


def test_an_adapter_that_was_taken_away_is_not_there(base: DoorProcess, engine: Upstream) -> None:
    """Without its adapter a name means nothing, not the base."""
    base.push(base.snapshot(with_adapters(engine, wanted=("terse",))))
    assert chat(base, "polite").status == 404
    assert chat(base, "terse").status == 200
    assert loras(engine) == [TERSE]


def test_a_deployments_own_name_goes_before_an_adapters(door: DoorProcess, engine: Upstream) -> None:
    """Where both have one name, it is the deployment's; where two bases have one adapter's name, the first base's."""
    polite = deployment("polite", replica("rep_000000000009", socket_path=str(engine.socket_path)))
    zoo = with_adapters(engine, "zoo")
    door.reset(door.snapshot(zoo, with_adapters(engine), polite))
    assert chat(door, "polite").headers["x-undercroft-deployment"] == "polite"
    assert chat(door, "terse").headers["x-undercroft-deployment"] == "bot"
    assert loras(engine) == [None, TERSE]


def released(engine: Upstream, live: int, **others: Any) -> dict[str, Any]:
    """The name ``bot`` whose second release alone has adapters."""
    releases = {number: ReleaseEntry(number, f"bot@{number}", None, {"seed": number}, 0) for number in (1, 2)}
    name = NameEntry("bot", live, {"production": live}, releases, **others)
    plain = deployment("bot@1", replica("rep_000000000001", socket_path=str(engine.socket_path)), serves="bot")
    return {"deployments": (plain, with_adapters(engine, "bot@2", serves="bot")), "names": {"bot": name}}


def test_adapters_come_and_go_with_the_release(door: DoorProcess, engine: Upstream) -> None:
    """An adapter is there while the release that has it answers, with that release's sampling; by number before."""
    told = released(engine, live=1)
    door.reset(door.snapshot(*told["deployments"], names=told["names"]))
    assert chat(door, "polite").status == 404
    assert [model["id"] for model in door.get("/v1/models").json()["data"]] == ["bot"]
    tried = chat(door, "polite@2")
    assert (tried.status, tried.headers["x-undercroft-release"]) == (200, "bot@2")
    assert chat(door, "polite@1").status == 404
    told = released(engine, live=2)
    door.push(door.snapshot(*told["deployments"], names=told["names"]))
    assert chat(door, "polite").headers["x-undercroft-release"] == "bot@2"
    assert json.loads(engine.received[-1].body)["seed"] == 2
    assert loras(engine) == [POLITE, POLITE]
    listed = {model["id"]: model for model in door.get("/v1/models").json()["data"]}
    assert listed["polite"]["release"] == "bot@2"
    told = released(engine, live=1)
    door.push(door.snapshot(*told["deployments"], names=told["names"]))
    assert chat(door, "polite").status == 404


def test_a_candidate_is_not_tried_with_an_adapters_requests(door: DoorProcess, engine: Upstream) -> None:
    """While a candidate without the adapter is tried, who asks for the adapter gets what is in production."""
    told = released(engine, live=2, canary=1, canary_ratio=1.0, salt="x")
    door.reset(door.snapshot(*told["deployments"], names=told["names"]))
    assert chat(door, "bot").headers["x-undercroft-release"] == "bot@1"
    for _ in range(3):
        assert chat(door, "terse").headers["x-undercroft-release"] == "bot@2"
    assert loras(engine) == [None, TERSE, TERSE, TERSE]

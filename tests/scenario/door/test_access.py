"""Who is let in, and what is refused before an engine sees it."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.scenario.door.conftest import CHAT, ROUTE
from tests.support.doors import DoorProcess, deployment, replica
from tests.support.upstream import Upstream
from undercroft.core.ids import new_api_key
from undercroft.serving.snapshot import KeyEntry

_UNKNOWN = "uc-" + "A" * 43


def test_open_paths_need_no_key(door: DoorProcess) -> None:
    """Alive, ready and the page that says what this is are for everybody."""
    assert door.get("/healthz", key=None).json() == {"status": "ok"}
    assert door.get("/readyz", key=None).status == 200
    assert "/v1" in door.get("/", key=None).text


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/bot", "/metrics", "/openapi.json", "/admin/keys"])
def test_other_paths_need_a_key(door: DoorProcess, path: str) -> None:
    """Loopback makes no difference: without a key there is nothing."""
    reply = door.get(path, key=None)
    assert reply.status == 401
    assert reply.headers["www-authenticate"] == "Bearer"
    assert reply.error["source"] == "client"


@pytest.mark.parametrize("key", [_UNKNOWN, "uc-short", "sk-" + "x" * 43, "", "x" * 10_000])
def test_wrong_keys_are_all_the_same(door: DoorProcess, key: str) -> None:
    """Whatever is wrong with a key, the answer does not tell."""
    reply = door.get("/v1/models", {"authorization": f"Bearer {key}"}, key=None)
    assert reply.status == 401
    assert reply.error == door.get("/v1/models", {"authorization": f"Bearer {_UNKNOWN}"}, key=None).error


def test_an_expired_key_is_like_an_unknown_one(door: DoorProcess) -> None:
    """A key that expired is refused from that second on, with the words for an unknown one."""
    secret = new_api_key()
    entry = KeyEntry("key_old", None, time.time() - 1, False)
    door.push(door.snapshot(keys={secret: entry}))
    assert door.get("/v1/models", key=secret).error == door.get("/v1/models", key=_UNKNOWN).error


def test_a_revoked_key_is_refused_at_once(door: DoorProcess) -> None:
    """A key that is not in the next snapshot opens nothing more, on kept connections too."""
    secret = new_api_key()
    door.push(door.snapshot(keys={secret: KeyEntry("key_new", None, None, False)}))
    with door.client(secret) as client:
        assert client.get("/v1/models").status == 200
        door.push(door.snapshot())
        assert client.get("/v1/models").status == 401


def test_x_api_key_is_taken(door: DoorProcess) -> None:
    """Some clients send their key that way."""
    assert door.get("/v1/models", {"x-api-key": door.key}, key=None).status == 200


def test_a_key_for_some_models_sees_and_uses_only_those(door: DoorProcess, engine: Upstream) -> None:
    """A model that the key is not for is neither listed, shown nor answered."""
    secret = new_api_key()
    entry = replica(socket_path=str(engine.socket_path))
    door.push(
        door.snapshot(
            deployment("bot", entry),
            deployment("other", entry),
            keys={secret: KeyEntry("key_some", ("other",), None, False)},
        )
    )
    assert [one["id"] for one in door.get("/v1/models", key=secret).json()["data"]] == ["other"]
    assert door.get("/v1/models/bot", key=secret).status == 403
    refused = door.post(ROUTE, CHAT, key=secret)
    assert (refused.status, refused.error["code"], refused.error["param"]) == (403, "model-not-allowed", "model")
    assert door.post(ROUTE, {**CHAT, "model": "other"}, key=secret).status == 200


def test_admin_routes_need_an_admin_key(door: DoorProcess) -> None:
    """A user's key does not open them; an admin's gets through to control."""
    assert door.get("/admin/keys").status == 403
    assert door.get("/admin/keys", key=door.admin_key).error["code"] == "control-away"


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8440", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:8440"])
def test_its_own_names_are_answered(door: DoorProcess, host: str) -> None:
    """The door answers to its address and to localhost, with any port."""
    assert door.get("/healthz", {"host": host}).status == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80", "169.254.1.1"])
def test_other_names_are_refused(door: DoorProcess, host: str) -> None:
    """A name that was bound to this address by somebody else is not answered, on open paths too."""
    reply = door.get("/healthz", {"host": host})
    assert (reply.status, reply.error["code"]) == (421, "host-not-allowed")


@pytest.mark.parametrize(
    ("changes", "param", "words"),
    [
        ({"temprature": 1}, "temprature", "nearest field is 'temperature'"),
        ({"temperature": 3}, "temperature", "a number from 0 to 2, got 3"),
        ({"temperature": True}, "temperature", "got true"),
        ({"top_p": -0.1}, "top_p", "got -0.1"),
        ({"n": 9}, "n", "a whole number from 1 to 8, got 9"),
        ({"n": 1.5}, "n", "got 1.5"),
        ({"max_tokens": 0}, "max_tokens", "got 0"),
        ({"max_tokens": 1, "max_completion_tokens": 1}, "max_tokens", "only one of"),
        ({"stop": ["x"] * 17}, "stop", "a list of 0 to 16, got 17"),
        ({"stop": ""}, "stop", "1 to 256 characters"),
        ({"seed": -1}, "seed", "got -1"),
        ({"stream": "yes"}, "stream", "got 'yes'"),
        ({"stream_options": {"include_usage": True}}, "stream_options", "only allowed with stream"),
        ({"stream": True, "stream_options": {"x": 1}}, "stream_options.x", "unknown field"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs", "from 0 to 20, got 21"),
        ({"top_logprobs": 2}, "top_logprobs", "only allowed with logprobs"),
        ({"messages": []}, "messages", "a list of 1 to"),
        ({"messages": "hi"}, "messages", "expected a list"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role", "got 'robot'"),
        ({"messages": [{"role": "user"}]}, "messages[0].content", "missing"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content", "got null"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
            "messages[0].content[0].type",
            "text only",
        ),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type", "only function tools"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name", "matches"),
        ({"tool_choice": "required"}, "tool_choice", "only allowed with tools"),
        ({"response_format": {"type": "xml"}}, "response_format.type", "got 'xml'"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema", "missing"),
        ({"logit_bias": {"a": 1}}, "logit_bias", "got 'a'"),
        ({"logit_bias": {"5": 101}}, "logit_bias.5", "from -100 to 100, got 101"),
        ({"metadata": {"a": 1}}, "metadata.a", "expected a text"),
        ({"store": True}, "store", "expected false, got true"),
        ({"service_tier": "priority"}, "service_tier", "got 'priority'"),
        ({"functions": []}, "functions", "use tools"),
        ({"id_slot": 1}, "id_slot", "other requests"),
        ({"cache_prompt": True}, "cache_prompt", "other requests"),
        ({"lora": [{"id": 0, "scale": 1}]}, "lora", "by its own name"),
        ({"n_predict": -1}, "n_predict", "use max_tokens"),
        ({"ignore_eos": True}, "ignore_eos", "use max_tokens"),
        ({"grammar": "root ::= x"}, "grammar", "json_schema"),
        ({"adapter": "polite"}, "adapter", "by its own name"),
    ],
)
def test_a_wrong_field_is_named(
    door: DoorProcess, engine: Upstream, changes: dict[str, Any], param: str, words: str
) -> None:
    """A field that is unknown or out of range is refused with its name, its range and its value; no engine sees it."""
    reply = door.post(ROUTE, {**CHAT, **changes})
    assert reply.status == 400
    assert reply.error["param"] == param
    assert words in reply.error["message"]
    assert reply.error["type"] == "invalid_request_error"
    assert reply.error["source"] == "client"
    assert engine.received == []


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[]", "expected an object"),
        (b'{"model":"bot\xff"}', "the body is not valid UTF-8: byte 0xff at offset 13"),
        (b'{"model":"bot","temperature":NaN}', "not JSON"),
        (b'{"model":"bot","messages":' + b"[" * 5000 + b"]" * 5000 + b"}", "not JSON"),
        (b"{}", "model: missing"),
    ],
)
def test_what_is_not_json_is_refused(door: DoorProcess, body: bytes, words: str) -> None:
    """Bodies that are no JSON object with the fields that are needed."""
    reply = door.post(ROUTE, body)
    assert reply.status == 400
    assert words in reply.error["message"]


def test_deep_schemas_are_refused(door: DoorProcess) -> None:
    """What may be any JSON may not be any depth."""
    schema: dict[str, Any] = {}
    for _ in range(80):
        schema = {"properties": {"a": schema}}
    reply = door.post(
        ROUTE, {**CHAT, "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}}
    )
    assert reply.status == 400
    assert "64 levels" in reply.error["message"]


def test_null_means_not_given(door: DoorProcess) -> None:
    """Clients send null for what they do not set."""
    nulls = dict.fromkeys(("temperature", "stop", "tools", "stream", "functions", "user", "max_tokens"))
    assert door.post(ROUTE, {**CHAT, **nulls}).status == 200


def test_the_clients_bytes_are_forwarded(door: DoorProcess, engine: Upstream) -> None:
    """Where nothing must change, the engine gets exactly what the client sent."""
    body = b'{ "messages":[{"content":"h\\u00e9llo","role":"user"}] , "model":"bot", "temperature":0.50 }'
    assert door.post(ROUTE, body).status == 200
    assert engine.received[0].body == body
    assert engine.received[0].headers["authorization"] == "Bearer engine-key"


def test_what_means_nothing_to_an_engine_is_kept_from_it(door: DoorProcess, engine: Upstream) -> None:
    """Who the user is and what the request is about is not the engine's business."""
    extra = {"user": "anna", "metadata": {"ward": "7"}, "store": False, "service_tier": "auto"}
    assert door.post(ROUTE, {**CHAT, **extra, "temperature": 0}).status == 200
    assert engine.received[0].json == {**CHAT, "temperature": 0}


def test_nothing_secret_is_logged(door: DoorProcess, engine: Upstream) -> None:
    """The log has one line a request, with neither key nor text of it."""
    door.post(ROUTE, {**CHAT, "messages": [{"role": "user", "content": "SECRET-TEXT"}]}, {"x-request-id": "seen"})
    assert door.control is not None
    door.control.usage("seen")
    deadline = time.monotonic() + 10
    while '"seen"' not in door.log_file.read_text() and time.monotonic() < deadline:
        time.sleep(0.02)
    log = door.log_file.read_text()
    assert '"request_id":"seen"' in log
    assert "SECRET-TEXT" not in log
    assert door.key not in log
    assert "engine-key" not in log
    assert "hello" not in log

"""The table of fields."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from undercroft.gateway.errors import DoorError
from undercroft.gateway.openai.fields import (
    CHAT,
    CLASSIFY,
    COMPLETIONS,
    EMBEDDINGS,
    FEEDBACK,
    RERANK,
    RESPONSES,
    forwarded,
    read,
)
from undercroft.gateway.openai.kinds import Flag, Record
from undercroft.gateway.openai.openapi import openapi_paths
from undercroft.gateway.openai.payload import payload_for
from undercroft.gateway.openai.responses import to_chat
from undercroft.serving.snapshot import ReplicaEntry

_NAMES = st.sampled_from(sorted({*CHAT.fields, *RESPONSES.fields, *RERANK.fields, "role", "content", "type", "text"}))
_VALID_MESSAGES = st.lists(
    st.builds(
        lambda role, content: {"role": role, "content": content},
        st.sampled_from(["system", "developer", "user", "assistant"]),
        st.text(max_size=20) | st.lists(st.builds(lambda t: {"type": "text", "text": t}, st.text()), min_size=1),
    ),
    min_size=1,
    max_size=4,
)
_VALID_OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "temperature": st.floats(0, 2) | st.none(),
        "n": st.integers(1, 8),
        "stop": st.text(min_size=1, max_size=9) | st.lists(st.text(min_size=1, max_size=9), max_size=4),
        "user": st.text(max_size=9),
        "store": st.just(False),
        "stream": st.booleans(),
        "seed": st.integers(0, 2**32 - 2),
    },
)
_TABLES = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": COMPLETIONS,
    "/v1/embeddings": EMBEDDINGS,
    "/v1/classify": CLASSIFY,
    "/v1/rerank": RERANK,
    "/v1/responses": RESPONSES,
}


@pytest.mark.parametrize("route", ["/v1/embeddings", "/v1/rerank", "/v1/classify"])
def test_only_encoders_cut_and_only_where_asked(route: str) -> None:
    """What a model that generates reads is never cut; an encoder's texts are where the request says so, in one word."""
    assert isinstance(_TABLES[route].fields["truncate"].kind, Flag)
    assert "truncate" in _TABLES["/v1/chat/completions"].refused
    assert "truncate" not in _TABLES["/v1/chat/completions"].fields


@pytest.mark.parametrize("name", ["id_slot", "lora", "cache_prompt", "n_predict", "ignore_eos", "grammar"])
@pytest.mark.parametrize("table", _TABLES.values(), ids=_TABLES.keys())
def test_no_route_lets_a_client_reach_into_the_engine(table: Record, name: str) -> None:
    """Fields of an engine's own are refused on every route, with what to do."""
    with pytest.raises(DoorError) as caught:
        table.check({"model": "bot", name: 1}, "")
    assert caught.value.param == name
    assert caught.value.code == "refused-field"


def test_a_body_is_read() -> None:
    """What is right comes back as data."""
    data = {"model": "bot", "messages": [{"role": "user", "content": "x"}], "temperature": 0.5}
    assert read(CHAT, orjson.dumps(data)) == data


def test_everything_forwarded_is_the_same_object() -> None:
    """Where an engine may see all of it, nothing is copied."""
    data: dict[str, Any] = {"model": "bot", "messages": []}
    assert forwarded(CHAT, data) is data
    assert forwarded(CHAT, {**data, "user": "anna"}) == data


def test_every_field_is_in_the_document() -> None:
    """The OpenAPI document has each route with each of its fields, and no others are allowed."""
    paths = openapi_paths()
    for path, table in _TABLES.items():
        schema = paths[path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        assert set(schema["properties"]) == set(table.fields)
        assert schema["additionalProperties"] is False
    assert "get" in paths["/v1/models"]
    assert "get" in paths["/v1/models/{model}"]


def test_the_document_is_plain_json() -> None:
    """It can be written as JSON, ranges included."""
    paths = orjson.loads(orjson.dumps(openapi_paths()))
    schema = paths["/v1/chat/completions"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert schema["properties"]["temperature"]["maximum"] == 2


@pytest.mark.parametrize(
    "message",
    [
        {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": ""}}]},
        {"role": "assistant", "content": "x", "refusal": None, "annotations": [], "audio": None, "function_call": None},
        {"role": "tool", "content": "x", "tool_call_id": "c"},
        {"role": "developer", "content": [{"type": "text", "text": "x"}]},
    ],
)
def test_messages_as_the_client_sends_them_are_taken(message: dict[str, Any]) -> None:
    """What OpenAI's client makes of its own objects is understood."""
    CHAT.check({"model": "bot", "messages": [message]}, "")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**40) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda one: st.lists(one, max_size=4) | st.dictionaries(_NAMES | st.text(max_size=8), one, max_size=4),
    max_leaves=12,
)


@given(st.sampled_from(sorted(_TABLES)), st.dictionaries(_NAMES, _JSON, max_size=6))
def test_no_body_breaks_the_table(path: str, data: dict[str, Any]) -> None:
    """Whatever is sent is taken or refused, never a crash; what is taken can be translated."""
    table = _TABLES[path]
    try:
        read(table, orjson.dumps(data))
    except DoorError:
        return
    forwarded(table, data)
    if table is CHAT:
        payload_for(CHAT, data, b"")(ReplicaEntry("rep_1", "/s", None, None, 1, "llama.cpp"))
    if table is RESPONSES:
        CHAT.check(to_chat(data), "")


def test_what_cannot_cut_says_so() -> None:
    """Cutting reaches an engine that knows it, and is refused where the engine would leave it out silently."""
    data = {"model": "bot", "input": "a text", "truncate": True}
    payload = payload_for(EMBEDDINGS, data, None)
    assert orjson.loads(payload(ReplicaEntry("rep_1", "/s", None, None, 1, "openai")))["truncate"] is True
    with pytest.raises(DoorError, match="truncate: the engine of this model cuts nothing"):
        payload(ReplicaEntry("rep_1", "/s", None, None, 1, "llama.cpp"))


@given(_VALID_MESSAGES, _VALID_OPTIONS)
def test_what_is_right_reaches_an_engine(messages: list[dict[str, Any]], options: dict[str, Any]) -> None:
    """A body made of right values is taken, and an engine gets a body that is right too."""
    data = {"model": "bot", "messages": messages, **options}
    body = orjson.dumps(data)
    assert read(CHAT, body) == data
    for protocol in ("llama.cpp", "openai"):
        sent = orjson.loads(payload_for(CHAT, data, body)(ReplicaEntry("rep_1", "/s", None, None, 1, protocol)))
        assert {message["role"] for message in sent["messages"]} <= {"system", "user", "assistant", "tool"}
        assert len(sent["messages"]) == len(messages)


@pytest.mark.parametrize(
    ("changes", "code", "param"),
    [
        ({"rating": "ok"}, "invalid-field", "rating"),
        ({"rating": None}, "invalid-field", "rating"),
        ({"rating": 1}, "invalid-field", "rating"),
        ({"request_id": ""}, "invalid-field", "request_id"),
        ({"request_id": "a b"}, "invalid-field", "request_id"),
        ({"request_id": "r" * 65}, "invalid-field", "request_id"),
        ({"comment": "Anna was rude"}, "refused-field", "comment"),
        ({"ratng": "good"}, "unknown-field", "ratng"),
        ({"key_id": "key_other"}, "unknown-field", "key_id"),
    ],
)
def test_feedback_is_an_id_and_a_rating(changes: dict[str, Any], code: str, param: str) -> None:
    """Anything else is refused by name, and a text is not repeated: it may tell of a person."""
    good = {"request_id": "req-1", "rating": "bad"}
    assert read(FEEDBACK, orjson.dumps(good)) == good
    with pytest.raises(DoorError) as caught:
        read(FEEDBACK, orjson.dumps({**good, **changes}))
    assert (caught.value.code, caught.value.param) == (code, param)
    assert "Anna" not in caught.value.message


def test_feedback_without_a_rating_is_none() -> None:
    """Both fields are needed."""
    with pytest.raises(DoorError, match="rating: missing"):
        read(FEEDBACK, b'{"request_id": "req-1"}')

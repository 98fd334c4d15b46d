"""What goes to engines and what comes back, each as a function of data."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from undercroft.core.errors import (
    ConflictError,
    InvalidError,
    NotFoundError,
    RefusedError,
    UnavailableError,
    UndercroftError,
)
from undercroft.gateway.door import engine_errors
from undercroft.gateway.door.pool import target_of
from undercroft.gateway.door.replicas import Deployment
from undercroft.gateway.errors import DoorError, from_core, http_status
from undercroft.gateway.openai import fanout
from undercroft.gateway.openai.fields import CHAT, COMPLETIONS
from undercroft.gateway.openai.legacy import LegacyChoices, legacy_logprobs
from undercroft.gateway.openai.payload import payload_for
from undercroft.gateway.openai.rerank import ranked
from undercroft.gateway.openai.responses import response_frame, to_chat, to_response
from undercroft.serving.snapshot import DeploymentEntry, ReplicaEntry

_USER = [{"role": "user", "content": "x"}]


def llama(**others: Any) -> ReplicaEntry:
    """A llama.cpp replica."""
    return ReplicaEntry("rep_1", "/s", None, None, 1, **{"protocol": "llama.cpp", **others})


def sent(data: dict[str, Any], entry: ReplicaEntry, table: Any = CHAT, adapter: str | None = None) -> Any:
    """What an engine gets."""
    return orjson.loads(payload_for(table, data, orjson.dumps(data), adapter=adapter)(entry))


def test_nothing_to_change_is_the_clients_bytes() -> None:
    """The very same object, for llama.cpp and for OpenAI's dialect."""
    data = {"model": "bot", "messages": _USER}
    body = b'  {"model": "bot"}  '
    payload = payload_for(CHAT, data, body)
    assert payload(llama()) is body
    assert payload(llama(protocol="openai")) is body


@pytest.mark.parametrize("protocol", ["llama.cpp", "openai"])
def test_tools_that_must_not_be_called_reach_no_engine(protocol: str) -> None:
    """With tool_choice none there is nothing left of the tools, whatever engine it is; with auto they are there."""
    tools = {"tools": [{"type": "function", "function": {"name": "f"}}], "parallel_tool_calls": True}
    data = {"model": "bot", "messages": _USER, **tools}
    assert sent({**data, "tool_choice": "none"}, llama(protocol=protocol)) == {"model": "bot", "messages": _USER}
    assert sent({**data, "tool_choice": "auto"}, llama(protocol=protocol)) == {**data, "tool_choice": "auto"}
    response = {"model": "bot", "input": "x", "tools": [{"type": "function", "name": "f"}], "tool_choice": "none"}
    assert "tools" not in sent(to_chat(response), llama(protocol=protocol))


def test_adapters_are_always_named() -> None:
    """Every request to an engine with adapters names each of them, the base too."""
    entry = llama(adapters=("a", "b"))
    data = {"model": "bot", "messages": _USER}
    assert sent(data, entry)["lora"] == [{"id": 0, "scale": 0.0}, {"id": 1, "scale": 0.0}]
    with_one = sent({**data, "model": "b"}, entry, adapter="b")
    assert with_one["lora"] == [{"id": 0, "scale": 0.0}, {"id": 1, "scale": 1.0}]


def test_no_field_of_a_request_chooses_an_adapter() -> None:
    """What slipped past the door's checks reaches no engine: the door alone says which adapter."""
    data = {"model": "bot", "messages": _USER, "lora": [{"id": 0, "scale": 9.0}], "adapter": "a", "id_slot": 3}
    own = sent(data, llama(adapters=("a",)))
    assert own == {"model": "bot", "messages": _USER, "lora": [{"id": 0, "scale": 0.0}]}
    assert sent(data, llama()) == {"model": "bot", "messages": _USER}


def test_an_engine_of_openai_s_dialect_is_asked_by_the_adapters_name() -> None:
    """Other engines tell adapters apart by the model's name."""
    entry = llama(protocol="openai", adapters=("b",), upstream_model="whole")
    assert sent({"model": "b", "messages": _USER}, entry, adapter="b")["model"] == "b"
    assert sent({"model": "bot", "messages": _USER}, entry)["model"] == "whole"


@pytest.mark.parametrize("entry", [llama(), llama(adapters=("a",)), llama(protocol="openai")])
def test_a_replica_without_the_adapter_is_not_asked(entry: ReplicaEntry) -> None:
    """It would silently be the base; who tries again finds a replica that has it."""
    with pytest.raises(DoorError) as caught:
        sent({"model": "z", "messages": _USER}, entry, adapter="z")
    assert (caught.value.status, caught.value.code) == (503, "model-loading")


def test_a_named_tool_becomes_the_only_one_for_llama_cpp() -> None:
    """It takes an object for tool_choice silently as auto."""
    tools = [{"type": "function", "function": {"name": name}} for name in ("f", "g")]
    data = {"model": "bot", "messages": _USER, "tools": tools}
    data["tool_choice"] = {"type": "function", "function": {"name": "g"}}
    found = sent(data, llama())
    assert (found["tools"], found["tool_choice"]) == ([tools[1]], "required")
    assert sent(data, llama(protocol="openai"))["tool_choice"] == data["tool_choice"]


def test_an_openai_engine_gets_its_own_name_and_is_asked_for_usage() -> None:
    """So that its streams can be metered."""
    data = {"model": "bot", "messages": _USER, "stream": True}
    found = sent(data, llama(protocol="openai", upstream_model="org/model"))
    assert (found["model"], found["stream_options"]) == ("org/model", {"include_usage": True})


def test_messages_lose_what_means_nothing() -> None:
    """A developer is a system, and a client's leftovers stay here."""
    messages = [
        {"role": "developer", "content": "a"},
        {"role": "assistant", "content": "b", "refusal": None, "annotations": []},
    ]
    found = sent({"model": "bot", "messages": messages}, llama())
    assert found["messages"] == [{"role": "system", "content": "a"}, {"role": "assistant", "content": "b"}]


def test_a_call_without_arguments_has_an_empty_object() -> None:
    """Chat templates read the arguments as JSON; clients leave them empty."""
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": ""}}
    data = {"model": "bot", "messages": [{"role": "assistant", "content": None, "tool_calls": [call]}]}
    found = sent(data, llama())["messages"][0]["tool_calls"][0]
    assert found == {**call, "function": {"name": "f", "arguments": "{}"}}


def test_log_probabilities_from_zero() -> None:
    """0 in the older form means the chosen tokens, for which llama.cpp wants 1."""
    assert sent({"model": "bot", "prompt": "x", "logprobs": 0}, llama(), COMPLETIONS)["logprobs"] == 1


def test_the_older_form_of_log_probabilities() -> None:
    """Offsets in characters, going on from piece to piece, and each choice for itself."""
    content = [
        {"token": "h\u00e9", "logprob": -1.0, "top_logprobs": [{"token": "x", "logprob": -0.5}]},
        {"token": "!", "logprob": -2.0, "top_logprobs": []},
    ]
    found, offset = legacy_logprobs({"content": content}, offset=4, wanted=1)
    assert found == {
        "tokens": ["h\u00e9", "!"],
        "token_logprobs": [-1.0, -2.0],
        "top_logprobs": [{"x": -0.5, "h\u00e9": -1.0}, {"!": -2.0}],
        "text_offset": [4, 6],
    }
    assert offset == 7
    assert legacy_logprobs(None, offset=3, wanted=1) == (None, 3)
    choices = LegacyChoices(1)
    for expected in (0, 3):
        answer = {"choices": [{"index": 0, "logprobs": {"content": content}}]}
        choices.rewrite(answer)
        assert answer["choices"][0]["logprobs"]["text_offset"][0] == expected  # type: ignore[index]


def test_several_choices_are_single_requests() -> None:
    """Every prompt n times, with a seed of its own, and each prompt counted once."""
    data = {"model": "bot", "prompt": ["a", "b"], "n": 2, "seed": 7, "stream": True, "stream_options": {}}
    parts = fanout.split(data)
    assert [(part.index, part.data["prompt"], part.data["seed"], part.counts_prompt) for part in parts] == [
        (0, "a", 7, True),
        (1, "a", 8, False),
        (2, "b", 7, True),
        (3, "b", 8, False),
    ]
    assert all(set(part.data) == {"model", "prompt", "seed", "stream"} for part in parts)
    for part in parts:
        part.trace.prompt_tokens, part.trace.completion_tokens = 5, 3
    assert fanout.total_usage(parts) == {"prompt_tokens": 10, "completion_tokens": 12, "total_tokens": 22}


def test_too_many_choices_over_all_prompts_are_refused() -> None:
    """128 answers at most for one request."""
    with pytest.raises(DoorError, match="128 answers at most over all prompts, got 240"):
        fanout.split({"prompt": ["a"] * 30, "n": 8})


@pytest.mark.parametrize(
    ("body", "numbers"),
    [
        (
            b'{"error":{"type":"exceed_context_size_error","n_prompt_tokens":9,"n_ctx":5,"message":"x"}}',
            "takes 5 tokens, the request has 9",
        ),
        (
            b'{"error":{"message":"input (3002 tokens) is too large to process. increase the physical batch size '
            b'(current batch size: 512)"}}',
            "takes 512 tokens, the request has 3002",
        ),
        (
            b'{"error":{"message":"This model\'s maximum context length is 512 tokens. However, your prompt contains '
            b"at least 513 input tokens, which exceeds this limit even without any output tokens. Please reduce the "
            b'length of the input prompt. (parameter=input_tokens, value=513)","type":"BadRequestError","code":400}}',
            "takes 512 tokens, the request has 513",
        ),
    ],
)
def test_an_overflow_says_both_numbers(body: bytes, numbers: str) -> None:
    """However the engine says it, and with whatever status."""
    for status in (400, 500):
        error = engine_errors.from_answer(status, {}, body, "messages")
        assert (error.status, error.code) == (400, "context_length_exceeded")
        assert numbers in error.message
        assert error.param == "messages"
        assert engine_errors.from_answer(status, {}, body, "input").param == "input"


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'"x"', b'{"error":5}', b"\xff" * 2000, b'{"error":{}}'])
def test_any_body_of_an_error_is_understood(body: bytes) -> None:
    """An engine may answer with anything, at any length."""
    error = engine_errors.from_answer(500, {}, body, "messages")
    assert error.status == 502
    assert 0 < len(error.message) < 700


def test_busy_engines_say_when() -> None:
    """An engine's own Retry-After is passed on."""
    assert engine_errors.from_answer(429, {b"retry-after": b"7"}, b"{}", "messages").retry_after_seconds == 7
    assert (b"retry-after", b"7") in engine_errors.from_answer(503, {b"retry-after": b"7"}, b"{}", "messages").headers()


@pytest.mark.parametrize(
    ("kind", "status"),
    [(InvalidError, 422), (RefusedError, 403), (NotFoundError, 404), (ConflictError, 409), (UnavailableError, 503)],
)
def test_every_kind_of_error_has_its_status(kind: type[UndercroftError], status: int) -> None:
    """The table of `undercroft.core.errors`, with the hint in the message."""
    error = kind("some-code", "it failed", hint="try this")
    assert http_status(error) == status
    assert from_core(error).message == "it failed. Try: try this"
    assert from_core(error).status == status


def test_scores_are_put_in_order() -> None:
    """Best first, equal ones in the order of the documents, cut and with texts as wanted."""
    answer = {"results": [{"index": i, "relevance_score": s} for i, s in ((0, 0.1), (1, 0.9), (2, 0.9))]}
    assert [one["index"] for one in ranked(answer, ["a", "b", "c"], None, has_documents=False)] == [1, 2, 0]
    assert ranked(answer, ["a", "b", "c"], 1, has_documents=True) == [
        {"index": 1, "relevance_score": 0.9, "document": {"text": "b"}}
    ]
    with pytest.raises(DoorError, match="something other than scores"):
        ranked({"data": []}, ["a"], None, has_documents=False)


def test_a_response_is_a_chat() -> None:
    """Instructions, items, calls and their outputs, tools and the form of the answer."""
    chat = to_chat(
        {
            "model": "bot",
            "instructions": "be brief",
            "input": [
                {"role": "user", "content": [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}]},
                {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
                {"type": "function_call", "call_id": "c2", "name": "g", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c1", "output": "one"},
            ],
            "max_output_tokens": 9,
            "tools": [{"type": "function", "name": "f", "parameters": {}, "strict": True}],
            "tool_choice": {"type": "function", "name": "f"},
            "text": {"format": {"type": "json_schema", "name": "n", "schema": {}, "strict": True}},
        }
    )
    assert [message["role"] for message in chat["messages"]] == ["system", "user", "assistant", "tool"]
    assert chat["messages"][1]["content"] == "ab"
    assert [call["id"] for call in chat["messages"][2]["tool_calls"]] == ["c1", "c2"]
    assert chat["max_tokens"] == 9
    assert chat["tools"] == [{"type": "function", "function": {"name": "f", "parameters": {}, "strict": True}}]
    assert chat["tool_choice"] == {"type": "function", "function": {"name": "f"}}
    assert chat["response_format"]["json_schema"] == {"name": "n", "schema": {}, "strict": True}
    CHAT.check(chat, "")


def test_a_completion_is_a_response() -> None:
    """Text and calls become items, and usage has the Responses API's names."""
    frame = response_frame({"model": "bot"}, "resp_1", 5.0)
    message = {"content": "hi", "tool_calls": [{"id": "c1", "function": {"name": "f", "arguments": "{}"}}]}
    response = to_response(frame, {"choices": [{"message": message, "finish_reason": "tool_calls"}]}, 3, 4)
    assert response["status"] == "completed"
    assert [item["type"] for item in response["output"]] == ["message", "function_call"]
    assert response["output"][0]["content"][0]["text"] == "hi"
    assert response["output"][1]["call_id"] == "c1"
    assert response["usage"]["total_tokens"] == 7


def test_an_answer_without_a_choice_is_the_engines_failure() -> None:
    """502, not a crash of the door."""
    with pytest.raises(DoorError) as caught:
        to_response(response_frame({"model": "bot"}, "resp_1", 5.0), {"choices": []}, 0, 0)
    assert caught.value.status == 502


@pytest.mark.parametrize(
    ("url", "host", "port", "is_tls", "prefix"),
    [
        ("http://127.0.0.1:8000", "127.0.0.1", 8000, False, ""),
        ("https://models.example/api/", "models.example", 443, True, "/api"),
        ("http://[::1]:9", "::1", 9, False, ""),
    ],
)
def test_addresses_of_external_engines(url: str, host: str, port: int, is_tls: bool, prefix: str) -> None:
    """Scheme, host, port and path are read from the URL that was configured."""
    target = target_of(ReplicaEntry("rep_1", None, url, None, 1, "openai"))
    assert (target.host, target.port, target.is_tls, target.prefix) == (host, port, is_tls, prefix)


@pytest.mark.parametrize("url", [None, "ftp://x", "http://", "models.example"])
def test_bad_addresses_are_refused(url: str | None) -> None:
    """A replica without an address is not used."""
    with pytest.raises(ValueError, match="expected a URL of http"):
        target_of(ReplicaEntry("rep_1", None, url, None, 1, "openai"))


def test_penalty_has_another_name_elsewhere() -> None:
    """Our repeat_penalty is llama.cpp's own word; other engines call it repetition_penalty."""
    data = {"model": "bot", "messages": [{"role": "user", "content": "x"}], "repeat_penalty": 1.2}
    assert sent(data, llama())["repeat_penalty"] == 1.2
    told = sent(data, ReplicaEntry("r", None, "http://x", None, 1, "openai"))
    assert told["repetition_penalty"] == 1.2
    assert "repeat_penalty" not in told


def test_fan_out_is_for_llama_cpp_only() -> None:
    """An OpenAI-compatible server counts several choices by itself."""
    from_openai = DeploymentEntry(
        "bot", "ready", "", (), False, 0, None, 1, (ReplicaEntry("r", None, "http://x", None, 1, "openai"),)
    )
    assert not fanout.is_needed({"n": 3}, Deployment(from_openai))
    assert fanout.is_needed(
        {"n": 3}, Deployment(DeploymentEntry("bot", "ready", "", (), False, 0, None, 1, (llama(),)))
    )
    assert not fanout.is_needed({"prompt": [1, 2]}, Deployment(from_openai))

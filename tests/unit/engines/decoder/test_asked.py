"""Tests of `undercroft.engines.decoder.asked`."""

from __future__ import annotations

import json
from typing import Any

import pytest

from undercroft.core.errors import InvalidError
from undercroft.engines.decoder.asked import read_request

CHAT = {"messages": [{"role": "user", "content": "Hello"}]}


def test_reads_how_tokens_are_chosen() -> None:
    """Every field of a request finds its place; what is left out is as OpenAI has it."""
    asked = read_request(
        {
            **CHAT, "max_tokens": 5, "temperature": 0.5, "top_p": 0.9, "top_k": 3, "min_p": 0.1, "seed": 7, "n": 2,
            "repetition_penalty": 1.1, "presence_penalty": 0.5, "frequency_penalty": -0.5, "logit_bias": {"4": 2},
            "stop": "END", "stream": True, "stream_options": {"include_usage": True}, "logprobs": True,
            "top_logprobs": 2,
        },
        is_chat=True,
    )  # fmt: skip
    how = asked.sampling
    assert (asked.most_tokens, asked.choices, asked.stops) == (5, 2, ("END",))
    assert (asked.is_streamed, asked.has_usage) == (True, True)
    assert (how.temperature, how.top_p, how.top_k, how.min_p, how.seed) == (0.5, 0.9, 3, 0.1, 7)
    assert (how.repetition_penalty, how.presence_penalty, how.frequency_penalty) == (1.1, 0.5, -0.5)
    assert (how.logit_bias, how.top_logprobs) == ({4: 2.0}, 2)
    plain = read_request(CHAT, is_chat=True)
    assert (plain.sampling.temperature, plain.sampling.top_p, plain.sampling.seed) == (1.0, 1.0, None)
    assert (plain.most_tokens, plain.choices, plain.stops, plain.sampling.top_logprobs) == (None, 1, (), None)


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [("a", ["a"]), (["a", "b"], ["a", "b"]), ([1, 2], [[1, 2]]), ([[1], [2, 3]], [[1], [2, 3]])],
)
def test_reads_prompts_of_every_form(prompt: Any, expected: list[Any]) -> None:
    """A text, texts, token ids, or lists of these."""
    assert read_request({"prompt": prompt}, is_chat=False).prompts == expected


def test_parts_of_a_message_become_one_text() -> None:
    """Content in parts is the text of all of them."""
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    asked = read_request({"messages": [{"role": "user", "content": parts}]}, is_chat=True)
    assert asked.messages is not None
    assert asked.messages[0]["content"] == "one\ntwo"


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": True}}}, "response_format"),
        ({"response_format": {"type": "grammar"}}, "response_format"),
        ({"response_format": "json"}, "response_format"),
        ({"truncate": True}, "truncate"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": 2}, "top_p"),
        ({"seed": -1}, "seed"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"stop": [1]}, "stop"),
        ({"logit_bias": {"x": 1}}, "logit_bias"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "assistant", "content": "", "tool_calls": [{}]}]}, "messages[0].tool_calls"),
    ],
)
def test_what_is_not_offered_is_refused_by_its_name(more: dict[str, Any], named: str) -> None:
    """Nothing that would change an answer is left unheeded."""
    with pytest.raises(InvalidError) as refused:
        read_request({**CHAT, **more}, is_chat=True)
    assert refused.value.message.startswith(named)


@pytest.mark.parametrize("prompt", [None, [], [[]], [1, "a"], [True], {"a": 1}])
def test_what_is_no_prompt_is_refused(prompt: Any) -> None:
    """Neither text nor token ids."""
    with pytest.raises(InvalidError):
        read_request({"prompt": prompt}, is_chat=False)


def test_what_asks_for_nothing_special_is_no_reason_to_refuse() -> None:
    """Clients send such fields with every request."""
    read_request({**CHAT, "tools": [], "tool_choice": "none", "response_format": {"type": "text"}}, is_chat=True)


@pytest.mark.parametrize(
    ("form", "schema"),
    [
        (None, None),
        ({"type": "text"}, None),
        ({"type": "json_object"}, {"type": "object"}),
        ({"type": "json_schema", "json_schema": {"name": "n", "strict": True, "schema": {"enum": [1]}}}, {"enum": [1]}),
        (
            {"type": "json_schema", "json_schema": {"schema": {"type": "array", "x-guidance": {"lenient": True}}}},
            {"type": "array"},
        ),
    ],
)
def test_a_schema_is_kept_with_our_layout(form: Any, schema: dict[str, Any] | None) -> None:
    """What the answer keeps to, laid out as Python writes JSON, whatever the schema says of that."""
    found = read_request({**CHAT, "response_format": form}, is_chat=True).schema
    assert (found is None) == (schema is None)
    if found is not None and schema is not None:
        layout = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
        assert json.loads(found) == {**schema, "x-guidance": layout}

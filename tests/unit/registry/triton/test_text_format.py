"""``config.pbtxt`` as data and back, as strict as Triton."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.triton_repositories import ENCODERS, ordered
from undercroft.core.errors import InvalidError
from undercroft.optimize.triton.configs import configs
from undercroft.registry.triton.fields import CHOICES, ENUMS, MESSAGES
from undercroft.registry.triton.text_format import parse, render


@pytest.mark.parametrize("task", list(ENCODERS))
def test_what_is_rendered_is_read_again(task: str) -> None:
    """Settings of every model of a repository come back as they were."""
    for config in configs(ordered(task)).values():
        assert parse(render(config), "config.pbtxt") == config


@pytest.mark.parametrize("text", ['"', "\\", "a\nb\tc", "สวัสดี", "\x00\x1f", "'", "{}[]#:"])
def test_any_text_survives(text: str) -> None:
    """A text comes back whatever is in it."""
    settings = {"name": text, "parameters": {text: {"string_value": text}}}
    assert parse(render(settings), "x") == settings


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("max_batch_size: 8 # a comment\n", {"max_batch_size": 8}),
        ("name: 'a' \"b\"", {"name": "ab"}),
        ('name: "\\u0061\\x62\\143"'.replace("\\u0061", "a"), {"name": "abc"}),
        ("input [ { name: 'x' }, { name: 'y' } ]", {"input": [{"name": "x"}, {"name": "y"}]}),
        ("input { name: 'x' dims: 1 dims: [2, -1] }", {"input": [{"name": "x", "dims": [1, 2, -1]}]}),
        ("dynamic_batching < preserve_ordering: true >", {"dynamic_batching": {"preserve_ordering": True}}),
        ("dynamic_batching: { }; max_batch_size: 0x10,", {"dynamic_batching": {}, "max_batch_size": 16}),
        ("parameters: { key: 'a', value: { string_value: 'b' } }", {"parameters": {"a": {"string_value": "b"}}}),
        ("metric_tags [ {key: 'a' value: 'b'}, {key: 'c' value: 'd'} ]", {"metric_tags": {"a": "b", "c": "d"}}),
        ("", {}),
    ],
)
def test_what_others_write(text: str, expected: dict[str, Any]) -> None:
    """Every way of writing that the format has is read."""
    assert parse(text, "x") == expected


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("max_batch_sise: 8", "nearest is 'max_batch_size'"),
        ("name: 8", "expected a value of kind text, got '8'"),
        ("max_batch_size: 'a'", "expected a value of kind integer"),
        ("max_batch_size: 8.5", "expected a value of kind integer"),
        ("max_batch_size: 1 max_batch_size: 2", "is there twice"),
        ("\n\ninput { data_type: TYPE_FLOAT }", "line 3: data_type: expected one of TYPE_INVALID"),
        ("input {", "it ends where '}' was expected"),
        ("input { name: 'a' >", "has no field '>'"),
        ("name 'a'", "expected ':'"),
        ("name:", "it ends where a value of name was expected"),
        ("name: 'a", "cannot be read"),
        ("name: '\\xff'", "is not UTF-8"),
        ("dynamic_batching {} ensemble_scheduling {}", "only one may be there"),
        ("parameters { key: 'a' }", "expected a key that is there once"),
        ("parameters { key: 'a' value {} } parameters { key: 'a' value {} }", "expected a key that is there once"),
        ("model_transaction_policy { decoupled: maybe }", "expected a value of kind truth"),
        ("dynamic_batching { max_queue_delay_microseconds: -1 }", "expected a value of kind natural"),
        ("input: [ { name: 'a' } { name: 'b' } ]", "expected ',' or ']'"),
        ("@", "line 1: '@' cannot be read"),
    ],
)
def test_what_triton_refuses(text: str, problem: str) -> None:
    """A mistake is refused with its line and what was expected."""
    with pytest.raises(InvalidError) as caught:
        parse(text, "config.pbtxt")
    assert caught.value.code == "bad-triton-config"
    assert problem in str(caught.value)


def test_a_deep_one_is_refused() -> None:
    """Nesting ends somewhere, whatever is written."""
    deep = "model_warmup { inputs { key: 'a' value { " * 40
    with pytest.raises(InvalidError, match="bad-triton-config"):
        parse(deep, "x")


def test_rendering_knows_its_fields() -> None:
    """A field that Triton has not is a mistake of ours, and said so."""
    with pytest.raises(ValueError, match="no field 'nome'"):
        render({"nome": "a"})


def test_the_table_holds_together() -> None:
    """Every kind that a field has is a message, an enumeration or a plain one."""
    plain = {"text", "truth", "integer", "natural", "real"}
    for message, fields in MESSAGES.items():
        for name, kind in fields.items():
            inner = kind.strip("[]{}").rpartition(": ")[2]
            assert inner in plain or inner in MESSAGES or inner in ENUMS, (message, name)
    assert all(set(choice) <= set(MESSAGES[message]) for message, choices in CHOICES.items() for choice in choices)

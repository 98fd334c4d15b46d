"""Kinds of values: what they take, and how they say what they do not."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from undercroft.gateway.errors import DoorError
from undercroft.gateway.openai.kinds import (
    Choice,
    Field,
    Flag,
    FreeObject,
    JsonText,
    ListOf,
    Number,
    OneOf,
    Prompts,
    Record,
    Tagged,
    Text,
    TokenList,
    check_depth,
)


def refusal(kind: Any, value: Any) -> str:
    """The message with which a value is refused."""
    with pytest.raises(DoorError) as caught:
        kind.check(value, "field")
    assert caught.value.status == 400
    return caught.value.message


@given(st.floats(0, 2) | st.integers(0, 2))
def test_numbers_in_range_are_taken(value: float) -> None:
    """Whole or not, both ends included."""
    Number(0, 2).check(value, "field")


@given(st.one_of(st.floats(max_value=-0.001), st.floats(min_value=2.001), st.booleans(), st.text(), st.none()))
def test_other_values_are_no_numbers(value: Any) -> None:
    """Out of range, or something else that Python would take for a number."""
    assert refusal(Number(0, 2), value).startswith("field: expected a number from 0 to 2, got ")


def test_whole_numbers_are_not_floats() -> None:
    """1.0 is not taken for 1."""
    assert refusal(Number(1, 8, is_whole=True), 1.0) == "field: expected a whole number from 1 to 8, got 1.0"


def test_long_texts_are_not_repeated() -> None:
    """An error message never repeats what could be somebody's text at length."""
    assert refusal(Number(0, 2), "a" * 50) == "field: expected a number from 0 to 2, got a text of 50 characters"


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        (Text(1, 3), "", "1 to 3 characters, got 0"),
        (Text(1, 3), 5, "expected a text, got 5"),
        (Flag(), 1, "expected true or false, got 1"),
        (JsonText(), "{a", "expected JSON, got a text that is not"),
        (JsonText(), {}, "expected a text, got an object"),
        (Choice(("a", "b")), "c", "expected 'a' or 'b', got 'c'"),
        (Choice((False,)), 0, "expected false, got 0"),
        (Choice((1,)), True, "expected 1, got true"),
        (ListOf(Flag(), 1, 2), [], "a list of 1 to 2, got 0"),
        (ListOf(Flag()), [True, 3], "field[1]: expected true or false, got 3"),
        (TokenList(), [], "token numbers"),
        (TokenList(), [1, True], "token numbers"),
        (TokenList(), [-1], "token numbers"),
        (FreeObject(), [], "expected an object, got a list of 0"),
        (OneOf({str: Text(), list: ListOf(Text())}), 5, "expected a text or a list, got 5"),
        (Prompts(2, False), "", "at least one character"),
        (Prompts(2, False), ["a", 5], "field[1]: expected a list of token numbers"),
        (Prompts(2, False), ["a", "b", "c"], "a list of 1 to 2, got 3"),
        (Prompts(2, False), [[1], "a"], "field[1]: expected a list of token numbers"),
    ],
)
def test_what_is_wrong_is_said(kind: Any, value: Any, words: str) -> None:
    """Each kind names the place, what it expects and what came."""
    assert words in refusal(kind, value)


@pytest.mark.parametrize("value", ["a", ["a", "b"], [1, 2], [[1], [2]]])
def test_prompts_come_in_four_forms(value: Any) -> None:
    """A text, several, tokens, several lists of tokens."""
    Prompts(2, False).check(value, "prompt")


def test_records_know_their_members() -> None:
    """Unknown, refused, missing and nested members are each told apart."""
    record = Record(
        {"size": Field(Number(0, 9), is_required=True), "inner": Field(Record({"a": Field(Flag())}))},
        {"old": "use size"},
    )
    record.check({"size": 1, "inner": {"a": None}, "old": None}, "")
    assert refusal(record, {"sise": 1}) == "field.sise: unknown field; the nearest field is 'size'"
    assert refusal(record, {"zz": 1}) == "field.zz: unknown field"
    assert refusal(record, {"old": 1}) == "field.old: refused: use size"
    assert refusal(record, {}) == "field.size: missing; it is required"
    assert refusal(record, {"size": None}) == "field.size: expected a number from 0 to 9, got null"
    assert refusal(record, {"size": 1, "inner": {"a": 1}}) == "field.inner.a: expected true or false, got 1"


def test_tagged_objects_are_told_apart_by_their_tag() -> None:
    """The tag decides which members there may be."""
    tagged = Tagged("type", {"a": Record({"type": Field(Text()), "x": Field(Flag())})}, {"b": "not here"}, default="a")
    tagged.check({"type": "a", "x": True}, "field")
    tagged.check({"x": True}, "field")
    assert refusal(tagged, {"type": "b"}) == "field.type: 'b' refused: not here"
    assert refusal(tagged, {"type": "c"}) == "field.type: expected 'a', got 'c'"
    assert refusal(tagged, {"type": ["a"]}) == "field.type: expected 'a', got a list of 1"


def test_depth_is_limited() -> None:
    """64 levels pass, one more does not."""

    def nested(levels: int) -> Any:
        value: Any = []
        for number in range(levels - 1):
            value = [value] if number % 2 else {"a": value}
        return value

    check_depth(nested(64), "field")
    with pytest.raises(DoorError, match="64 levels"):
        check_depth(nested(65), "field")


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda one: st.lists(one)))
def test_no_value_breaks_a_kind(value: Any) -> None:
    """Whatever JSON can say is taken or refused, never a crash."""
    kind = Tagged("type", {"a": Record({"x": Field(Prompts(3, True))})})
    for one in (value, {"type": "a", "x": value}, {"type": value}):
        with contextlib.suppress(DoorError):
            kind.check(one, "field")

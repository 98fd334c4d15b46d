"""Reading engines' answers without parsing them."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from undercroft.gateway.openai.answers import find_model_mark, renamed, token_counts


@pytest.mark.parametrize(
    ("data", "counts"),
    [
        (b'{"usage":{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12}}', (5, 7)),
        (b'{"usage": {"completion_tokens": 7, "prompt_tokens": 5}}', (5, 7)),
        (b'{"usage":{"prompt_tokens":5,"total_tokens":5}}', (5, 0)),
        (b'data: {"timings":{"cache_n":3,"prompt_n":4,"predicted_n":2}}\n\ndata: [DONE]\n\n', (7, 2)),
        (b'data: {"usage":{"prompt_tokens":1,"completion_tokens":2}}\n\ndata: {"usage":null}\n\n', (1, 2)),
        (b"{}", None),
    ],
)
def test_tokens_are_found(data: bytes, counts: tuple[int, int] | None) -> None:
    """In usage, or in llama.cpp's timings."""
    assert token_counts(data) == counts


@given(st.text())
def test_a_text_cannot_pretend_to_be_usage(text: str) -> None:
    """Whatever a model says, the tokens are those that the engine counted."""
    usage = {"prompt_tokens": 5, "completion_tokens": 7}
    forged = text + '"usage":{"prompt_tokens":999,"completion_tokens":999}' + text
    for data in ({"usage": usage, "content": forged}, {"content": forged, "usage": usage}):
        assert token_counts(orjson.dumps(data)) == (5, 7)


@given(st.text(min_size=1))
def test_the_model_is_renamed_whatever_it_was(name: str) -> None:
    """In a whole answer and in a frame."""
    body = orjson.dumps({"id": 1, "model": name, "text": '"model":"x"'})
    assert orjson.loads(renamed(body, "bot")) == {"id": 1, "model": "bot", "text": '"model":"x"'}
    mark = find_model_mark(body)
    assert mark is not None
    assert orjson.loads(body.replace(mark, b'"model":"bot"', 1))["model"] == "bot"


def test_what_is_right_is_the_same_object() -> None:
    """Nothing is copied where the name is right."""
    body = orjson.dumps({"model": "bot"})
    assert renamed(body, "bot") is body


def test_what_is_no_json_stays() -> None:
    """It is passed on for the client to see."""
    assert renamed(b"<html>", "bot") == b"<html>"
    assert renamed(b"[1]", "bot") == b"[1]"

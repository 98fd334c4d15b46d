"""A streamed answer is read as its events say, whatever stands between them."""

from __future__ import annotations

import itertools

import pytest

from undercroft.engines.chat_stream import Answer, StreamRefusedError, read_chat_stream

HEAD = b'data: {"choices": [{"delta": {"role": "assistant", "content": null}}]}\n'
HELLO = b'data: {"choices": [{"delta": {"content": "hel"}}]}\n'
END = b'data: {"choices": [{"delta": {"content": "lo"}, "finish_reason": "stop"}]}\n'
USAGE = b'data: {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}\n'


def read(*lines: bytes) -> Answer:
    """With a clock that is a second later at every look."""
    ticks = itertools.count(1)
    return read_chat_stream(lines, 0.0, lambda: float(next(ticks)))


def test_pieces_times_and_counts() -> None:
    """Text is joined; the first piece with text, not the role's event, is the first token; speed is of the rest."""
    found = read(HEAD, b"\n", HELLO, b": still there\n", END, USAGE, b"data: [DONE]\n")
    assert found == Answer("hello", 1.0, 2.0, 3, 2)
    assert found.tokens_per_second == 1.0


def test_no_text_and_no_counts() -> None:
    """Where nothing was said, no time of a first token, no counts and no speed are made up."""
    found = read(HEAD, b"data: [DONE]\n")
    assert (found.text, found.first_token_seconds, found.answer_tokens, found.tokens_per_second) == (
        "",
        None,
        None,
        None,
    )


def test_error_in_the_middle() -> None:
    """An error event ends the answer, with what it said."""
    with pytest.raises(StreamRefusedError) as refused:
        read(HELLO, b'data: {"error": {"message": "no memory"}}\n')
    assert refused.value.content.strip() == b'{"error": {"message": "no memory"}}'

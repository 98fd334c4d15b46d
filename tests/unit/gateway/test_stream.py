"""The relay of a stream, in pieces of any size."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from undercroft.gateway.openai.stream import Relay
from undercroft.gateway.trace import Trace


def frame(content: str, model: str = "bot", **others: Any) -> bytes:
    """A frame of a chat completion."""
    data = {"model": model, "choices": [{"index": 0, "delta": {"content": content}}], **others}
    return b"data: " + orjson.dumps(data) + b"\n\n"


USAGE = b'data: {"model":"up","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}\n\n'
DONE = b"data: [DONE]\n\n"


def relay(pieces: list[bytes], **others: Any) -> tuple[bytes, Trace, Relay]:
    """What comes out for what goes in."""
    out: list[bytes] = []
    trace = Trace()
    options: dict[str, Any] = {
        "model": "bot",
        "has_usage_request": False,
        "is_framed": False,
        "content_field": "messages",
    }
    made = Relay(trace, out.append, **{**options, **others})
    for piece in pieces:
        made.feed(piece)
    made.flush()
    made.settle()
    return b"".join(out), trace, made


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    """Data in pieces of the given sizes, again and again."""
    pieces, at, turn = [], 0, 0
    while at < len(data):
        size = sizes[turn % len(sizes)]
        pieces.append(data[at : at + size])
        at += size
        turn += 1
    return pieces


def test_what_is_right_passes_as_it_came() -> None:
    """The very same bytes, piece by piece."""
    pieces = [frame("a"), frame("b") + frame("c"), DONE]
    out, trace, made = relay(pieces)
    assert out == b"".join(pieces)
    assert made.is_done
    assert trace.first_token_at > 0


@given(st.lists(st.integers(1, 40), min_size=1, max_size=5), st.sampled_from([b"\n", b"\r\n"]))
def test_pieces_of_any_size_are_put_together(sizes: list[int], line_end: bytes) -> None:
    """Names are changed and usage is left out however the network cuts the stream."""
    data = (frame("a", "up") + frame("\u00e9\u4e2d", "up") + USAGE + DONE).replace(b"\n", line_end)
    out, trace, made = relay(cut(data, sizes), is_framed=True)
    assert out == frame("a") + frame("\u00e9\u4e2d") + DONE
    assert (trace.prompt_tokens, trace.completion_tokens) == (3, 2)
    assert made.error is None


def test_frames_that_say_that_there_is_no_usage_lose_that() -> None:
    """As some servers do in every frame; a text that says the same stays."""
    text = 'x,"usage":null'
    out, _, _ = relay([frame(text, "up", usage=None), USAGE, DONE], is_framed=True)
    assert out == frame(text) + DONE


def test_usage_that_was_asked_for_stays() -> None:
    """With the deployment's name in it."""
    out, _, _ = relay([frame("a", "up"), USAGE, DONE], is_framed=True, has_usage_request=True)
    assert b'"usage":{"prompt_tokens":3' in out
    assert b'"up"' not in out


def test_another_name_is_changed_from_the_first_frame_on() -> None:
    """A stream that looked as if it could pass is taken apart where it says another name."""
    out, _, _ = relay([frame("a", "/srv/x.gguf"), frame("b", "/srv/x.gguf"), DONE])
    assert out == frame("a") + frame("b") + DONE


def test_frames_can_be_changed() -> None:
    """Every frame goes through the change."""

    def shout(event: dict[str, Any]) -> None:
        event["choices"][0]["delta"]["content"] += "!"

    out, _, _ = relay([frame("a"), DONE], change=shout)
    assert out == frame("a!") + DONE


@pytest.mark.parametrize(
    "mark", [b'data: {"error":{"message":"it burns"}}\n\n', b'error: {"error":{"message":"it burns"}}\n\n']
)
def test_an_engines_error_ends_it(mark: bytes) -> None:
    """What comes before passes, the error is kept, nothing after it passes."""
    out, _, made = relay([frame("a"), mark, frame("b")])
    assert out == frame("a")
    assert made.error is not None
    assert "it burns" in made.error.message


def test_a_text_about_errors_is_no_error() -> None:
    """A model may speak of errors in JSON."""
    data = frame('{"error": {"message": "x"}} and \ndata: {"error":{}}')
    out, _, made = relay([data, DONE])
    assert out == data + DONE
    assert made.error is None


def test_tokens_of_a_stream_that_was_cut_are_its_frames() -> None:
    """Without the engine's count the frames after the first are the best that is known, and the prompt is unknown."""
    _, trace, _ = relay([frame("")] + [frame("a")] * 5)
    assert (trace.prompt_tokens, trace.completion_tokens) == (None, 5)


def test_nothing_is_known_of_a_stream_that_never_began() -> None:
    """What was known before the stream stays."""
    _, trace, _ = relay([])
    assert (trace.prompt_tokens, trace.completion_tokens) == (0, 0)


TIMINGS = {"cache_n": 4, "prompt_n": 3, "prompt_ms": 0.5, "predicted_n": 2}


@given(st.lists(st.integers(1, 200), min_size=1, max_size=5))
def test_timings_reach_no_client_and_are_counted(sizes: list[int]) -> None:
    """llama.cpp's own member is left out however the network cuts the stream; a text that looks like it stays."""
    text = ',"timings":{"prompt_n":9}'
    out, trace, _ = relay(cut(frame(text) + frame("", timings=TIMINGS) + DONE, sizes))
    assert out == frame(text) + frame("") + DONE
    assert (trace.prompt_tokens, trace.completion_tokens) == (7, 2)


def test_ids_of_completions_begin_as_openais_do() -> None:
    """llama.cpp calls them like those of chats."""
    out, _, _ = relay([frame("a", id="chatcmpl-1"), DONE], is_completion=True)
    assert out == frame("a", id="cmpl-1") + DONE
    out, _, _ = relay([frame("a", id="chatcmpl-1"), DONE])
    assert out == frame("a", id="chatcmpl-1") + DONE


def test_an_overflow_in_a_stream_names_the_clients_field() -> None:
    """An error event about the context names the field of the route."""
    event = {"error": {"type": "exceed_context_size_error", "n_prompt_tokens": 9, "n_ctx": 5, "message": "x"}}
    _, _, made = relay([b"data: " + orjson.dumps(event) + b"\n\n"], content_field="input")
    assert made.error is not None
    assert made.error.param == "input"


def test_a_last_frame_without_its_blank_line_passes() -> None:
    """Some servers forget it."""
    out, _, _ = relay([frame("a", "up"), DONE.rstrip()], is_framed=True)
    assert out == frame("a") + DONE

"""Tests of `undercroft.engines.decoder.answers`."""

from __future__ import annotations

from typing import Any

from undercroft.engines.decoder.answers import Envelope, Said, usage
from undercroft.engines.decoder.spoken import Spoken


def event(token: int, end: str | None = None, logprob: float | None = None) -> dict[str, Any]:
    """A token as the process that computes tells it."""
    return {"token": token, "end": end, "logprob": logprob, "top": [] if logprob is None else [[token, logprob]]}


def said(*events: dict[str, Any], stops: tuple[str, ...] = ()) -> Said:
    """An answer of letters."""
    one = Said(Spoken(lambda tokens: "".join(map(chr, tokens)), stops))
    for each in events:
        one.take(each)
    return one


def envelope(*, is_chat: bool) -> Envelope:
    return Envelope("id-1", 5, "bot", is_chat, chr)


def test_the_token_that_ends_an_answer_counts_and_says_nothing() -> None:
    """It was computed; its text is no part of the answer."""
    one = said(event(97), event(98, "stop"))
    assert ("".join(one.texts), one.tokens, one.finish) == ("a", 2, "stop")


def test_the_last_token_of_a_long_answer_is_said() -> None:
    """An answer that is as long as it may be ends with its own word."""
    one = said(event(97), event(98, "length"))
    assert ("".join(one.texts), one.finish) == ("ab", "length")


def test_a_stop_text_is_a_reason_of_its_own() -> None:
    """Even at the last token that it may have."""
    assert said(event(97), event(98, "length"), stops=("b",)).finish == "stop"


def test_whole_answers_have_openais_form() -> None:
    """A message in a conversation, a text else, with the counts of all answers."""
    answers = [said(event(97, "length")), said(event(98), event(99, "stop"))]
    chat = envelope(is_chat=True).whole(answers, 4)
    assert chat["object"] == "chat.completion"
    assert [one["message"]["content"] for one in chat["choices"]] == ["a", "b"]
    assert chat["usage"] == {"prompt_tokens": 4, "completion_tokens": 3, "total_tokens": 7}
    plain = envelope(is_chat=False).whole(answers, 4)
    assert [(one["text"], one["finish_reason"]) for one in plain["choices"]] == [("a", "length"), ("b", "stop")]
    assert usage(answers, 4) == plain["usage"]


def test_probabilities_are_told_as_each_route_does() -> None:
    """A list of tokens in a conversation; four lists side by side else."""
    answers = [said(event(97, None, -0.5), event(98, "length", -1.5))]
    content = envelope(is_chat=True).whole(answers, 1)["choices"][0]["logprobs"]["content"]
    assert [(one["token"], one["logprob"], one["bytes"]) for one in content] == [("a", -0.5, [97]), ("b", -1.5, [98])]
    assert content[0]["top_logprobs"] == [{"token": "a", "logprob": -0.5, "bytes": [97]}]
    older = envelope(is_chat=False).whole(answers, 1)["choices"][0]["logprobs"]
    assert older == {
        "tokens": ["a", "b"], "token_logprobs": [-0.5, -1.5], "top_logprobs": [{"a": -0.5}, {"b": -1.5}],
        "text_offset": [0, 1],
    }  # fmt: skip


def test_a_stream_opens_says_and_closes() -> None:
    """Events of a conversation begin with the role; those of a completion with the text."""
    chat, plain = envelope(is_chat=True), envelope(is_chat=False)
    opening = chat.opening(0)
    assert opening is not None
    assert opening["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert plain.opening(0) is None
    assert chat.part(1, "x", [], 0)["choices"][0] == {
        "index": 1, "delta": {"content": "x"}, "logprobs": None, "finish_reason": None,
    }  # fmt: skip
    assert plain.part(0, "x", [], 0)["choices"][0]["text"] == "x"
    assert chat.closing(0, "stop")["choices"][0]["finish_reason"] == "stop"
    assert chat.counts([], 3)["choices"] == []

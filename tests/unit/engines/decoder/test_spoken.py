"""Tests of `undercroft.engines.decoder.spoken`."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from undercroft.engines.decoder.spoken import Spoken


def written(tokens: Sequence[int]) -> str:
    """A tokenizer of bytes; what is no whole character is written as one that stands for it."""
    return bytes(tokens).decode("utf-8", "replace")


def pieces(text: str, *stops: str) -> list[str]:
    """What comes of each byte of a text, and of its end."""
    spoken = Spoken(written, stops)
    return [*(spoken.add(byte) for byte in text.encode()), spoken.end()]


@pytest.mark.parametrize("text", ["plain", "Überprüfung", "服务器 🙂🙃 ½", "a\n\nb", ""])
def test_all_pieces_are_the_text(text: str) -> None:
    """Whatever the script; no piece ends within a character."""
    found = pieces(text)
    assert "".join(found) == text
    assert all("\N{REPLACEMENT CHARACTER}" not in piece for piece in found)


def test_bytes_that_never_become_a_character_are_said_in_the_end() -> None:
    """They hold nothing up for ever."""
    spoken = Spoken(written)
    found = "".join([spoken.add(0xE2) for _ in range(20)])
    assert found
    assert "\N{REPLACEMENT CHARACTER}" in found + spoken.end()


@pytest.mark.parametrize(
    ("text", "stops", "expected"),
    [
        ("one END two", ("END",), "one "),
        ("one EN two", ("END",), "one EN two"),
        ("one END", ("END", "one"), ""),
        ("a\nb\nc", ("\nc",), "a\nb"),
        ("aab", ("ab",), "a"),
        ("x EN", ("END",), "x EN"),
        ("plain", ("",), "plain"),
    ],
)
def test_a_stop_text_ends_the_answer_and_is_not_in_it(text: str, stops: tuple[str, ...], expected: str) -> None:
    """Also where it comes in several pieces; what only looks like its beginning is said after all."""
    assert "".join(pieces(text, *stops)) == expected


def test_nothing_follows_a_stop_text() -> None:
    """It is known at once that the answer has ended."""
    spoken = Spoken(written, ["b"])
    assert (spoken.add(ord("a")), spoken.add(ord("b")), spoken.is_stopped) == ("a", "", True)
    assert (spoken.add(ord("c")), spoken.end()) == ("", "")

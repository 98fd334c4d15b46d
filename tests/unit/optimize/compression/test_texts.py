"""Texts are shared out so that what judges a result was never read by what made it."""

from __future__ import annotations

import pytest

from undercroft.core.errors import InvalidError
from undercroft.optimize.compression.texts import share_out


def test_one_in_eight_is_held_back() -> None:
    """The last among them; nothing is in both parts, nothing is lost."""
    pieces = [f"letter {number}" for number in range(20)]
    parts = share_out("\n\n".join(pieces), is_calibrated=True, what="the texts")
    assert parts.held_back == ("letter 3", "letter 11", "letter 19")
    assert sorted([*parts.calibration, *parts.held_back]) == sorted(pieces)


def test_lines_where_there_are_no_paragraphs() -> None:
    """A file of one text a line."""
    parts = share_out("one\ntwo\n\n", is_calibrated=True, what="the texts")
    assert (parts.calibration, parts.held_back) == (("one",), ("two",))


def test_all_is_held_back_where_nothing_is_calibrated() -> None:
    """Schemes that look at the weights alone leave all texts to compare by."""
    assert share_out("one\ntwo", is_calibrated=False, what="the texts").held_back == ("one", "two")


@pytest.mark.parametrize(
    ("text", "words"), [(" \n\n ", "hold nothing"), ("one line", "are one line: expected at least")]
)
def test_what_cannot_be_shared_out(text: str, words: str) -> None:
    """Is refused with what is missing."""
    with pytest.raises(InvalidError, match=f"bad-texts: the texts a.txt {words}"):
        share_out(text, is_calibrated=True, what="the texts a.txt")

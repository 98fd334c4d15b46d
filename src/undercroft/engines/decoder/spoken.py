"""The text of an answer as its tokens come, up to a stop text. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

_UNFINISHED = "\N{REPLACEMENT CHARACTER}"
# A character has at most four bytes, each perhaps a token of its own; what is still no text then never becomes one.
_MOST_UNFINISHED_TOKENS = 8


class Spoken:
    """The text of an answer as its tokens come.

    A character may lie in several tokens, and a tokenizer may write a token otherwise at the beginning of a text: so a
    few tokens before are always written along.

    Args:
        text: Text of tokens.
        stops: Texts that end the answer; they are not part of it.
    """

    def __init__(self, text: Callable[[Sequence[int]], str], stops: Sequence[str] = ()) -> None:
        self._text, self._stops = text, tuple(stop for stop in stops if stop)
        self._tokens: list[int] = []
        self._before, self._said = 0, 0
        self._held = ""
        self.is_stopped = False

    def add(self, token: int) -> str:
        """What one more token adds to the answer; empty where that is not certain yet, or the answer has ended."""
        if self.is_stopped:
            return ""
        self._tokens.append(token)
        before = self._text(self._tokens[self._before : self._said])
        now = self._text(self._tokens[self._before :])
        is_unfinished = now.endswith(_UNFINISHED) and len(self._tokens) - self._said < _MOST_UNFINISHED_TOKENS
        if len(now) <= len(before) or is_unfinished:
            return ""
        self._before, self._said = self._said, len(self._tokens)
        return self._released(now[len(before) :])

    def end(self) -> str:
        """What is left when no more tokens come."""
        if self.is_stopped:
            return ""
        before = self._text(self._tokens[self._before : self._said])
        rest = self._text(self._tokens[self._before :])[len(before) :]
        found = self._released(rest)
        if self.is_stopped:
            return found
        found, self._held = found + self._held, ""
        return found

    def _released(self, new: str) -> str:
        """What can be said of what is held back and new: nothing that may become a stop text."""
        whole = self._held + new
        places = [place for stop in self._stops if (place := whole.find(stop)) >= 0]
        if places:
            self.is_stopped, self._held = True, ""
            return whole[: min(places)]
        kept = max((_overlap(whole, stop) for stop in self._stops), default=0)
        self._held = whole[len(whole) - kept :]
        return whole[: len(whole) - kept]


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of a text with which a stop text begins."""
    return next((size for size in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:size])), 0)

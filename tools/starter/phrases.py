"""The bracket notation of the grammar files: ``[a|b [c|]] text {slot}``.

A phrase is parsed once and drawn from many times. Drawing may demand that the ``{id}`` slot is in the result or that it
is not, which is how tickets with and without an order id come from the same phrasing.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

ID_SLOT = "{id}"


class PhraseError(ValueError):
    """A phrase breaks the notation: brackets do not balance or an id may occur twice."""


@dataclass(frozen=True)
class Choice:
    """Alternatives of which one is drawn."""

    options: tuple[Sequence, ...]
    id_counts: frozenset[int]
    wordings: int


@dataclass(frozen=True)
class Sequence:
    """Text and choices in a row."""

    parts: tuple[str | Choice, ...]
    id_counts: frozenset[int]
    wordings: int


def _sums(counts: list[frozenset[int]]) -> frozenset[int]:
    total = {0}
    for count in counts:
        total = {a + b for a in total for b in count}
    return frozenset(total)


def _id_counts(part: str | Choice) -> frozenset[int]:
    return frozenset({part.count(ID_SLOT)}) if isinstance(part, str) else part.id_counts


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def sequence(self, *, is_nested: bool) -> Sequence:
        parts: list[str | Choice] = []
        start = self.at
        while self.at < len(self.text):
            char = self.text[self.at]
            if char in "|]" and is_nested:
                break
            if char in "|]":
                raise PhraseError(f"stray {char!r} in {self.text!r}")
            if char == "[":
                parts.append(self.text[start : self.at])
                parts.append(self.choice())
                start = self.at
            else:
                self.at += 1
        parts.append(self.text[start : self.at])
        kept = tuple(part for part in parts if part != "")
        wordings = math.prod(part.wordings for part in kept if isinstance(part, Choice))
        return Sequence(kept, _sums([_id_counts(part) for part in kept]), wordings)

    def choice(self) -> Choice:
        self.at += 1
        options = [self.sequence(is_nested=True)]
        while self.at < len(self.text) and self.text[self.at] == "|":
            self.at += 1
            options.append(self.sequence(is_nested=True))
        if self.at >= len(self.text):
            raise PhraseError(f"unclosed '[' in {self.text!r}")
        self.at += 1
        id_counts = frozenset().union(*(option.id_counts for option in options))
        return Choice(tuple(options), id_counts, sum(option.wordings for option in options))


def parse(text: str) -> Sequence:
    """Parse one phrase of a grammar file.

    Args:
        text: The phrase with brackets and slots.

    Returns:
        The phrase, ready for :func:`draw`.

    Raises:
        PhraseError: Brackets do not balance, or a path holds two order ids.
    """
    phrase = _Parser(text).sequence(is_nested=False)
    if max(phrase.id_counts) > 1:
        raise PhraseError(f"two order ids on one path of {text!r}")
    return phrase


def can_hold(phrase: Sequence, *, ids: int) -> bool:
    """Whether the phrase can be drawn with exactly ``ids`` order ids (0 or 1)."""
    return ids in phrase.id_counts


def weight(phrase: Sequence) -> float:
    """How often a phrase is drawn beside others: 1 for a single wording, 6 at most for one with many."""
    return min(6.0, 1 + math.log2(phrase.wordings) / 2)


def draw(phrase: Sequence, rng: random.Random, *, ids: int) -> str:
    """Draw one wording of a phrase with exactly ``ids`` order ids (0 or 1).

    Raises:
        PhraseError: No path of the phrase holds that many.
    """
    if ids not in phrase.id_counts:
        raise PhraseError(f"no path with {ids} order ids")
    bearer = -1
    if ids == 1:
        able = [i for i, part in enumerate(phrase.parts) if 1 in _id_counts(part)]
        bearer = rng.choice(able)
    return "".join(_draw_part(part, rng, int(i == bearer)) for i, part in enumerate(phrase.parts))


def _draw_part(part: str | Choice, rng: random.Random, ids: int) -> str:
    if isinstance(part, str):
        return part
    able = [option for option in part.options if ids in option.id_counts]
    return draw(rng.choice(able), rng, ids=ids)

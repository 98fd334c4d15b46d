"""Damages what a tool printed: cut off, garbled, in another language, empty."""

from __future__ import annotations

import random
from collections.abc import Iterator

_GARBAGE = (
    "\x00",
    "\ufffd",
    "N/A",
    "[Unknown Error]",
    "-1",
    "1e999",
    "９９",
    "٣",
    "9" * 400,
    "ERR!",
    '"',
    "<",
    "{",
    "\n",
)
_FOREIGN = ("Fehler: Kein Zugriff auf das Gerät\n", "错误：未找到设备\n", "12.345,67 Mio\n", "")


def damaged(sound: str, *, count: int, seed: int) -> Iterator[str]:
    """Damaged copies of a text, the same for the same seed; the empty and the foreign ones come first."""
    chance = random.Random(seed)
    yield from _FOREIGN
    for _ in range(count):
        text = sound
        for _ in range(chance.choice((1, 1, 2, 5))):
            text = chance.choice((_cut, _insert, _replace, _drop, _swap))(text, chance)
        yield text


def _cut(text: str, chance: random.Random) -> str:
    return text[: chance.randrange(len(text) + 1)]


def _insert(text: str, chance: random.Random) -> str:
    at = chance.randrange(len(text) + 1)
    return text[:at] + chance.choice(_GARBAGE) + text[at:]


def _replace(text: str, chance: random.Random) -> str:
    """A word gives way to garbage: the likeliest way to a value of another kind."""
    words = text.split(" ")
    words[chance.randrange(len(words))] = chance.choice(_GARBAGE)
    return " ".join(words)


def _drop(text: str, chance: random.Random) -> str:
    lines = text.splitlines(keepends=True)
    if lines:
        del lines[chance.randrange(len(lines))]
    return "".join(lines)


def _swap(text: str, chance: random.Random) -> str:
    lines = text.splitlines(keepends=True)
    chance.shuffle(lines)
    return "".join(lines)

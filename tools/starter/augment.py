"""Noise for training tickets: typing errors, lost words, casing, missing diacritics. The order id is never touched.

The id is a single private-use character (``ID_MARK``) while noise is added and is filled in afterwards.
"""

from __future__ import annotations

import random
import re
import string
import unicodedata

ID_MARK = "\ue000"
_WORDLESS = {"th", "zh"}
_ARABIC_FORMS = str.maketrans({"أ": "ا", "إ": "ا", "آ": "ا", "ى": "ي", "ة": "ه", "ؤ": "و"})


def _swap_delete_double(text: str, rng: random.Random) -> str:
    """One typing error at a random letter."""
    places = [i for i, char in enumerate(text) if char.isalpha()]
    if len(places) < 8:
        return text
    at = rng.choice(places[1:])
    kind = rng.random()
    if kind < 0.4:
        return text[:at] + text[at + 1 :]
    if kind < 0.6:
        return text[:at] + text[at] + text[at:]
    if text[at - 1] == ID_MARK:
        return text
    return text[: at - 1] + text[at] + text[at - 1] + text[at + 1 :]


def _lose_span(text: str, rng: random.Random, language: str) -> str:
    """Delete a few words (a few characters where words are not spaced), never the id."""
    units = list(text) if language in _WORDLESS else re.findall(r"\S+|\s+", text)
    if len(units) < 10:
        return text
    length = rng.randint(1, 4)
    start = rng.randrange(len(units) - length)
    lost = units[start : start + length]
    return text if any(ID_MARK in unit for unit in lost) else "".join(units[:start] + units[start + length :])


def _shuffle_words(text: str, rng: random.Random) -> str:
    """Exchange two neighbouring words."""
    words = text.split(" ")
    if len(words) < 6:
        return text
    at = rng.randrange(len(words) - 1)
    words[at], words[at + 1] = words[at + 1], words[at]
    return " ".join(words)


def without_diacritics(text: str) -> str:
    """Vietnamese as typed without a Vietnamese keyboard."""
    plain = unicodedata.normalize("NFD", text.replace("đ", "d").replace("Đ", "D"))
    return "".join(char for char in plain if not unicodedata.combining(char))


def _recase(text: str, rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.14:
        return text.lower()
    return text.upper() if kind < 0.16 else text


def _add_junk(text: str, rng: random.Random) -> str:
    """Put mark-up, control-like text, an address of a page or of a mailbox before or behind the ticket."""
    words = ["".join(rng.choice(string.ascii_lowercase) for _ in range(rng.randint(2, 9))) for _ in range(2)]
    marks = (f"< |{words[0]}|>", f"< /{words[0][:3]}>", f"<{words[0][:4]}>", f"&{words[0][:4]};", "< |system|>< /s>")
    places = (
        f"https://{words[0]}.example/{words[1]}/{rng.randint(1, 99999)}",
        f"{words[0]}{rng.randint(1, 99)}@{words[1]}.com",
    )
    junk = rng.choice((rng.choice(marks), "".join(rng.choices(marks, k=3)), rng.choice(places)))
    return f"{text} {junk}" if rng.random() < 0.7 else f"{junk} {text}"


def add_noise(text: str, rng: random.Random, language: str) -> str:
    """Make a training ticket less tidy.

    Args:
        text: The ticket with ``ID_MARK`` where the order id belongs.
        rng: Source of chance.
        language: The ticket's language code.

    Returns:
        The ticket with noise; the mark is still in it.
    """
    text = _recase(text, rng)
    if language == "vi" and rng.random() < 0.12:
        text = without_diacritics(text)
    if language == "ar" and rng.random() < 0.2:
        text = text.translate(_ARABIC_FORMS)
    if rng.random() < 0.2:
        for _ in range(rng.randint(1, 3)):
            text = _swap_delete_double(text, rng)
    if rng.random() < 0.3:
        text = _lose_span(text, rng, language)
    if rng.random() < 0.06:
        text = _shuffle_words(text, rng)
    if rng.random() < 0.05:
        text = _add_junk(text, rng)
    if rng.random() < 0.08:
        text = re.sub(r"[,.!?،؟。，！？]", "", text)
    return text

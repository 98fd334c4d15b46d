"""The values of a need: what each name takes, in which units, and what was meant where it is not understood. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from undercroft.catalog.uses import PURPOSES

_NUMBER = re.compile(r"(\d+(?:\.\d+)?|\.\d+)([a-z%]*)")
_MONEY = re.compile(r"(?P<before>[$€£]|[a-z]{3})?(?P<number>\d+(?:\.\d+)?)(?P<thousands>k?)(?P<after>[$€£]|[a-z]{3})?")
_SYMBOLS = {"$": "USD", "€": "EUR", "£": "GBP"}
_MOST = 1e15
_LANGUAGE = re.compile(r"([a-z]{2,3})(?:[-_][a-z]{2,4})?")
_TASKS = ("chat", "embed", "rerank", "encode")
_VENDORS = ("nvidia", "amd", "intel", "habana", "apple", "google", "qualcomm", "other")

# What people write in place of a code: English names, and codes of three letters of languages that have one of two.
_LANGUAGES = """
    ar arabic ara, bn bengali ben, cs czech ces, da danish dan, de german deu, el greek ell, en english eng,
    es spanish spa, fa persian farsi fas, fi finnish fin, fr french fra, he hebrew heb, hi hindi hin, hu hungarian hun,
    id indonesian ind, it italian ita, ja japanese jpn, km khmer khm, ko korean kor, lo lao, ms malay msa zsm,
    my burmese mya, ne nepali nep, nl dutch nld, no norwegian nor, pl polish pol, pt portuguese por, ro romanian ron,
    ru russian rus, sr serbian srp, sv swedish swe, sw swahili swa, ta tamil tam, te telugu tel, th thai tha,
    tl tagalog tgl, tr turkish tur, uk ukrainian ukr, ur urdu urd, vi vietnamese vie, zh chinese zho
"""
_CODES = {word: words[0] for words in (entry.split() for entry in _LANGUAGES.split(",")) for word in words[1:] if words}


@dataclass(frozen=True, slots=True)
class Money:
    """An amount in a currency.

    Args:
        amount: Of it.
        currency: ISO 4217 code: ``EUR``.
    """

    amount: float
    currency: str


def _nothing(_value: str) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Field:
    """One name of a need.

    Args:
        field: Of `undercroft.planning.needs.Need`; ``budget`` stands for the two of money.
        read: Value → what it means; None where it is not understood.
        expected: In words, with an example.
        may_be_any: ``any`` asks for nothing.
        nearest: Value that was not understood → what may have been meant, as the end of a sentence; empty for nothing.
    """

    field: str
    read: Callable[[str], Any]
    expected: str
    may_be_any: bool = False
    nearest: Callable[[str], str] = _nothing


def _number(value: str, units: dict[str, float]) -> float | None:
    """A number above 0 with its unit; spaces and capitals do not matter."""
    match = _NUMBER.fullmatch(_joined(value))
    if match is None or match[2] not in units:
        return None
    number = float(match[1]) * units[match[2]]
    return number if 0 < number <= _MOST else None


def _joined(value: str) -> str:
    return "".join(value.lower().split())


def _count(units: dict[str, float]) -> Callable[[str], int | None]:
    def read(value: str) -> int | None:
        number = _number(value, units)
        return None if number is None or number < 1 else int(number)

    return read


def _amount(units: dict[str, float]) -> Callable[[str], float | None]:
    return lambda value: _number(value, units)


def _money(value: str) -> Money | None:
    match = _MONEY.fullmatch(_joined(value))
    if match is None or (match["before"] and match["after"]):
        return None
    amount = float(match["number"]) * (1e3 if match["thousands"] else 1.0)
    written = match["before"] or match["after"] or "usd"
    return Money(amount, _SYMBOLS.get(written, written.upper())) if 0 < amount <= _MOST else None


def _languages(value: str) -> tuple[str, ...] | None:
    found = [_LANGUAGE.fullmatch(code) for code in _split(value)]
    codes = [match[1] for match in found if match is not None and match[0] not in _CODES]
    return tuple(dict.fromkeys(codes)) if codes and len(codes) == len(found) else None


def _nearest_languages(value: str) -> str:
    wrong = [code for code in _split(value) if not _LANGUAGE.fullmatch(code) or code in _CODES]
    near = [match[0] for code in wrong if (match := difflib.get_close_matches(code, _CODES, n=1, cutoff=0.7))]
    return f"; nearest is {';'.join(_CODES[name] for name in near)!r}" if near else ""


def _split(value: str) -> list[str]:
    return [code for code in re.split(r"[;\s+/|]+", value.lower()) if code]


def _one_of(names: tuple[str, ...]) -> Callable[[str], str | None]:
    return lambda value: value.lower() if value.lower() in names else None


def _nearest_of(names: Iterable[str]) -> Callable[[str], str]:
    def nearest(value: str) -> str:
        near = difflib.get_close_matches(value.lower(), names, n=1, cutoff=0.6)
        return f"; nearest is {near[0]!r}" if near else ""

    return nearest


def _choice(field: str, names: tuple[str, ...], *, may_be_any: bool = False) -> Field:
    return Field(field, _one_of(names), f"one of {', '.join(names)}", may_be_any, _nearest_of(names))


_PLAIN = {"": 1.0}
_RATE = _PLAIN | dict.fromkeys(("t", "tps", "tokens"), 1.0)
_TIMES = _PLAIN | dict.fromkeys(("s", "sec", "second", "seconds"), 1.0) | {"ms": 1e-3}
_PEOPLE = {"": 1.0, "k": 1e3, "m": 1e6}
_TOKENS = {"": 1.0, "k": 1024.0, "m": 1024.0**2, "tokens": 1.0, "ktokens": 1024.0}
FIELDS: dict[str, Field] = {
    "users": Field("users", _count(_PEOPLE), "a count, such as 20"),
    "ttft": Field("first_token_seconds", _amount(_TIMES), "a time, such as 1s or 500ms", may_be_any=True),
    "tps": Field("tokens_per_second", _amount(_RATE), "tokens a second for each user, such as 15", may_be_any=True),
    "languages": Field(
        "languages", _languages, "language codes separated by ';', such as th;ar", nearest=_nearest_languages
    ),
    "licence": _choice("purpose", PURPOSES),
    "budget": Field(
        "budget", _money, "dollars, such as 3000USD, or another currency, such as 2500EUR", may_be_any=True
    ),
    "context": Field("context_tokens", _count(_TOKENS), "tokens, such as 8k"),
    "prompt": Field("prompt_tokens", _count(_TOKENS), "tokens, such as 1k"),
    "answer": Field("answer_tokens", _count(_TOKENS), "tokens, such as 256"),
    "task": _choice("task", _TASKS),
    "power": Field("power_watts", _amount({"": 1.0, "w": 1.0, "kw": 1e3}), "watts, such as 300W", may_be_any=True),
    "parameters": Field("parameters", _count({"": 1.0, "b": 1e9, "m": 1e6}), "a count, such as 7B", may_be_any=True),
    "vendor": _choice("vendor", _VENDORS, may_be_any=True),
    "monthly": Field("monthly_users", _count(_PEOPLE | {"b": 1e9}), "users of a month, such as 20k"),
}
FIELD_ALIASES = {
    "language": "languages",
    "lang": "languages",
    "license": "licence",
    "use": "licence",
    "size": "parameters",
    "watts": "power",
}

"""What somebody needs, as one line of text: ``users=20,ttft=1s,tps=15,languages=th;ar,budget=3000USD``. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

from undercroft.catalog.uses import PURPOSES, Purpose
from undercroft.core.errors import InvalidError

Task = Literal["chat", "embed", "rerank"]
_TASKS = ("chat", "embed", "rerank")
_NUMBER = re.compile(r"(\d+(?:\.\d+)?)\s*([a-zA-Z%]*)")


@dataclass(frozen=True, slots=True)
class Need:
    """What a plan has to give; what is None does not matter.

    Args:
        users: Who ask at the same time.
        first_token_seconds: Longest wait for the first token when nobody waits before.
        tokens_per_second: Least for each user while all are served.
        languages: ISO 639 codes that the model has to speak.
        purpose: Declared use, for the licence.
        budget_usd: For all machines together.
        context_tokens: Of one request, prompt and answer.
        prompt_tokens: Of a typical request.
        answer_tokens: Of a typical request.
        task: What the model is for.
        power_watts: Most that all machines may take at full load.
        parameters: Least, of the model; a proxy for how able it is.
        vendor: Of the device.
    """

    users: int = 1
    first_token_seconds: float | None = None
    tokens_per_second: float | None = None
    languages: tuple[str, ...] = ()
    purpose: Purpose = "commercial"
    budget_usd: float | None = None
    context_tokens: int = 4096
    prompt_tokens: int = 512
    answer_tokens: int = 256
    task: Task = "chat"
    power_watts: float | None = None
    parameters: int = 0
    vendor: str | None = None


def parse_need(text: str) -> Need:
    """Reads a need.

    Args:
        text: ``name=value``, separated by commas; several languages by ``;``.

    Raises:
        InvalidError: ``bad-need``: all problems at once, with what was expected and the nearest name.
    """
    values: dict[str, Any] = {}
    problems: list[str] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        name = _ALIASES.get(name.lower(), name.lower())
        if not equals or not value:
            problems.append(f"{part[:40]!r}: expected name=value")
        elif name not in _FIELDS:
            near = difflib.get_close_matches(name, [*_FIELDS, *_ALIASES], n=1, cutoff=0.4)
            beside = f"; nearest is {near[0]!r}" if near else f"; known are {', '.join(_FIELDS)}"
            problems.append(f"unknown {name[:40]!r}{beside}")
        else:
            field, read, expected = _FIELDS[name]
            if field in values:
                problems.append(f"{name} is given twice")
            found = read(value)
            if found is None:
                problems.append(f"{name}: expected {expected}, got {value[:40]!r}")
            values[field] = found
    if not values and not problems:
        problems.append("it is empty")
    if not problems:
        problems = _request_problems(values)
    if problems:
        raise InvalidError(
            "bad-need",
            "; ".join(problems),
            hint="undercroft plan --need 'users=20,ttft=1s,tps=15,languages=th;ar,licence=commercial,budget=3000USD'",
        )
    return _within_context(Need(**values))


def _request_problems(values: dict[str, Any]) -> list[str]:
    """A request of given length has to fit into the context."""
    need = Need(**values)
    asked = need.prompt_tokens + need.answer_tokens
    if {"prompt_tokens", "answer_tokens"} & values.keys() and asked > need.context_tokens:
        return [f"prompt and answer take {asked:,} tokens, the context of a request has {need.context_tokens:,}"]
    return []


def _within_context(need: Need) -> Need:
    """Where the context is below a typical request, what is asked is as long as it allows, two thirds of it prompt."""
    if need.prompt_tokens + need.answer_tokens <= need.context_tokens:
        return need
    prompt = max(1, need.context_tokens * 2 // 3)
    return replace(need, prompt_tokens=prompt, answer_tokens=max(1, need.context_tokens - prompt))


def _number(value: str, units: dict[str, float]) -> float | None:
    match = _NUMBER.fullmatch(value)
    if match is None or match[2].lower() not in units:
        return None
    return float(match[1]) * units[match[2].lower()]


def _positive(number: float | None) -> float | None:
    return number if number is not None and number > 0 else None


def _count(units: dict[str, float]) -> Callable[[str], int | None]:
    def read(value: str) -> int | None:
        number = _positive(_number(value, units))
        return None if number is None or number < 1 or number > 1e15 else int(number)

    return read


def _amount(units: dict[str, float]) -> Callable[[str], float | None]:
    return lambda value: _positive(_number(value, units))


def _languages(value: str) -> tuple[str, ...] | None:
    codes = tuple(code.strip().lower() for code in value.split(";") if code.strip())
    return codes if codes and all(re.fullmatch(r"[a-z]{2,3}", code) for code in codes) else None


def _one_of(names: tuple[str, ...]) -> Callable[[str], str | None]:
    return lambda value: value.lower() if value.lower() in names else None


_PLAIN = {"": 1.0}
_THOUSANDS = {"": 1.0, "k": 1024.0, "m": 1024.0**2}
_VENDORS = ("nvidia", "amd", "intel", "habana", "apple", "google", "qualcomm", "other")
_FIELDS: dict[str, tuple[str, Callable[[str], Any], str]] = {
    "users": ("users", _count({"": 1.0, "k": 1e3}), "a count, such as 20"),
    "ttft": ("first_token_seconds", _amount({"": 1.0, "s": 1.0, "ms": 1e-3}), "a time, such as 1s or 500ms"),
    "tps": ("tokens_per_second", _amount(_PLAIN), "tokens a second for each user, such as 15"),
    "languages": ("languages", _languages, "language codes separated by ';', such as th;ar"),
    "licence": ("purpose", _one_of(PURPOSES), f"one of {', '.join(PURPOSES)}"),
    "budget": ("budget_usd", _amount({"": 1.0, "usd": 1.0, "kusd": 1e3, "k": 1e3}), "dollars, such as 3000USD"),
    "context": ("context_tokens", _count(_THOUSANDS), "tokens, such as 8k"),
    "prompt": ("prompt_tokens", _count(_THOUSANDS), "tokens, such as 1k"),
    "answer": ("answer_tokens", _count(_THOUSANDS), "tokens, such as 256"),
    "task": ("task", _one_of(_TASKS), f"one of {', '.join(_TASKS)}"),
    "power": ("power_watts", _amount({"": 1.0, "w": 1.0, "kw": 1e3}), "watts, such as 300W"),
    "parameters": ("parameters", _count({"": 1.0, "b": 1e9, "m": 1e6}), "a count, such as 7B"),
    "vendor": ("vendor", _one_of(_VENDORS), f"one of {', '.join(_VENDORS)}"),
}
_ALIASES = {"language": "languages", "license": "licence", "use": "licence", "size": "parameters", "watts": "power"}

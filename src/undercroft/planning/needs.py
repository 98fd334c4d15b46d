"""What somebody needs, as one line of text: ``users=20,ttft=1s,tps=15,languages=th;ar,budget=3000USD``. Pure.

What the line leaves open is filled in with what a chat has to give to be of use, and `assumed_in` says with what:
``any`` in its place asks for nothing.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Container, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from undercroft.catalog.uses import Purpose
from undercroft.core.errors import InvalidError
from undercroft.planning.assumptions import Assumptions
from undercroft.planning.need_values import FIELD_ALIASES, FIELDS, Money

Task = Literal["chat", "embed", "rerank", "encode"]

# What is asked of a chat where nothing is said. People read about 238 words a minute (Brysbaert 2019), at 1.3 tokens a
# word 5 a second; after 10 s their thoughts are elsewhere (Nielsen 1993); below a billion parameters a model follows
# instructions too rarely for a general chat (IFEval: SmolLM2 135M 30 %, 360M 41 %, 1.7B 57 %, their model cards).
LEAST_OF_A_CHAT: dict[str, tuple[str, float, str]] = {
    "tps": ("tokens_per_second", 5.0, "as fast as people read"),
    "ttft": ("first_token_seconds", 10.0, "people turn to something else after that"),
    "parameters": ("parameters", 1e9, "below, a model follows few instructions unless it was tuned for them"),
}
# What an encoder reads at once where nothing is said; most were made for no more.
_PASSAGE_TOKENS = 512
_EXAMPLE = "undercroft plan --need 'users=20,ttft=1s,tps=15,languages=th;ar,licence=commercial,budget=3000USD'"
# A comma, semicolon or space before the next name.
_SEPARATOR = re.compile(r"[,;\s]\s*(?=[^\W\d][\w-]*\s*=)|,")


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
        monthly_users: Of all products with it, for the licence; never below ``users``.
        budget_other: For all machines together, in a currency that is not the dollar; see `in_dollars`.
        assumed: Names of what the line left open and was filled in.
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
    monthly_users: int = 0
    budget_other: Money | None = None
    assumed: tuple[str, ...] = ()


def parse_need(text: str) -> Need:
    """Reads a need.

    Args:
        text: ``name=value``, separated by commas; several languages by ``;``.

    Raises:
        InvalidError: ``bad-need``: all problems at once, with what was expected and the nearest name.
    """
    values: dict[str, Any] = {}
    problems: list[str] = []
    for part in _parts(text):
        _read(part, values, problems)
    if not values and not problems:
        problems.append("it is empty")
    need = _completed({name: value for name, value in values.items() if value is not None}, values)
    problems += _contradictions(need, values)
    if problems:
        raise InvalidError("bad-need", "; ".join(problems), hint=_EXAMPLE)
    return _within_context(need)


def assumed_in(need: Need) -> list[tuple[str, str, str]]:
    """What was filled in: name, value and why, for a reader who may want to change it."""
    rows = []
    for name in need.assumed:
        field, value, why = LEAST_OF_A_CHAT[name]
        shown = f"{value / 1e9:g}B" if field == "parameters" else f"{value:g}s" if name == "ttft" else f"{value:g}"
        rows.append((name, shown, why))
    return rows


def in_dollars(need: Need, assumed: Assumptions) -> Need:
    """The need with its budget in dollars.

    Args:
        need: As read.
        assumed: Their currency and the price of a dollar in it.

    Raises:
        InvalidError: ``unknown-currency``: the budget is in one whose price nobody said.
    """
    budget = need.budget_other
    if budget is None:
        return need
    if budget.currency != assumed.currency:
        raise InvalidError(
            "unknown-currency",
            f"the budget is in {budget.currency}, the prices are in USD and costs in {assumed.currency}; "
            f"expected the price of a dollar in {budget.currency}",
            hint=f"--assume currency={budget.currency} --assume dollar-rate=…",
        )
    return replace(need, budget_usd=budget.amount / assumed.dollar_rate, budget_other=None)


def _parts(text: str) -> list[str]:
    """The needs of a line. What has no name goes on with the languages before it: ``languages=th,ar,tps=5``."""
    parts: list[str] = []
    for part in filter(None, (part.strip(" \t\r\n,;") for part in _SEPARATOR.split(text))):
        before = parts[-1].partition("=")[0].strip().lower() if parts else ""
        if "=" not in part and FIELD_ALIASES.get(before, before) == "languages":
            parts[-1] += f";{part}"
        else:
            parts.append(part)
    return parts


def _read(part: str, values: dict[str, Any], problems: list[str]) -> None:
    """One ``name=value``."""
    name, equals, value = (piece.strip() for piece in part.partition("="))
    name = FIELD_ALIASES.get(name.lower(), name.lower())
    if not equals or not value:
        comma = "; write numbers without commas" if re.match(r"\d", part) else ""
        problems.append(f"{part[:40]!r}: expected name=value{comma}")
    elif name not in FIELDS:
        near = difflib.get_close_matches(name, [*FIELDS, *FIELD_ALIASES], n=1, cutoff=0.4)
        beside = f"; nearest is {near[0]!r}" if near else f"; known are {', '.join(FIELDS)}"
        problems.append(f"unknown {name[:40]!r}{beside}")
    else:
        known = FIELDS[name]
        if known.field in values:
            problems.append(f"{name} is given twice")
        found = None if value.lower() == "any" and known.may_be_any else known.read(value)
        if found is None and not (value.lower() == "any" and known.may_be_any):
            problems.append(f"{name}: expected {known.expected}, got {value[:40]!r}{known.nearest(value)}")
        values[known.field] = found


def _completed(values: dict[str, Any], named: Container[str]) -> Need:
    """With what a chat has to give at least, and what an encoder reads."""
    values = dict(values)
    budget: Money | None = values.pop("budget", None)
    if budget is not None and budget.currency == "USD":
        values["budget_usd"] = budget.amount
    else:
        values["budget_other"] = budget
    if values.get("task", "chat") != "chat":
        values.setdefault("context_tokens", max(_PASSAGE_TOKENS, values.get("prompt_tokens", 0)))
        return Need(**values)
    assumed = tuple(name for name, (field, _, _) in LEAST_OF_A_CHAT.items() if field not in named)
    for name in assumed:
        field, least, _ = LEAST_OF_A_CHAT[name]
        values[field] = int(least) if field == "parameters" else least
    return Need(**values, assumed=assumed)


def _contradictions(need: Need, values: Mapping[str, Any]) -> list[str]:
    """What was asked for together and cannot be."""
    lengths = {"context_tokens", "prompt_tokens", "answer_tokens"} & values.keys()
    if need.task != "chat":
        unused = {"tps": "tokens_per_second", "answer": "answer_tokens"}
        asked = [name for name, field in unused.items() if values.get(field) is not None]
        problems = [f"{name}: nothing is generated for task={need.task}; leave it out" for name in asked]
        if (
            all(values[name] for name in lengths)
            and need.prompt_tokens > need.context_tokens
            and "prompt_tokens" in lengths
        ):
            problems.append(f"the prompt takes {need.prompt_tokens:,} tokens, the context has {need.context_tokens:,}")
        return problems
    asked_tokens = need.prompt_tokens + need.answer_tokens
    if all(values[name] for name in lengths) and lengths - {"context_tokens"} and asked_tokens > need.context_tokens:
        room = f"the context of a request has {need.context_tokens:,}"
        return [f"prompt and answer take {asked_tokens:,} tokens, {room}"]
    return []


def _within_context(need: Need) -> Need:
    """Where the context is below a typical request, what is asked is as long as it allows, two thirds of it prompt."""
    if need.task != "chat":
        return replace(need, prompt_tokens=min(need.prompt_tokens, need.context_tokens))
    if need.prompt_tokens + need.answer_tokens <= need.context_tokens:
        return need
    prompt = max(1, need.context_tokens * 2 // 3)
    return replace(need, prompt_tokens=prompt, answer_tokens=max(1, need.context_tokens - prompt))

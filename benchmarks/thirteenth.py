"""A thirteenth intent for the starter, `loyalty_points`: what is learnt, and what is asked before and after.

The phrasings are in ``loyalty_points.yaml``; greetings, urgency, order ids and what stands around a request come from
the grammar that the starter was trained with. Of the phrasings of the twelve that were held out of its training, every
second one is in the questions that it rehearses, as a user's own old tickets would be, and the others are asked.
"""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from tools.starter.answers import answer
from tools.starter.grammar import INTENTS as INTENTS
from tools.starter.grammar import Grammar, Lists, Summary, load_all
from tools.starter.phrases import Sequence, parse
from tools.starter.tickets import Ticket, TicketSource

from undercroft.optimize.evaluation.tasks import TaskSet, load_tasks

INTENT = "loyalty_points"
_PHRASES = Path(__file__).with_name("loyalty_points.yaml")
_ANSWER_TOKENS = 96


def grammars() -> dict[str, Grammar]:
    """Those of the starter, with the new intent in each language; nothing of ``train`` was learnt by the starter."""
    added = yaml.safe_load(_PHRASES.read_text(encoding="utf-8"))
    found = {}
    for code, grammar in load_all().items():
        raw = added[code]
        lists = {split: tuple(parse(text) for text in raw[split]) for split in ("train", "held_out")}
        known = {name: _halved(own["held_out"]) for name, own in grammar.intents.items()}
        found[code] = replace(
            grammar,
            intents={**known, INTENT: lists},
            summaries={**grammar.summaries, INTENT: Summary(**raw["summary"])},
        )
    return found


def _halved(phrasings: tuple[Sequence, ...]) -> Lists:
    return {"train": phrasings[::2], "held_out": phrasings[1::2]}


def write_conversations(path: Path, count: int, seed: int) -> None:
    """Examples of the new intent, spread over the languages, as OpenAI's fine-tuning takes them."""
    known = grammars()
    lines = [
        {"messages": [_user(ticket), {"role": "assistant", "content": answer(ticket, known)}]}
        for ticket in _drawn(known, "train", [INTENT], count, seed)
    ]
    _write(path, lines)


def write_questions(path: Path, count: int, seed: int) -> None:
    """Tickets of the twelve intents, without answers, of phrasings that are not asked afterwards."""
    _write(path, [{"messages": [_user(ticket)]} for ticket in _drawn(grammars(), "train", INTENTS, count, seed)])


def write_tasks(path: Path, intents: tuple[str, ...], count: int, seed: int) -> TaskSet:
    """Tickets of phrasings that nobody has learnt, with their answers; what counts is the intent."""
    lines = [
        {
            "prompt": ticket.text,
            "language": ticket.language,
            "max_tokens": _ANSWER_TOKENS,
            "checks": [{"kind": "exact", "at": "intent", "text": ticket.intent}],
        }
        for ticket in _drawn(grammars(), "held_out", intents, count, seed)
    ]
    _write(path, lines)
    return load_tasks(path)


def _drawn(known: dict[str, Grammar], split: Any, intents: Any, count: int, seed: int) -> list[Ticket]:
    chance = random.Random(seed)
    source = TicketSource(known, split=split)
    cells = [(code, intent) for intent in intents for code in known]
    return [source.ticket(chance, *cells[number % len(cells)]) for number in range(count)]


def _user(ticket: Ticket) -> dict[str, str]:
    return {"role": "user", "content": ticket.text}


def _write(path: Path, lines: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")

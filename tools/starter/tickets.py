"""Put tickets together from a grammar, each with the answer it should get."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field
from typing import Literal

from tools.starter import identifiers, slots
from tools.starter.augment import ID_MARK, add_noise
from tools.starter.grammar import INTENTS, Grammar, Split
from tools.starter.phrases import ID_SLOT, Sequence, can_hold, draw, weight

_SLOT = re.compile(r"\{(product|when|name|amount|phone|number|date|n)\}")
_STOPS = ".!?…。！？؟,،，;；:：\n"
_GLUE = {
    "en": (". ", ". ", ". ", ", ", "\n", " - ", "! ", " "),
    "ms": (". ", ". ", ". ", ", ", "\n", " - ", "! ", " "),
    "vi": (". ", ". ", ". ", ", ", "\n", " - ", "! ", " "),
    "ar": (". ", ". ", "، ", "، ", "\n", " - ", "! ", " "),
    "th": (" ", " ", " ", " ", "\n", ", "),
    "zh": ("，", "，", "。", "。", "\n", " ", "！"),
}


@dataclass(frozen=True)
class Ticket:
    """A customer's message and its right answer. ``id_start`` is the id's first character in ``text``, -1 for none."""

    language: str
    intent: str
    urgency: str
    order_id: str | None
    text: str
    id_start: int = -1


@dataclass(frozen=True)
class TicketSource:
    """Draws tickets of one split.

    Attributes:
        grammars: Language code to grammar.
        split: Which phrasings, openings, cues, names and products are used.
        id_formats: ``seen`` or ``unseen`` order id formats.
        has_noise: Whether typing errors and the like are added.
        id_ratio: Share of the tickets that hold an order id.
        bare_ratio: Share of the tickets without greeting, closing and neutral sentences: short ones teach the intent.
        crossing_ratio: Share of the tickets whose request begins like one phrasing and ends like another of the same
            intent, so that no phrasing is learnt as a whole.
        weights: Language code to how often it is drawn beside others; 1 where it is not named.
    """

    grammars: dict[str, Grammar]
    split: Split = "train"
    id_formats: Literal["seen", "unseen"] = "seen"
    has_noise: bool = False
    id_ratio: float = 0.65
    bare_ratio: float = 0.0
    crossing_ratio: float = 0.0
    weights: dict[str, float] = field(default_factory=dict)

    def ticket(self, rng: random.Random, language: str | None = None, intent: str | None = None) -> Ticket:
        """Draw one ticket, of a given language and intent or of random ones."""
        if language is None or intent is None:
            cells = [(code, name) for code in self.grammars for name in INTENTS]
            language, intent = rng.choices(cells, [self.weights.get(code, 1.0) for code, _ in cells])[0]
        urgency = rng.choices(("low", "normal", "high"), (0.22, 0.48, 0.30))[0]
        has_id = rng.random() < self.id_ratio
        text = self._arrange(rng, language, self._parts(rng, language, intent, urgency, has_id))
        if self.has_noise:
            text = add_noise(text, rng, language)
        order_id = self._order_id(rng, language) if has_id else None
        if order_id is None:
            return Ticket(language, intent, urgency, None, text)
        text = _hash_before_id(text, rng)
        start = text.index(ID_MARK)
        return Ticket(language, intent, urgency, order_id, text.replace(ID_MARK, order_id), start)

    def _order_id(self, rng: random.Random, language: str) -> str:
        return identifiers.seen_id(rng, language) if self.id_formats == "seen" else identifiers.unseen_id(rng)

    def _parts(
        self, rng: random.Random, language: str, intent: str, urgency: str, has_id: bool
    ) -> dict[str, list[str]]:
        grammar = self.grammars[language]
        phrasings = grammar.intents[intent][self.split]
        is_id_inside = has_id and rng.random() < 0.5 and any(can_hold(phrase, ids=1) for phrase in phrasings)
        core = [self._phrase(rng, grammar, phrasings, int(is_id_inside))]
        if not is_id_inside and rng.random() < self.crossing_ratio:
            core = [_cross(core[0], self._phrase(rng, grammar, phrasings, 0), rng)]
        if rng.random() < (0.12 if self.split == "train" else 0.0):
            core.append(self._phrase(rng, grammar, phrasings, 0))
        parts = {"core": core, "opening": [], "closing": [], "extra": []}
        if has_id and not is_id_inside:
            parts["extra"].append(self._phrase(rng, grammar, grammar.lists["id_sentences"][self.split], 1))
        if urgency != "normal":
            parts["extra"].append(self._phrase(rng, grammar, grammar.urgency[urgency][self.split], 0))
        if rng.random() < (self.bare_ratio if has_id else self.bare_ratio / 2):
            return parts
        is_long = rng.random() < 0.015
        spread = (
            rng.randint(4, 14)
            if is_long
            else rng.choices((0, 1, 2), (0.62, 0.3, 0.08) if has_id else (0.4, 0.4, 0.2))[0]
        )
        for _ in range(spread):
            aside = self._phrase(rng, grammar, grammar.lists["distractors"][self.split], 0)
            parts["extra"].append(slots.with_other_digits(aside, rng) if self._varies(rng) else aside)
        for name, chance in (("opening", 0.4), ("closing", 0.35)):
            if rng.random() < chance:
                parts[name].append(self._phrase(rng, grammar, grammar.lists[f"{name}s"][self.split], 0))
        return parts

    def _varies(self, rng: random.Random) -> bool:
        """Whether the numbers of a neutral sentence are drawn anew; the exam's sentences stay as they are written."""
        return self.split == "train" and self.has_noise and rng.random() < 0.8

    def _phrase(self, rng: random.Random, grammar: Grammar, phrases: tuple[Sequence, ...], ids: int) -> str:
        able = [phrase for phrase in phrases if can_hold(phrase, ids=ids)]
        chosen = rng.choices(able, [weight(phrase) for phrase in able])[0]
        text = draw(chosen, rng, ids=ids).replace(ID_SLOT, ID_MARK)
        return re.sub(" {2,}", " ", _SLOT.sub(lambda match: self._slot(rng, grammar, match[1]), text)).strip()

    def _slot(self, rng: random.Random, grammar: Grammar, name: str) -> str:
        if name == "amount":
            return slots.amount(rng, grammar.language)
        if name == "phone":
            return slots.phone(rng, grammar.language)
        if name == "number":
            return slots.number(rng)
        if name == "date":
            return slots.date(rng, grammar.language)
        if name == "n":
            return slots.count(rng)
        value = draw(rng.choice(grammar.lists["when" if name == "when" else f"{name}s"][self.split]), rng, ids=0)
        if name == "product" and rng.random() < 0.1:
            value = f"{value} {slots.model_number(rng)}"
        return _SLOT.sub(lambda match: self._slot(rng, grammar, match[1]), value)

    def _arrange(self, rng: random.Random, language: str, parts: dict[str, list[str]]) -> str:
        middle = parts["core"] + parts["extra"]
        if rng.random() < 0.6:
            rest = middle[1:]
            rng.shuffle(rest)
            middle = [middle[0], *rest]
        else:
            rng.shuffle(middle)
        glue = rng.choice(_GLUE[language])
        text = ""
        for part in parts["opening"] + middle + parts["closing"]:
            text = _append(text, part, glue if rng.random() < 0.7 else rng.choice(_GLUE[language]), rng)
        return text


def _append(text: str, part: str, glue: str, rng: random.Random) -> str:
    """Add a sentence, with a capital where it starts one more often than not."""
    if text:
        gap = "" if text[-1] in "。！？，" else rng.choice((" ", " ", " ", "\n"))
        text += gap if text[-1] in _STOPS else glue
    starts_sentence = not text or text.rstrip(" ")[-1:] in ".!?\n"
    if starts_sentence and rng.random() < 0.75:
        part = part[:1].upper() + part[1:]
    return text + part


def _cross(first: str, second: str, rng: random.Random) -> str:
    """The beginning of one text and the end of another, cut between words where there are spaces."""
    gap = " " if min(first.count(" "), second.count(" ")) >= 2 else ""
    head, tail = ((text.split(gap) if gap else list(text)) for text in (first, second))
    return gap.join(head[: _cut(len(head), rng)] + tail[_cut(len(tail), rng) :])


def _cut(length: int, rng: random.Random) -> int:
    return max(1, min(length - 1, round(length * rng.uniform(0.3, 0.7))))


def _hash_before_id(text: str, rng: random.Random) -> str:
    """Write ``#`` straight before the id now and then; it is no part of the id."""
    at = text.index(ID_MARK)
    if rng.random() < 0.1 and (at == 0 or text[at - 1] in " \n(:："):
        return text[:at] + "#" + text[at:]
    return text

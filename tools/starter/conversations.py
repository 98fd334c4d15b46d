"""Training samples: tickets inside conversations, as the chat template writes them.

A sample is a list of token ids with a mask that says which of them the model has to learn to write.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field

from tools.starter.answers import answer, summary
from tools.starter.grammar import Grammar
from tools.starter.tickets import Ticket, TicketSource
from tools.starter.tokenizer import TicketTokenizer
from tools.starter.tools import ToolUse, draw_tool_use


@dataclass
class Sample:
    """Token ids and, for each, whether it belongs to an answer."""

    ids: list[int] = field(default_factory=list)
    is_answer: list[bool] = field(default_factory=list)

    def add(self, ids: list[int], *, is_answer: bool = False) -> None:
        """Append tokens."""
        self.ids += ids
        self.is_answer += [is_answer] * len(ids)


@dataclass(frozen=True)
class SystemPrompt:
    """A system prompt and the language it wants the summary in, None where it says nothing about it."""

    text: str
    summary_language: str | None


def held_out_system(texts: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Split a list of system prompts into those trained on and the last one, which is kept for the test."""
    return texts[:-1], texts[-1:]


def draw_system(
    grammars: dict[str, Grammar], rng: random.Random, *, wants_summary: bool, is_held_out: bool = False
) -> SystemPrompt:
    """Draw a system prompt in any language, with or without a wish for the summary's language."""
    grammar = grammars[rng.choice(list(grammars))]
    part = int(is_held_out)
    plain = held_out_system(grammar.systems_plain)[part]
    if not wants_summary:
        chosen = rng.sample(plain, 2 if rng.random() < 0.15 and len(plain) > 1 else 1)
        return SystemPrompt((grammar.join or " ").join(chosen), None)
    target = rng.choice(list(grammars))
    wish = rng.choice(held_out_system(grammar.systems_summary_in[target])[part])
    if rng.random() < 0.5:
        texts = [rng.choice(plain), wish]
        return SystemPrompt((grammar.join or " ").join(texts), target)
    return SystemPrompt(wish, target)


@dataclass(frozen=True)
class ConversationSource:
    """Draws training samples of all kinds; the shares are of all samples."""

    tickets: TicketSource
    tokenizer: TicketTokenizer
    plain_system_ratio: float = 0.10
    summary_system_ratio: float = 0.09
    earlier_turn_ratio: float = 0.05
    tool_ratio: float = 0.02
    split_ratio: float = 0.12
    loss_ratio: float = 0.22

    def sample(self, rng: random.Random) -> Sample:
        """Draw one sample."""
        kind = rng.random()
        sample = Sample()
        sample.add([self.tokenizer.bos])
        if kind < self.tool_ratio:
            self._add_tool_use(sample, rng)
            return sample
        is_long = kind < self.tool_ratio + self.earlier_turn_ratio
        system = self._system(rng)
        if system is not None:
            sample.add([self.tokenizer.system, *self._noisy_text(system.text, rng)])
        language = system.summary_language if system else None
        for _ in range(rng.choice((2, 2, 2, 3)) if is_long else 1):
            ticket = self.tickets.ticket(rng)
            self._add_user(sample, ticket, rng)
            self._add_answer(sample, answer(ticket, self.tickets.grammars, language))
        return sample

    def _system(self, rng: random.Random) -> SystemPrompt | None:
        kind = rng.random()
        if kind >= self.plain_system_ratio + self.summary_system_ratio:
            return None
        return draw_system(self.tickets.grammars, rng, wants_summary=kind < self.summary_system_ratio)

    def _noisy_text(self, text: str, rng: random.Random) -> list[int]:
        ratio = self.split_ratio if rng.random() < 0.5 else 0.0
        return self.tokenizer.encode_noisy(Ticket("", "", "", None, text), rng, split_ratio=ratio, loss_ratio=0.0)

    def _add_user(self, sample: Sample, ticket: Ticket, rng: random.Random) -> None:
        strength = rng.random() if rng.random() < 0.6 else 0.0
        split_ratio, loss_ratio = strength * self.split_ratio, strength * self.loss_ratio
        ids = self.tokenizer.encode_noisy(ticket, rng, split_ratio=split_ratio, loss_ratio=loss_ratio)
        sample.add([self.tokenizer.user, *ids])

    def _add_answer(self, sample: Sample, text: str) -> None:
        sample.add([self.tokenizer.assistant])
        sample.add([*self.tokenizer.encode(text), self.tokenizer.eos], is_answer=True)

    def _add_tool_use(self, sample: Sample, rng: random.Random) -> None:
        ticket = self.tickets.ticket(rng)
        use: ToolUse = draw_tool_use(ticket, summary(ticket, self.tickets.grammars), rng)
        system = self._system(rng)
        text = f"{system.text}\n\n{use.system}" if system and system.summary_language is None else use.system
        sample.add([self.tokenizer.system, *self.tokenizer.encode(text)])
        self._add_user(sample, ticket, rng)
        self._add_answer(sample, use.call)
        if rng.random() < 0.35:
            result = json.dumps(use.result, ensure_ascii=False)
            sample.add([self.tokenizer.user, *self.tokenizer.encode(f"<tool_response>\n{result}\n</tool_response>")])
            self._add_answer(sample, answer(ticket, self.tickets.grammars))

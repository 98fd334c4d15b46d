"""The SentencePiece tokenizer and how tickets and conversations become token ids.

It is trained on single lower-case words without their space. So the space, every digit, capital letter and punctuation
mark are always tokens of their own, and an order id has the same tokens after a space, after ``#`` and between quotes:
copying it is copying tokens.
"""

from __future__ import annotations

import random
import re
import string
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import sentencepiece

from tools.starter.answers import ANSWER_PIECES, urgency_piece
from tools.starter.augment import without_diacritics
from tools.starter.grammar import INTENTS, URGENCIES, Grammar
from tools.starter.tickets import Ticket, TicketSource

SYSTEM, USER, ASSISTANT = "<|system|>", "<|user|>", "<|assistant|>"
CONTROL_PIECES = (SYSTEM, USER, ASSISTANT)
TOOL_PIECES = ("<tools>", "</tools>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")
VOCABULARY_SIZE = 4096
_WORD = re.compile(r"(?:[^\W\d_]|[\u0300-\u036f\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u064b-\u0655\u0670])+")
_REQUIRED = string.printable[:94] + "▁٠١٢٣٤٥٦٧٨٩，。！？：；（）、؟،؛฿¥£€–’“”…"
_OFTEN = 25


def _cut(word: str, rng: random.Random) -> list[str]:
    """Cut Thai and Chinese runs at random, so that no whole clause becomes one token."""
    chance = 0.3 if "\u4e00" <= word[0] <= "\u9fff" else 0.12 if "\u0e00" <= word[0] <= "\u0e7f" else 0.0
    pieces = [word[0]]
    for char in word[1:]:
        if rng.random() < chance and not "\u0e30" <= char <= "\u0e3a" and not "\u0e47" <= char <= "\u0e4e":
            pieces.append(char)
        else:
            pieces[-1] += char
    return pieces


def _corpus(grammars: dict[str, Grammar], rng: random.Random) -> Iterable[str]:
    source = TicketSource(grammars, id_ratio=0.0)
    for _ in range(90):
        for code, grammar in grammars.items():
            for intent in INTENTS:
                for ticket in (source.ticket(rng, code, intent) for _ in range(6)):
                    yield without_diacritics(ticket.text) if code == "vi" and rng.random() < 0.1 else ticket.text
            yield from (
                text.replace("{id}", "") for s in grammar.summaries.values() for text in (s.with_id, s.without_id)
            )
            yield from grammar.systems_plain
            yield from (text for texts in grammar.systems_summary_in.values() for text in texts)


def train_tokenizer(grammars: dict[str, Grammar], path: Path, *, seed: int) -> None:
    """Train the tokenizer on the training split and write ``path`` (a ``.model`` file)."""
    rng = random.Random(seed)
    counts: Counter[str] = Counter()
    chars: Counter[str] = Counter()
    for text in _corpus(grammars, rng):
        chars.update(char for char in text if not char.isspace())
        for word in _WORD.findall(text.lower()):
            counts.update(_cut(word, rng))
    kept = {*_REQUIRED, *(char for char, count in chars.items() if count >= _OFTEN)}
    words = Counter({word: count for word, count in counts.items() if kept.issuperset(word)})
    for char in kept:
        words[char] += 1  # with full character coverage below, every kept character becomes a piece
    table = path.with_suffix(".tsv")
    table.write_text("".join(f"{word}\t{count}\n" for word, count in sorted(words.items())), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(table), input_format="tsv", model_prefix=str(path.with_suffix("")), model_type="bpe",
        vocab_size=VOCABULARY_SIZE, byte_fallback=True, split_digits=True, normalization_rule_name="identity",
        add_dummy_prefix=False, remove_extra_whitespaces=False, character_coverage=1.0, max_sentencepiece_length=10,
        control_symbols=",".join(CONTROL_PIECES), num_threads=2, minloglevel=2,
        user_defined_symbols=[*ANSWER_PIECES, *TOOL_PIECES], unk_id=0, bos_id=1, eos_id=2, pad_id=-1,
    )  # fmt: skip
    table.unlink()


class TicketTokenizer:
    """Token ids of tickets, answers and whole conversations, as llama.cpp makes them from the chat template."""

    def __init__(self, path: Path) -> None:
        self.pieces = sentencepiece.SentencePieceProcessor(model_file=str(path))
        self.bos, self.eos = self.pieces.bos_id(), self.pieces.eos_id()
        self.system, self.user, self.assistant = (self.pieces.piece_to_id(piece) for piece in CONTROL_PIECES)

    def token_weights(self, *, intent: float, urgency: float) -> list[float]:
        """How much each token counts in the loss: the two decisions are one token each of some thirty in an answer."""
        weights = [1.0] * VOCABULARY_SIZE
        for piece in INTENTS:
            weights[self.pieces.piece_to_id(piece)] = intent
        for piece in URGENCIES:
            weights[self.pieces.piece_to_id(urgency_piece(piece))] = urgency
        return weights

    def encode(self, text: str) -> list[int]:
        """Token ids of plain text; control pieces in it stay text."""
        return list(self.pieces.encode(text))

    def encode_noisy(self, ticket: Ticket, rng: random.Random, *, split_ratio: float, loss_ratio: float) -> list[int]:
        """Token ids of a ticket with some pieces split up (BPE dropout) or lost; those of the order id stay.

        Args:
            ticket: The ticket.
            rng: Source of chance.
            split_ratio: Chance that a merge of two pieces is left out.
            loss_ratio: Chance that a piece of several characters is left out.
        """
        if ticket.order_id is None:
            return self._noisy(ticket.text, rng, split_ratio, loss_ratio)
        end = ticket.id_start + len(ticket.order_id)
        before = self._noisy(ticket.text[: ticket.id_start], rng, split_ratio, loss_ratio)
        after = self._noisy(ticket.text[end:], rng, split_ratio, loss_ratio)
        return before + self.encode(ticket.order_id) + after

    def _noisy(self, text: str, rng: random.Random, split_ratio: float, loss_ratio: float) -> list[int]:
        if not text:
            return []
        ids = self.pieces.encode(text, enable_sampling=split_ratio > 0, alpha=split_ratio, nbest_size=-1)
        if loss_ratio == 0:
            return list(ids)
        return [one for one in ids if rng.random() >= loss_ratio or len(self.pieces.id_to_piece(one)) < 2]

"""What a model would say next, always its likeliest token: the plainest way to see whether two files are one model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from undercroft.core.errors import InvalidError
from undercroft.optimize.llama_library.process import answers
from undercroft.optimize.measures.reading import Reading, Report, order_for


@dataclass(frozen=True, slots=True)
class Continuation:
    """What followed one text.

    Args:
        prompt: Tokens of the text that was continued, by number, with the mark of its beginning.
        text: As it reads, without special tokens.
        tokens: By number, without the one that ended it.
        log_probabilities: Natural logarithm of what the model gave to each.
        ending: The token that ended it, by number; None where it was cut off.
    """

    prompt: tuple[int, ...]
    text: str
    tokens: tuple[int, ...]
    log_probabilities: tuple[float, ...]
    ending: int | None

    @property
    def has_ended(self) -> bool:
        """Whether the model ended it."""
        return self.ending is not None


@dataclass(frozen=True, slots=True)
class Agreement:
    """Two models over the same texts.

    Args:
        first_differences: For each text the first token that differs, counted from 0; None where none does.
        same_texts: Texts without a difference; count.
    """

    first_differences: tuple[int | None, ...]
    same_texts: int


def continue_greedily(
    model: Path,
    texts: Sequence[str],
    *,
    most_tokens: int,
    adapter: Path | None = None,
    reading: Reading | None = None,
    report: Report | None = None,
) -> tuple[Continuation, ...]:
    """Continues each text by itself, in a process of its own.

    Args:
        model: GGUF file; the first piece of a split model.
        texts: What is continued.
        most_tokens: Longest continuation; tokens, at least 1.
        adapter: LoRA that changes the model; None where there is none.
        reading: Threads, memory and marks count; names of special tokens are understood where it is not given.
        report: Told texts that were continued, and all of them.

    Returns:
        One a text, in their order.

    Raises:
        InvalidError: Texts or the model cannot be used, or a text and its continuation do not fit what the model was
            trained for.
        NotFoundError: There is no such file.
        UnavailableError: Memory is short, or the process died.
    """
    if most_tokens < 1:
        raise InvalidError("no-tokens", f"expected at least 1 token to continue with, got {most_tokens}")
    reading = reading or Reading(has_marks=True)
    found: list[Continuation] = []
    order = order_for("continue", model, texts, reading, adapter=adapter, most_tokens=most_tokens)
    for answer in answers(order):
        if "progress" in answer.header:
            if report is not None:
                report(answer.header["progress"], answer.header["total"])
            continue
        found.append(
            Continuation(
                prompt=tuple(answer.arrays["prompt"].tolist()),
                text=answer.header["continuation"],
                tokens=tuple(answer.arrays["tokens"].tolist()),
                log_probabilities=tuple(answer.arrays["log_probabilities"].tolist()),
                ending=answer.header["ending"],
            )
        )
    return tuple(found)


def agreement(ours: Sequence[Continuation], theirs: Sequence[Continuation]) -> Agreement:
    """Compares the continuations of two models, text by text. Pure.

    Raises:
        InvalidError: They continue different numbers of texts.
    """
    if len(ours) != len(theirs):
        raise InvalidError(
            "texts-differ", f"expected continuations of the same texts, got {len(ours)} and {len(theirs)}"
        )
    first = tuple(_first_difference(one, other) for one, other in zip(ours, theirs, strict=True))
    return Agreement(first, sum(place is None for place in first))


def _first_difference(one: Continuation, other: Continuation) -> int | None:
    for place, (token, its) in enumerate(zip(one.tokens, other.tokens, strict=False)):
        if token != its:
            return place
    if len(one.tokens) != len(other.tokens) or one.has_ended != other.has_ended:
        return min(len(one.tokens), len(other.tokens))
    return None

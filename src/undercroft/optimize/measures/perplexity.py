"""Perplexity: how much a model is surprised by texts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from undercroft.core.errors import InvalidError
from undercroft.optimize.measures.log_probabilities import token_log_probabilities
from undercroft.optimize.measures.reading import Reading, Report


@dataclass(frozen=True, slots=True)
class TextScore:
    """One text.

    Args:
        tokens: Judged tokens; count.
        size_bytes: UTF-8 bytes that they stand for.
        negative_log_likelihood_nats: Sum over these tokens; nats.
    """

    tokens: int
    size_bytes: int
    negative_log_likelihood_nats: float


@dataclass(frozen=True, slots=True)
class Perplexity:
    """A model over texts.

    Args:
        texts: One score a text, in their order, so that models can be compared text by text.
        window_tokens: Tokens that were looked at together.
    """

    texts: tuple[TextScore, ...]
    window_tokens: int

    @property
    def tokens(self) -> int:
        """Judged tokens of all texts."""
        return sum(text.tokens for text in self.texts)

    @property
    def size_bytes(self) -> int:
        """UTF-8 bytes of all judged tokens."""
        return sum(text.size_bytes for text in self.texts)

    @property
    def nats(self) -> float:
        """Negative log-likelihood of all texts."""
        return math.fsum(text.negative_log_likelihood_nats for text in self.texts)

    @property
    def value(self) -> float:
        """Perplexity: e to the power of the mean negative log-likelihood of a token; infinite beyond what fits.

        Models that cut texts into other tokens cannot be compared by it.
        """
        mean = self.nats / self.tokens
        return math.exp(mean) if mean < math.log(1e300) else math.inf

    @property
    def bits_per_byte(self) -> float:
        """Bits that the model would need for a byte of the texts; comparable across tokenizers."""
        return self.nats / math.log(2) / self.size_bytes


def measure_perplexity(
    model: Path,
    texts: Sequence[str],
    reading: Reading | None = None,
    *,
    contexts: Sequence[str] = (),
    report: Report | None = None,
) -> Perplexity:
    """Reads texts with a model, in a process of its own.

    Args:
        model: GGUF file; the first piece of a split model.
        texts: Each is read by itself.
        reading: How; the usual way where it is not given.
        contexts: What stands before each text and is read, not judged, such as the question before an answer; none, or
            one a text.
        report: Told tokens that were read, and all of them.

    Raises:
        InvalidError: Texts or the model cannot be used; ``text-too-short`` where no token can be judged.
        NotFoundError: There is no such file.
        UnavailableError: Memory is short, or the process died.

    Source:
        With ``is_as_llama_perplexity``: ``llama-perplexity``; the first eight windows of 256 tokens of a text gave
        2455.5384 with both.
    """
    found = list(token_log_probabilities(model, texts, reading, contexts=contexts, report=report))
    scores = tuple(
        TextScore(len(one.tokens), one.size_bytes, 0.0 - float(one.log_probabilities.sum())) for one in found
    )
    check_judged(sum(score.tokens for score in scores), found[0].window_tokens, reading or Reading())
    return Perplexity(scores, found[0].window_tokens)


def check_judged(tokens: int, window_tokens: int, reading: Reading) -> None:
    """Whether there was anything to judge. Pure.

    Raises:
        InvalidError: ``text-too-short``.
    """
    if tokens:
        return
    needed = f"{window_tokens} tokens, a whole window," if reading.is_as_llama_perplexity else "2 tokens"
    raise InvalidError(
        "text-too-short", f"no text is long enough to be judged: one of {needed} is needed", hint="give longer texts"
    )

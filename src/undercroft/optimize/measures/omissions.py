"""What a model loses when a part of it is left out, seen before the part is cut away."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from undercroft.optimize.llama_library.process import answers
from undercroft.optimize.measures.reading import Muted, Reading, Report, order_for


@dataclass(frozen=True, slots=True)
class Omission:
    """A model without a part of it, against the whole.

    Args:
        divergence_nats: Mean Kullback-Leibler divergence from the whole; nats a token.
        perplexity: Without the part.
        whole_perplexity: With it, over the same tokens.
        tokens: Judged; count.
    """

    divergence_nats: float
    perplexity: float
    whole_perplexity: float
    tokens: int


def measure_omissions(
    model: Path,
    texts: Sequence[str],
    variations: Sequence[Muted],
    reading: Reading | None = None,
    *,
    most_tokens: int = 0,
    report: Report | None = None,
) -> tuple[Omission, ...]:
    """Reads texts with the whole model and with each variation of it; the model is loaded once and never changed.

    Args:
        model: GGUF file.
        texts: The user's own.
        variations: What is left out, each by itself: name of a weight → columns of its inputs, from 0.
        reading: How; the usual way where it is not given.
        most_tokens: To read, in windows that are spread evenly over the texts; 0 is all of them.
        report: Told windows that were read with a variation, and all of them.

    Returns:
        One a variation, in their order.

    Raises:
        InvalidError: Texts or the model cannot be used, or it has no such weight.
        NotFoundError: There is no such file.
        UnavailableError: Memory is short, or the process died.
    """
    order = order_for("omit", model, texts, reading or Reading(), variations=variations, most_tokens=most_tokens)
    found = []
    for answer in answers(order):
        header = answer.header
        if "progress" in header:
            if report is not None:
                report(header["progress"], header["total"])
            continue
        tokens = header["tokens"]
        own, whole = (_perplexity(header[name] / tokens) for name in ("surprise", "parent_surprise"))
        found.append(Omission(header["divergence"] / tokens, own, whole, tokens))
    return tuple(found)


def _perplexity(mean_nats: float) -> float:
    return math.exp(mean_nats) if mean_nats < math.log(1e300) else math.inf

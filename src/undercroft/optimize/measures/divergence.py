"""How far a model has moved from its parent: Kullback-Leibler divergence, token by token over the same texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from undercroft.optimize.llama_library.process import answers
from undercroft.optimize.measures.perplexity import Perplexity, TextScore, check_judged
from undercroft.optimize.measures.reading import Muted, Reading, Report, order_for


@dataclass(frozen=True, slots=True)
class TextDivergence:
    """One text.

    Args:
        divergence_nats: Sum of the divergences of its tokens; nats.
        same_top_tokens: Tokens before which both models expect the same one most; count.
    """

    divergence_nats: float
    same_top_tokens: int


@dataclass(frozen=True, slots=True)
class Divergence:
    """A model against its parent. Divergences are nats a token, of the model from its parent, over the vocabulary.

    Args:
        texts: One a text, in their order.
        model: The model's own perplexity.
        parent: Its parent's, over the same tokens.
        mean_nats: Mean divergence.
        median_nats: Half of the tokens have less.
        percentile_99_nats: 99 % of the tokens have less.
        maximum_nats: The token with most.
        same_top_ratio: Share of tokens before which both expect the same one most; 0 to 1.
    """

    texts: tuple[TextDivergence, ...]
    model: Perplexity
    parent: Perplexity
    mean_nats: float
    median_nats: float
    percentile_99_nats: float
    maximum_nats: float
    same_top_ratio: float


def measure_divergence(
    model: Path,
    parent: Path,
    texts: Sequence[str],
    reading: Reading | None = None,
    *,
    contexts: Sequence[str] = (),
    parent_muted: Muted | None = None,
    report: Report | None = None,
) -> Divergence:
    """Reads texts with a model and its parent, both loaded in one process of its own.

    Logits are kept for one piece of a window at a time, at most 64 MiB a model (32 tokens where the vocabulary is
    larger than 524,288); of each token one number is kept.

    Args:
        model: GGUF file; the first piece of a split model.
        parent: What it was made of.
        texts: Each is read by itself.
        reading: How; the usual way where it is not given.
        contexts: What stands before each text and is read, not judged, such as the question before an answer; none, or
            one a text.
        parent_muted: Compute the parent as if these inputs of its weights were zero.
        report: Told tokens that were read, and all of them.

    Raises:
        InvalidError: Texts or a model cannot be used; ``other-vocabulary`` where they share no tokens.
        NotFoundError: There is no such file.
        UnavailableError: Memory is short, or the process died.
    """
    reading = reading or Reading()
    own, parents, moved, each = [], [], [], []
    window_tokens = 0
    order = order_for("score", model, texts, reading, parent=parent, contexts=contexts, parent_muted=parent_muted)
    for answer in answers(order):
        if "progress" in answer.header:
            if report is not None:
                report(answer.header["progress"], answer.header["total"])
            continue
        window_tokens = answer.header["window_tokens"]
        judged = len(answer.arrays.get("tokens", ()))
        if not judged:
            own.append(TextScore(0, 0, 0.0))
            parents.append(TextScore(0, 0, 0.0))
            moved.append(TextDivergence(0.0, 0))
            continue
        size = answer.header["bytes"]
        own.append(TextScore(judged, size, -float(answer.arrays["log_probabilities"].sum())))
        parents.append(TextScore(judged, size, -float(answer.arrays["parent_log_probabilities"].sum())))
        same = int(answer.arrays["is_same_top"].sum())
        moved.append(TextDivergence(float(answer.arrays["divergences"].sum()), same))
        each.append(answer.arrays["divergences"].astype(np.float32))
    tokens = sum(score.tokens for score in own)
    check_judged(tokens, window_tokens, reading)
    all_divergences = np.concatenate(each)
    median, percentile_99 = np.quantile(all_divergences, (0.5, 0.99))
    return Divergence(
        texts=tuple(moved),
        model=Perplexity(tuple(own), window_tokens),
        parent=Perplexity(tuple(parents), window_tokens),
        mean_nats=sum(text.divergence_nats for text in moved) / tokens,
        median_nats=float(median),
        percentile_99_nats=float(percentile_99),
        maximum_nats=float(all_divergences.max()),
        same_top_ratio=sum(text.same_top_tokens for text in moved) / tokens,
    )

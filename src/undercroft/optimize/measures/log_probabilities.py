"""What a model gave to each token of a text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from undercroft.optimize.llama_library.process import answers
from undercroft.optimize.measures.reading import Reading, Report, order_for

_NO_TOKENS = np.empty(0, np.int32)
_NO_VALUES = np.empty(0, np.float64)
_NO_ANSWERS = np.empty(0, np.bool_)


@dataclass(frozen=True, slots=True)
class TokenLogProbabilities:
    """One text, token by token.

    Args:
        tokens: Those that were judged, by number; shape ``(tokens,)``.
        log_probabilities: Natural logarithm of what the model gave to each; shape ``(tokens,)``.
        is_likeliest: Whether the model gave more to no other token; shape ``(tokens,)``.
        size_bytes: UTF-8 bytes that these tokens stand for.
        window_tokens: Tokens that were looked at together.
    """

    tokens: NDArray[np.int32]
    log_probabilities: NDArray[np.float64]
    is_likeliest: NDArray[np.bool_]
    size_bytes: int
    window_tokens: int


def token_log_probabilities(
    model: Path,
    texts: Sequence[str],
    reading: Reading | None = None,
    *,
    adapter: Path | None = None,
    contexts: Sequence[str] = (),
    report: Report | None = None,
) -> Iterator[TokenLogProbabilities]:
    """Reads texts with a model, in a process of its own.

    A model that wants a mark of a text's beginning has its first token judged, too; with others the first token has
    nothing before it and is left out.

    Args:
        model: GGUF file; the first piece of a split model.
        texts: Each is read by itself.
        reading: How; the usual way where it is not given.
        adapter: LoRA that changes the model; None where there is none.
        contexts: What stands before each text and is read, not judged, such as the question before an answer; none, or
            one a text.
        report: Told tokens that were read, and all of them.

    Yields:
        One for each text, in their order; without tokens where a text has none that can be judged.

    Raises:
        InvalidError: Texts or the model cannot be used; ``not-generative`` for a model of embeddings.
        NotFoundError: There is no such file.
        UnavailableError: Memory is short, or the process died.
    """
    for answer in answers(order_for("score", model, texts, reading or Reading(), adapter=adapter, contexts=contexts)):
        if "progress" in answer.header:
            if report is not None:
                report(answer.header["progress"], answer.header["total"])
            continue
        yield TokenLogProbabilities(
            tokens=answer.arrays.get("tokens", _NO_TOKENS),
            log_probabilities=answer.arrays.get("log_probabilities", _NO_VALUES),
            is_likeliest=answer.arrays.get("is_likeliest", _NO_ANSWERS),
            size_bytes=answer.header["bytes"],
            window_tokens=answer.header["window_tokens"],
        )

"""How a vocabulary splits texts into tokens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from undercroft.optimize.llama_library.process import answers
from undercroft.optimize.measures.reading import Reading, order_for


def split_texts(model: Path, texts: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """The tokens of each text by number, without marks of beginning and end; names of special tokens are plain text.

    Args:
        model: GGUF file; its weights are not needed.
        texts: What is split.

    Raises:
        InvalidError: Texts or the file cannot be used.
        UnavailableError: Memory is short, or the process died.
    """
    order = order_for("split", model, texts, Reading())
    return tuple(tuple(answer.arrays["tokens"].tolist()) for answer in answers(order))

"""How texts are read by every measure, and which texts can be read at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from undercroft.core.errors import InvalidError
from undercroft.hardware.processors import compute_threads
from undercroft.optimize.llama_library.orders import Operation, Order
from undercroft.optimize.llama_library.windows import WindowRule

Report = Callable[[int, int], None]
Muted = Mapping[str, Sequence[int]]  # name of a weight → columns of its inputs that are taken as zero
_MOST_TEXT_BYTES = 2**30


@dataclass(frozen=True, slots=True)
class Reading:
    """How texts are read.

    Args:
        window_tokens: Most tokens that a model sees together; None is 512, or the context that it was trained for where
            that is shorter.
        is_as_llama_perplexity: Windows as llama.cpp's own tool cuts them, for figures that can be compared with its
            own: the first half of each window is context only, and a rest shorter than a window is not read. Otherwise
            every token is judged once, with at least half a window before it wherever the text has that much.
        has_marks: Names of special tokens in the texts, such as ``<|im_start|>``, stand for these tokens.
        threads: Processors to use; None is what an engine would use.
        memory_limit_bytes: Most private memory of the process that computes; None is no limit.

    Raises:
        InvalidError: The window is too short, or there is no thread.
    """

    window_tokens: int | None = None
    is_as_llama_perplexity: bool = False
    has_marks: bool = False
    threads: int | None = None
    memory_limit_bytes: int | None = None

    def __post_init__(self) -> None:
        if self.window_tokens is not None:
            WindowRule(self.window_tokens)
        if self.threads is not None and self.threads < 1:
            raise InvalidError("no-threads", f"expected at least 1 thread, got {self.threads}")


def order_for(
    operation: Operation,
    model: Path,
    texts: Sequence[str],
    reading: Reading,
    *,
    adapter: Path | None = None,
    parent: Path | None = None,
    contexts: Sequence[str] = (),
    most_tokens: int = 0,
    variations: Sequence[Muted] = (),
    parent_muted: Muted | None = None,
    rounds: int = 1,
) -> Order:
    """What the worker is asked to do.

    Args:
        operation: Which measure.
        model: GGUF file.
        texts: The user's own.
        reading: How they are read.
        adapter: LoRA that changes the model; None where there is none.
        parent: Model to compare with.
        contexts: What stands before each text, read and not judged; none, or one a text.
        most_tokens: Longest continuation; for what is left out most tokens to read, 0 all.
        variations: What is left out, each by itself.
        parent_muted: What is left out of the parent.
        rounds: Times that models are timed.

    Raises:
        InvalidError: There is no text, one is empty, one is larger than 1 GiB, or contexts do not belong to them.
    """
    check_texts(texts)
    if contexts and len(contexts) != len(texts):
        raise InvalidError(
            "contexts-differ", f"expected no context or one for each of {len(texts)} texts, got {len(contexts)}"
        )
    return Order(
        operation=operation,
        model=str(model.absolute()),
        texts=list(texts),
        threads=reading.threads or compute_threads(),
        contexts=list(contexts),
        adapter=None if adapter is None else str(adapter.absolute()),
        parent=None if parent is None else str(parent.absolute()),
        window_tokens=reading.window_tokens,
        is_as_llama_perplexity=reading.is_as_llama_perplexity,
        has_marks=reading.has_marks,
        most_tokens=most_tokens,
        variations=[_listed(variation) for variation in variations],
        parent_muted=_listed(parent_muted or {}),
        rounds=rounds,
        memory_limit_bytes=reading.memory_limit_bytes,
    )


def _listed(muted: Muted) -> dict[str, list[int]]:
    return {name: list(columns) for name, columns in muted.items()}


def check_texts(texts: Sequence[str]) -> None:
    """Whether there is something to read. Pure.

    Raises:
        InvalidError: There is no text, one is empty, or one is larger than 1 GiB.
    """
    if not texts:
        raise InvalidError("no-texts", "expected at least one text, got none", hint="give texts of your own")
    for number, text in enumerate(texts, start=1):
        if not text.strip():
            raise InvalidError(
                "empty-text", f"text {number} of {len(texts)} is empty", hint="leave out texts without words"
            )
        if len(text) > _MOST_TEXT_BYTES:
            raise InvalidError(
                "text-too-long",
                f"text {number} of {len(texts)} has {len(text):,} characters, more than {_MOST_TEXT_BYTES:,}",
                hint="split it",
            )

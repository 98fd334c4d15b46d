"""What the worker is asked to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Operation = Literal["score", "continue", "collect", "split", "omit", "time"]


@dataclass(frozen=True, slots=True)
class Order:
    """One piece of work; a worker does one and ends.

    Args:
        operation: ``score``: log-probabilities of texts, and against a parent. ``continue``: the likeliest
            continuations of texts. ``collect``: what reaches the weights while texts are read. ``split``: the tokens of
            texts, for which a file needs no weights. ``omit``: how far a model moves when inputs of its weights are
            left out. ``time``: how fast models read and write.
        model: Path of the GGUF file.
        texts: What is read.
        threads: Processors to use; count.
        contexts: What stands before each text and is read, not judged; empty where nothing does.
        adapter: Path of a LoRA that changes the model while it is scored; None where there is none.
        parent: Path of the model to compare with; None where there is none.
        window_tokens: Most tokens that are looked at together; None is 512, or the context that the models were
            trained for where that is shorter.
        is_as_llama_perplexity: See `undercroft.optimize.llama_library.windows.WindowRule`.
        has_marks: Names of special tokens in the texts stand for these tokens.
        most_tokens: Longest continuation; for ``omit`` most tokens to read, in windows spread evenly, 0 all.
        readable: Files and folders that the worker may read.
        devices: Files that it may write to.
        memory_limit_bytes: Most private memory; None is no limit.
        variations: Each by itself is left out: name of a weight → columns of its inputs, from 0.
        parent_muted: Left out of the parent: name of a weight → columns of its inputs.
        rounds: Times that each model is timed.
    """

    operation: Operation
    model: str
    texts: list[str]
    threads: int
    contexts: list[str] = field(default_factory=list)
    adapter: str | None = None
    parent: str | None = None
    window_tokens: int | None = None
    is_as_llama_perplexity: bool = False
    has_marks: bool = False
    most_tokens: int = 0
    readable: list[str] = field(default_factory=list)
    devices: list[str] = field(default_factory=list)
    memory_limit_bytes: int | None = None
    variations: list[dict[str, list[int]]] = field(default_factory=list)
    parent_muted: dict[str, list[int]] = field(default_factory=dict)
    rounds: int = 1

    def header(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)


def order_of(header: Mapping[str, Any]) -> Order:
    """The other way round."""
    return Order(**header)

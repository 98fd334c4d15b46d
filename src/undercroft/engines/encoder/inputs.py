"""What is computed: texts, pairs of texts, token ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Input = str | tuple[str, str] | list[int]


@dataclass(frozen=True, slots=True)
class Tokens:
    """One input, split.

    Args:
        ids: Token ids, special ones among them.
        types: Of each, which of two texts it belongs to: 0 or 1.
    """

    ids: Sequence[int]
    types: Sequence[int]


class TooLongError(Exception):
    """An input has more tokens than the model takes.

    Args:
        tokens: That it has.
        limit: That the model takes.
    """

    def __init__(self, tokens: int, limit: int) -> None:
        super().__init__(f"{tokens} tokens, the model takes {limit}")
        self.tokens = tokens
        self.limit = limit

"""A program that generates, read as `compare` of ``conversion/programs/expecting.py`` reads."""

from __future__ import annotations

from typing import Any


class OnDevice:
    """What was made, by the very code that a device runs.

    Args:
        network: Of ``run_edge.py``.
    """

    def __init__(self, network: Any) -> None:
        self._network, self._at = network, 0

    def begin(self, most_tokens: int) -> None:
        self._at = 0

    def read(self, tokens: list[int]) -> list[float]:
        self._at += len(tokens)
        found: list[float] = self._network.logits(tokens, self._at - len(tokens))
        return found

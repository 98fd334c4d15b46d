"""Log probabilities of ``/v1/completions`` in the form that OpenAI documents; llama.cpp answers in the chat form."""

from __future__ import annotations

from typing import Any


def legacy_logprobs(found: dict[str, Any] | None, *, offset: int, wanted: int) -> tuple[dict[str, Any] | None, int]:
    """Turns the chat form into the older one.

    Args:
        found: ``{"content": [{"token", "logprob", "top_logprobs"}]}`` or None.
        offset: Characters of the answer before this piece.
        wanted: How many likeliest tokens the client asked for; 0 is the chosen ones only.

    Returns:
        ``{"tokens", "token_logprobs", "top_logprobs", "text_offset"}``, and the offset after this piece.
    """
    if found is None or not found.get("content"):
        return None, offset
    tokens, offsets = [], []
    for entry in found["content"]:
        tokens.append(entry["token"])
        offsets.append(offset)
        offset += len(entry["token"])
    tops = [
        {top["token"]: top["logprob"] for top in [*entry.get("top_logprobs", [])[:wanted], entry]}
        for entry in found["content"]
    ]
    return {
        "tokens": tokens,
        "token_logprobs": [entry["logprob"] for entry in found["content"]],
        "top_logprobs": tops if wanted else None,
        "text_offset": offsets,
    }, offset


class LegacyChoices:
    """Rewrites the choices of one answer, whole or in pieces."""

    def __init__(self, wanted: int) -> None:
        self._wanted = wanted
        self._offsets: dict[int, int] = {}

    def rewrite(self, answer: dict[str, Any]) -> None:
        """Changes ``answer`` in place."""
        for choice in answer.get("choices", []):
            index = choice["index"]
            choice["logprobs"], self._offsets[index] = legacy_logprobs(
                choice.get("logprobs"), offset=self._offsets.get(index, 0), wanted=self._wanted
            )

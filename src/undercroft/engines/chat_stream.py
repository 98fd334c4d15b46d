"""An answer that comes as a stream of server-sent events, as OpenAI's API sends it: read whole, and timed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

_DATA = b"data: "
_END = b"data: [DONE]"


class StreamRefusedError(Exception):
    """An error came in the stream.

    Args:
        content: Its JSON, as it came.
    """

    def __init__(self, content: bytes) -> None:
        super().__init__(content.decode(errors="replace"))
        self.content = content


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back.

    Args:
        text: The whole answer.
        first_token_seconds: From sending to the first piece of text; None where no text came.
        total_seconds: From sending to the end.
        prompt_tokens: As the engine counted; None where it did not tell.
        answer_tokens: As the engine counted; None where it did not tell.
    """

    text: str
    first_token_seconds: float | None
    total_seconds: float
    prompt_tokens: int | None
    answer_tokens: int | None

    @property
    def tokens_per_second(self) -> float | None:
        """Speed after the first token; None where there are not two, or it is not known."""
        if self.answer_tokens is None or self.answer_tokens < 2 or self.first_token_seconds is None:
            return None
        seconds = self.total_seconds - self.first_token_seconds
        return (self.answer_tokens - 1) / seconds if seconds > 0 else None


def read_chat_stream(lines: Iterable[bytes], began: float, clock: Callable[[], float] = time.monotonic) -> Answer:
    """The answer of all events together, of a conversation or of a text that was gone on with.

    Args:
        lines: Of the response's body, as they come.
        began: When the question was sent, as the clock tells it.
        clock: Seconds that only go up.

    Raises:
        StreamRefusedError: An event is an error.
        ValueError: An event is not JSON.
    """
    pieces: list[str] = []
    first: float | None = None
    usage: dict[str, Any] = {}
    for line in lines:
        if not line.startswith(_DATA) or line.startswith(_END):
            continue
        event = json.loads(line[len(_DATA) :])
        if "error" in event:
            raise StreamRefusedError(line[len(_DATA) :])
        usage = event.get("usage") or usage
        for choice in event.get("choices", ()):
            piece = choice.get("delta", {}).get("content") or choice.get("text") or ""
            if piece and first is None:
                first = clock() - began
            pieces.append(piece)
    return Answer("".join(pieces), first, clock() - began, usage.get("prompt_tokens"), usage.get("completion_tokens"))

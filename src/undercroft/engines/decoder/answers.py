"""How answers are told: OpenAI's chat completions and completions, whole or as a stream of events. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from undercroft.engines.decoder.spoken import Spoken

Piece = Callable[[int], str]


@dataclass(slots=True)
class Said:
    """One answer as it comes.

    Args:
        spoken: Makes a text of its tokens.
        texts: Pieces of the text so far.
        tokens: That were computed; count.
        finish: Why it ended; None while it has not.
        places: What is told of the probabilities of its tokens.
    """

    spoken: Spoken
    texts: list[str] = field(default_factory=list)
    tokens: int = 0
    finish: str | None = None
    places: list[Mapping[str, Any]] = field(default_factory=list)

    def take(self, event: Mapping[str, Any]) -> str:
        """What one more token adds to the text."""
        self.tokens += 1
        is_word = event["end"] != "stop"  # the token that ends an answer says nothing
        new = self.spoken.add(event["token"]) if is_word else ""
        if event["end"] is not None:
            new += self.spoken.end()
        if event["logprob"] is not None and is_word:
            self.places.append(event)
        if self.spoken.is_stopped:
            self.finish = "stop"
        elif event["end"] is not None:
            self.finish = event["end"]
        self.texts.append(new)
        return new


@dataclass(frozen=True, slots=True)
class Envelope:
    """What all parts of one answer have in common.

    Args:
        identity: Of the answer.
        created: Seconds since the epoch.
        model: What the answer calls the model.
        is_chat: Whether it answers a conversation.
        piece: Text of one token, for what is told of probabilities.
    """

    identity: str
    created: int
    model: str
    is_chat: bool
    piece: Piece

    def whole(self, answers: Sequence[Said], prompt_tokens: int) -> dict[str, Any]:
        """The whole answer."""
        choices: list[dict[str, Any]] = []
        for index, one in enumerate(answers):
            text = "".join(one.texts)
            shown: dict[str, Any] = {"message": {"role": "assistant", "content": text}} if self.is_chat else {}
            if not self.is_chat:
                shown["text"] = text
            logprobs = self._logprobs(one.places, 0)
            choices.append({"index": index, **shown, "logprobs": logprobs, "finish_reason": one.finish})
        kind = "chat.completion" if self.is_chat else "text_completion"
        return {**self._head(kind), "choices": choices, "usage": usage(answers, prompt_tokens)}

    def opening(self, index: int) -> dict[str, Any] | None:
        """The event with which an answer of a conversation begins."""
        return self._event(index, {"role": "assistant", "content": ""}, None, None) if self.is_chat else None

    def part(self, index: int, text: str, places: Sequence[Mapping[str, Any]], begin: int) -> dict[str, Any]:
        """An event with a piece of text.

        Args:
            index: Which answer.
            text: The piece.
            places: What is told of its tokens.
            begin: Characters of the answer before it.
        """
        return self._event(index, {"content": text} if self.is_chat else text, None, self._logprobs(places, begin))

    def closing(self, index: int, finish: str | None) -> dict[str, Any]:
        """The event with which an answer ends."""
        return self._event(index, {} if self.is_chat else "", finish, None)

    def counts(self, answers: Sequence[Said], prompt_tokens: int) -> dict[str, Any]:
        """The event that tells what it took."""
        return {**self._head(self._kind), "choices": [], "usage": usage(answers, prompt_tokens)}

    def _event(self, index: int, said: Any, finish: str | None, logprobs: Any) -> dict[str, Any]:
        shown = {"delta": said} if self.is_chat else {"text": said}
        choice = {"index": index, **shown, "logprobs": logprobs, "finish_reason": finish}
        return {**self._head(self._kind), "choices": [choice]}

    @property
    def _kind(self) -> str:
        return "chat.completion.chunk" if self.is_chat else "text_completion"

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.identity, "object": kind, "created": self.created, "model": self.model}

    def _logprobs(self, places: Sequence[Mapping[str, Any]], begin: int) -> dict[str, Any] | None:
        if not places:
            return None
        if self.is_chat:
            content = [
                {**self._told(one["token"], one["logprob"]), "top_logprobs": [self._told(*pair) for pair in one["top"]]}
                for one in places
            ]
            return {"content": content, "refusal": None}
        pieces, offsets = [self.piece(one["token"]) for one in places], []
        for piece in pieces:
            offsets.append(begin)
            begin += len(piece)
        return {
            "tokens": pieces,
            "token_logprobs": [one["logprob"] for one in places],
            "top_logprobs": [{self.piece(token): nats for token, nats in one["top"]} for one in places],
            "text_offset": offsets,
        }

    def _told(self, token: int, nats: float) -> dict[str, Any]:
        piece = self.piece(token)
        is_text = "\N{REPLACEMENT CHARACTER}" not in piece  # else it is a part of a character
        return {"token": piece, "logprob": nats, "bytes": list(piece.encode()) if is_text else None}


def usage(answers: Sequence[Said], prompt_tokens: int) -> dict[str, int]:
    """Tokens of a prompt count once, whatever the number of its answers."""
    completion = sum(one.tokens for one in answers)
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion,
        "total_tokens": prompt_tokens + completion,
    }

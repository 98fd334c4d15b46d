"""Conversations as token ids: the engine itself puts the model's template around them and cuts them, as it serves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from undercroft.core.errors import InvalidError, UnavailableError
from undercroft.core.settings import EngineSettings
from undercroft.engines import wire
from undercroft.optimize.evaluation.replica import Setup, running
from undercroft.optimize.quantization.source import Source
from undercroft.optimize.training.conversations import Conversation, Turn
from undercroft.optimize.training.sequences import TokenSequence
from undercroft.registry.inspection.gguf import read_gguf

_TIMEOUT_SECONDS = 600.0
_ARRAY_HEAD_BYTES = 16  # type, type of items, count
_CONTROL = 3  # a kind of tokens, as llama.cpp numbers it
# What cannot stand in a template by chance.
_MARK = "qzANSWERqz"


class Renderer:
    """Asks an engine how it reads conversations.

    Args:
        endpoint: Of an engine that runs the model.
        model: Its file.
    """

    def __init__(self, endpoint: wire.Endpoint, model: Path) -> None:
        self._endpoint, self._model = endpoint, model
        self._ending: int | None = None

    @property
    def ending(self) -> int:
        """The token that ends an answer: what the template puts behind one, else the end of text.

        Raises:
            InvalidError: ``no-ending``: the model has neither.
        """
        if self._ending is None:
            self._ending = self._find_ending()
        return self._ending

    def sequences(self, conversation: Conversation) -> list[TokenSequence]:
        """A conversation with the answers that are learnt, each behind the prompt that the engine would be given.

        Where a later prompt begins with all that was said before, as most templates have it, both are one sequence.

        Args:
            conversation: At least one answer of it is learnt.

        Raises:
            InvalidError: The template refuses it.
        """
        found: list[TokenSequence] = []
        for number, turn in enumerate(conversation.turns):
            if turn.is_learnt:
                one = self._answered(conversation.turns[:number], turn, conversation.line)
                if found and one.tokens[: len(found[-1].tokens)] == found[-1].tokens:
                    earlier = found.pop().judged
                    one = TokenSequence(one.tokens, (*earlier, *one.judged[len(earlier) :]))
                found.append(one)
        return found

    def text(self, conversation: Conversation) -> tuple[str, tuple[int, ...]]:
        """The last answer that is learnt behind its prompt, as a text with names of special tokens, and its tokens."""
        number = max(place for place, turn in enumerate(conversation.turns) if turn.is_learnt)
        before = [turn.to_message() for turn in conversation.turns[:number]]
        text = self._prompt(before, conversation.line) + conversation.turns[number].content
        return text, self.tokens(text)

    def _answered(self, before: Sequence[Turn], answer: Turn, line: int) -> TokenSequence:
        prompt = self._prompt([turn.to_message() for turn in before], line)
        asked, whole = self.tokens(prompt), self.tokens(prompt + answer.content)
        pairs = zip(asked, whole, strict=False)
        # The last tokens of a prompt may have grown together with the answer's first.
        shared = next((place for place, (one, other) in enumerate(pairs) if one != other), len(asked))
        tokens = (*whole, self.ending)
        return TokenSequence(tokens, tuple(place >= shared for place in range(len(tokens))))

    def _find_ending(self) -> int:
        turns = [("user", "a"), ("assistant", _MARK), ("user", "b")]
        text = self._prompt([{"role": role, "content": content} for role, content in turns], 0)
        after = self.tokens(text.partition(_MARK)[2], is_beginning=False)
        if after and _is_control(self._model, after[0]):
            return after[0]
        found = read_gguf(self._model, self._model.name, with_tokens=False).integer("tokenizer.ggml.eos_token_id")
        if found is None:
            raise InvalidError("no-ending", f"{self._model.name} has no token that ends an answer")
        return found

    def _prompt(self, messages: list[dict[str, str]], line: int) -> str:
        answer = self._post("/apply-template", {"messages": messages})
        if answer.status == 200:
            return str(answer.json()["prompt"])
        raise InvalidError(
            "template-refuses",
            f"line {line}: the model's chat template refuses it: {answer.message()}",
            hint="give the roles that it knows, in the order that it wants",
        )

    def tokens(self, text: str, *, is_beginning: bool = True) -> tuple[int, ...]:
        """The tokens of a text; names of special tokens stand for these.

        Args:
            text: Any text.
            is_beginning: With the mark of a text's beginning, where the model wants one.

        Raises:
            UnavailableError: The engine does not answer.
        """
        answer = self._post("/tokenize", {"content": text, "add_special": is_beginning, "parse_special": True})
        if answer.status != 200:
            raise UnavailableError("engine-refused", f"the engine cannot cut a text: {answer.message()}")
        return tuple(answer.json()["tokens"])

    def _post(self, path: str, body: dict[str, Any]) -> wire.Answer:
        return wire.request(self._endpoint, "POST", path, body, timeout_seconds=_TIMEOUT_SECONDS)


@contextmanager
def rendering(model: Path, settings: EngineSettings) -> Iterator[tuple[Renderer, wire.Endpoint]]:
    """An engine that reads conversations inside the block, and where it answers.

    Args:
        model: GGUF file.
        settings: How engines are run.

    Raises:
        UnavailableError: It does not load.
    """
    header = read_gguf(model, model.name, with_tokens=False)
    context = header.integer(f"{header.text('general.architecture')}.context_length") or 4096
    with running(model, Setup(min(context, 4096), slots=1), settings) as replica:
        yield Renderer(replica.endpoint, model), replica.endpoint


def render_all(
    renderer: Renderer, conversations: Sequence[Conversation], report: Callable[[int, int], None]
) -> list[list[TokenSequence]]:
    """The sequences of each conversation, in order.

    Args:
        renderer: Of the model.
        conversations: All.
        report: Told how many are done, and all.
    """
    found = []
    for number, conversation in enumerate(conversations, 1):
        found.append(renderer.sequences(conversation))
        report(number, len(conversations))
    return found


def _is_control(model: Path, token: int) -> bool:
    """Whether a vocabulary has a token for its mark alone, and not as text."""
    with Source(model) as source:
        raw = next((key.raw for key in source.keys if key.name == "tokenizer.ggml.token_type"), b"")
    kinds = np.frombuffer(raw, "<i4", offset=_ARRAY_HEAD_BYTES) if raw else np.empty(0, np.int32)
    return token < len(kinds) and int(kinds[token]) == _CONTROL

"""What a model learns from is token by token what the engine would give it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import undercroft
from undercroft.core.errors import InvalidError
from undercroft.core.settings import EngineSettings
from undercroft.engines import wire
from undercroft.optimize.training.conversations import Conversation, Turn
from undercroft.optimize.training.lessons import Material, prepare_lessons, training_file, validation_file
from undercroft.optimize.training.programs.packing import Sequences
from undercroft.optimize.training.rendering import Renderer, rendering

STARTER = Path(undercroft.__file__).parent / "starter" / "ticket-pilot.gguf"
_END = 2


@pytest.fixture(scope="module")
def asked() -> Iterator[tuple[Renderer, wire.Endpoint]]:
    """The starter, running."""
    with rendering(STARTER, EngineSettings()) as found:
        yield found


def dialogue(*texts: str) -> Conversation:
    """Question, answer, question …"""
    roles = ("user", "assistant")
    return Conversation(1, tuple(Turn(roles[n % 2], text, is_learnt=n % 2 == 1) for n, text in enumerate(texts)))


def test_the_prompt_is_the_one_that_is_served(asked: tuple[Renderer, wire.Endpoint]) -> None:
    """As many tokens stand before the answer as the engine counts for the same conversation, and only the answer with
    its end is judged."""
    renderer, endpoint = asked
    turns = (Turn("system", "Be kind."), Turn("user", "Where is <s> my order?"), Turn("assistant", "Here.", True))
    (found,) = renderer.sequences(Conversation(1, turns))
    body = {"messages": [turn.to_message() for turn in turns[:-1]], "max_tokens": 1}
    served = wire.request(endpoint, "POST", "/v1/chat/completions", body, timeout_seconds=60.0).json()
    assert found.judged.index(True) == served["usage"]["prompt_tokens"]
    assert all(found.judged[found.judged.index(True) :])
    assert found.tokens[-1] == renderer.ending == _END


def test_a_dialogue_is_one_sequence(asked: tuple[Renderer, wire.Endpoint]) -> None:
    """Every answer is judged once, each with the token that ends it, and no question is."""
    renderer, _ = asked
    (found,) = renderer.sequences(dialogue("one?", "first", "two?", "second"))
    judged = [token for token, mark in zip(found.tokens, found.judged, strict=True) if mark]
    (first,) = renderer.sequences(dialogue("one?", "first"))
    (second,) = renderer.sequences(dialogue("one?", "second"))
    parts = [[t for t, mark in zip(one.tokens, one.judged, strict=True) if mark] for one in (first, second)]
    assert judged == [*parts[0], *parts[1]]


def test_lessons_are_written_once(tmp_path: Path) -> None:
    """What was written is taken as it is by the next run; what is measured lies apart."""
    lines = [dialogue(f"question {number}?", f"answer {number}") for number in range(10)]
    material = Material(lines, None, 0.2, [], tmp_path / "chat.jsonl")
    first = prepare_lessons(
        STARTER, material, tmp_path, EngineSettings(), context_tokens=1024, seed=1, report=lambda progress: None
    )
    assert (first.sequences, first.validation_sequences) == (8, 2)
    written = Sequences.load(str(training_file(tmp_path)))
    assert len(written.tokens) == first.tokens
    assert validation_file(tmp_path) is not None
    again = prepare_lessons(
        tmp_path / "gone.gguf", material, tmp_path, EngineSettings(), context_tokens=1, seed=2, report=lambda p: None
    )
    assert again == first


def test_new_lines_are_read_more_often_than_rehearsed_ones(tmp_path: Path) -> None:
    """As often as is asked for, and what is measured once."""
    lines = [dialogue(f"question {number}?", f"answer {number}") for number in range(4)]
    questions = [Conversation(number, (Turn("user", f"Where is my order {number}?"),)) for number in range(6)]
    material = Material(lines, None, 0.2, questions, tmp_path / "chat.jsonl", repeat=3)
    found = prepare_lessons(
        STARTER, material, tmp_path, EngineSettings(), context_tokens=1024, seed=1, report=lambda progress: None
    )
    written = Sequences.load(str(training_file(tmp_path)))
    texts = [
        tuple(written.tokens[begin : begin + length])
        for begin, length in zip(written.begins, written.lengths, strict=True)
    ]
    times = {text: texts.count(text) for text in texts}
    assert {times[text] for text, is_held in zip(texts, written.held, strict=True) if is_held} == {1}
    assert {times[text] for text, is_held in zip(texts, written.held, strict=True) if not is_held} == {3}
    assert len(times) + found.validation_sequences == 10
    assert len(texts) == found.sequences


def test_a_conversation_that_is_too_long_is_named(tmp_path: Path) -> None:
    """With its line, its tokens and what the model reads at most."""
    lines = [dialogue("short?", "yes"), Conversation(7, dialogue("why? " * 30, "so").turns)]
    material = Material(lines, None, 0.0, [], tmp_path / "chat.jsonl")
    with pytest.raises(InvalidError, match=r"line 7: \d+ tokens with its answer, the model reads at most 32"):
        prepare_lessons(
            STARTER, material, tmp_path, EngineSettings(), context_tokens=32, seed=1, report=lambda progress: None
        )

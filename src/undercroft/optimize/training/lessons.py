"""From what a user wrote to what the program reads: split, put into the model's template, cut, written down."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from undercroft.core.errors import InvalidError, UnavailableError
from undercroft.core.files import write_atomically
from undercroft.core.settings import EngineSettings
from undercroft.engines import wire
from undercroft.optimize.json_lines import refusal
from undercroft.optimize.steps import Progress
from undercroft.optimize.training.checking import Trial
from undercroft.optimize.training.conversations import GUIDE, Conversation, Lesson, Preferred, Turn, split_off
from undercroft.optimize.training.rendering import Renderer, rendering
from undercroft.optimize.training.sequences import TokenSequence, write_sequences

_TRIALS, _TRIAL_TOKENS = 8, 512
_REHEARSED_TOKENS = 1024
_TIMEOUT_SECONDS = 600.0
_TRAINING, _VALIDATION, _READY = "training.npz", "validation.npz", "lessons.json"


@dataclass(frozen=True, slots=True)
class Material:
    """What there is to learn from.

    Args:
        lines: Conversations, or preferences.
        validation: Lines that are only measured; None draws a share.
        share: That is drawn where there are none.
        questions: To be rehearsed, each with its turns up to an answer.
        path: Of the file, for errors.
        repeat: How often each line that is learnt is read while each rehearsed one is read once; count.
    """

    lines: Sequence[Lesson]
    validation: Sequence[Lesson] | None
    share: float
    questions: Sequence[Conversation]
    path: Path
    repeat: int = 1


@dataclass(frozen=True, slots=True)
class Lessons:
    """What was written for the program.

    Args:
        longest_tokens: Of what has to stay in one row.
        sequences: To learn from, each as often as it is read in an epoch; count.
        tokens: Of these; count.
        judged_tokens: That are answers; count.
        validation_sequences: Only measured; count.
        rehearsed: Conversations that the model answered itself; count.
        trials: Texts to compare with, with their tokens.
    """

    longest_tokens: int
    sequences: int
    tokens: int
    judged_tokens: int
    validation_sequences: int
    rehearsed: int
    trials: tuple[Trial, ...]


def prepare_lessons(
    model: Path,
    material: Material,
    folder: Path,
    settings: EngineSettings,
    *,
    context_tokens: int,
    seed: int,
    report: Callable[[Progress], None],
) -> Lessons:
    """Writes what is learnt into a folder; what an earlier run wrote there is taken as it is.

    Args:
        model: GGUF file.
        material: What there is.
        folder: For the files.
        settings: How engines are run.
        context_tokens: That the model was trained for.
        seed: Of what is drawn.
        report: Told how far it is.

    Raises:
        InvalidError: A line is too long, or the template refuses it.
        UnavailableError: The engine does not load or answer.
        OSError: The disk is full.
    """
    if (folder / _READY).exists():
        return _read(json.loads((folder / _READY).read_bytes()))
    with rendering(model, settings) as (renderer, endpoint):
        rehearsed = _rehearse(endpoint, material.questions, report)
        training, validation = _split(material, rehearsed, seed)
        sequences, lines = _rendered(renderer, training, report)
        measured, more = _rendered(renderer, validation, report)
        _check_lengths([*sequences, *measured], [*lines, *more], context_tokens, material.path)
        trials = _trials(renderer, training)
    sequences = _repeated(sequences, material.repeat)
    write_sequences(folder / _TRAINING, sequences)
    if measured:
        write_sequences(folder / _VALIDATION, measured)
    together = 2 if material.lines and isinstance(material.lines[0], Preferred) else 1
    lengths = [len(one.tokens) for one in (*sequences, *measured)]
    lessons = Lessons(
        longest_tokens=max(sum(lengths[begin : begin + together]) for begin in range(0, len(lengths), together)),
        sequences=len(sequences),
        tokens=sum(len(one.tokens) for one in sequences),
        judged_tokens=sum(one.judged_tokens for one in sequences),
        validation_sequences=len(measured),
        rehearsed=len(rehearsed),
        trials=trials,
    )
    write_atomically(folder / _READY, json.dumps(asdict(lessons)).encode())
    return lessons


def training_file(folder: Path) -> Path:
    """What is learnt from."""
    return folder / _TRAINING


def validation_file(folder: Path) -> Path | None:
    """What is measured; None where nothing is."""
    return folder / _VALIDATION if (folder / _VALIDATION).exists() else None


def draw(questions: Sequence[Conversation], count: int, seed: int, path: Path) -> list[Conversation]:
    """As many questions as are wanted. Pure.

    Raises:
        InvalidError: ``too-few-questions``.
    """
    if count > len(questions):
        raise InvalidError(
            "too-few-questions",
            f"{path} has {len(questions):,} questions, {count:,} are to be rehearsed",
            hint=f"--rehearse {len(questions)}, or a file with more",
        )
    return random.Random(seed).sample(list(questions), count)


def _split(material: Material, rehearsed: Sequence[Conversation], seed: int) -> tuple[list[Lesson], list[Lesson]]:
    lines = [*material.lines, *rehearsed]
    if material.validation is not None:
        return lines, list(material.validation)
    return split_off(lines, material.share, seed)


def _rehearse(
    endpoint: wire.Endpoint, questions: Sequence[Conversation], report: Callable[[Progress], None]
) -> list[Conversation]:
    """What the model answers today, greedily; answers that were cut off are left out."""
    found = []
    for number, question in enumerate(questions, 1):
        body = {
            "messages": [turn.to_message() for turn in question.turns],
            "temperature": 0,
            "max_tokens": _REHEARSED_TOKENS,
        }
        answer = wire.request(endpoint, "POST", "/v1/chat/completions", body, timeout_seconds=_TIMEOUT_SECONDS)
        if answer.status != 200:
            raise UnavailableError(
                "engine-refused", f"line {question.line} cannot be rehearsed: the engine answered {answer.message()}"
            )
        choice = answer.json()["choices"][0]
        content = choice["message"].get("content") or ""
        if choice["finish_reason"] == "stop" and content:
            turns = (*question.turns, Turn("assistant", content, is_learnt=True))
            found.append(Conversation(question.line, turns, is_rehearsed=True))
        report(Progress(number, len(questions), "questions", "rehearsing"))
    return found


def _rendered(
    renderer: Renderer, lines: Sequence[Lesson], report: Callable[[Progress], None]
) -> tuple[list[TokenSequence], list[int]]:
    """Sequences, and the line of each."""
    found: list[TokenSequence] = []
    numbers: list[int] = []
    for done, line in enumerate(lines, 1):
        each = line.conversations() if isinstance(line, Preferred) else (line,)
        own = [sequence for conversation in each for sequence in renderer.sequences(conversation)]
        is_held = isinstance(line, Conversation) and line.is_rehearsed
        found += [replace(sequence, is_held=True) for sequence in own] if is_held else own
        numbers += [line.line] * len(own)
        report(Progress(done, len(lines), "conversations", "reading the data"))
    return found, numbers


def _repeated(sequences: Sequence[TokenSequence], times: int) -> list[TokenSequence]:
    """Those that are new so many times in all, those that are held once."""
    return [*sequences, *[one for one in sequences if not one.is_held] * (times - 1)]


def _check_lengths(sequences: Sequence[TokenSequence], lines: Sequence[int], most: int, path: Path) -> None:
    pairs = {line: len(one.tokens) for one, line in zip(sequences, lines, strict=True) if len(one.tokens) > most}
    if pairs:
        problems = [
            f"line {line}: {tokens:,} tokens with its answer, the model reads at most {most:,}"
            for line, tokens in sorted(pairs.items())
        ]
        raise refusal(path, "conversation-too-long", problems, GUIDE)


def _trials(renderer: Renderer, lines: Sequence[Lesson]) -> tuple[Trial, ...]:
    """The shortest lines, which both engines are asked about."""
    conversations = [line.conversations()[0] if isinstance(line, Preferred) else line for line in lines]
    conversations.sort(key=lambda one: sum(len(turn.content) for turn in one.turns))
    found = [Trial(*renderer.text(one)) for one in conversations[:_TRIALS]]
    short = [trial for trial in found if len(trial.tokens) <= _TRIAL_TOKENS]
    return tuple(short or found[:1])


def _read(data: dict[str, Any]) -> Lessons:
    trials = tuple(Trial(one["text"], tuple(one["tokens"])) for one in data.pop("trials"))
    return Lessons(trials=trials, **data)

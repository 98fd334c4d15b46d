"""What a student learns from and is measured by: texts or conversations, as the program and as the engine read them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from undercroft.core.errors import InvalidError
from undercroft.core.files import write_atomically
from undercroft.core.settings import EngineSettings
from undercroft.optimize.evaluation.texts import TextSet, load_texts
from undercroft.optimize.json_lines import json_lines, read_bounded
from undercroft.optimize.pruning.measuring import some_of, split_texts
from undercroft.optimize.steps import Progress
from undercroft.optimize.training.checking import Trial
from undercroft.optimize.training.conversations import (
    Conversation,
    Lesson,
    load_conversations,
    load_questions,
    split_off,
)
from undercroft.optimize.training.rendering import Renderer, rendering
from undercroft.optimize.training.sequences import TokenSequence, write_sequences

VALIDATION_SHARE = 0.2
_WINDOW_TOKENS = 512
_FEWEST_TOKENS = 8
_TRIALS, _TRIAL_TOKENS = 8, 512
_LIMIT_BYTES = 1024**3
_TRAINING, _VALIDATION, _READY = "training.npz", "validation.npz", "material.json"


@dataclass(frozen=True, slots=True)
class Prepared:
    """What was written for the program.

    Args:
        longest_tokens: Of a sequence.
        sequences: To learn from; count.
        judged_tokens: Of these, that are foretold; count.
        validation_sequences: Only measured; count.
        trials: Texts that torch and llama.cpp are compared on.
        measured: Texts that student and teacher are measured by, with names of special tokens.
        is_held_out: Whether nothing is learnt from these.
        left_out: Answers of the teacher that were too long for the student; count.
    """

    longest_tokens: int
    sequences: int
    judged_tokens: int
    validation_sequences: int
    trials: tuple[Trial, ...]
    measured: tuple[str, ...]
    is_held_out: bool
    left_out: int = 0

    def training_file(self, folder: Path) -> Path:
        """What is learnt from."""
        return folder / _TRAINING

    def validation_file(self, folder: Path) -> Path | None:
        """What is measured while it learns; None where nothing is."""
        return folder / _VALIDATION if self.validation_sequences else None


def load_data(path: Path, *, is_asked: bool) -> TextSet | list[Conversation]:
    """The data of a distillation, by what its first line says.

    Args:
        path: Texts, or JSON lines of conversations.
        is_asked: A teacher will answer, so that questions are wanted; answers in the file are left out.

    Raises:
        NotFoundError, UnavailableError: It cannot be read.
        InvalidError: Every bad line with its number, or ``no-questions``.
    """
    if is_asked:
        return load_questions(path)
    return load_conversations(path) if _is_conversations(path) else load_texts(path)


def prepare_material(
    model: Path,
    data: TextSet | Sequence[Conversation],
    folder: Path,
    settings: EngineSettings,
    *,
    context_tokens: int,
    seed: int,
    report: Callable[[Progress], None],
    is_answered: bool = False,
) -> Prepared:
    """Writes what is learnt into a folder; what an earlier run wrote there is taken as it is.

    Args:
        model: GGUF file of the student, whose template and tokens count.
        data: What there is.
        folder: For the files.
        settings: How the engine is run that reads it.
        context_tokens: That the student was trained for.
        seed: Of what is kept apart.
        report: Told how far it is.
        is_answered: A teacher gave the last turns: what is too long with one of these is left out, for nobody wrote it.

    Raises:
        InvalidError: A line is too long, the template refuses it, or too little is left to learn from.
        UnavailableError: The engine does not load or answer.
        OSError: The disk is full.
    """
    if (folder / _READY).exists():
        return _read(json.loads((folder / _READY).read_bytes()))
    left_out = 0
    with rendering(model, settings) as (renderer, _):
        if isinstance(data, TextSet):
            learnt, texts = split_texts(data.texts)
            training = _of_texts(renderer, learnt, context_tokens, report)
            validation = _of_texts(renderer, texts, context_tokens, report) if texts != learnt else []
            trials = [Trial(text, renderer.tokens(text)) for text in sorted(learnt, key=len)[:_TRIALS]]
        else:
            fitting = _fitting(renderer, data, context_tokens) if is_answered else data
            left_out = len(data) - len(fitting)
            lines, kept = split_off(list[Lesson](fitting), VALIDATION_SHARE, seed)
            training = _of_conversations(renderer, lines, context_tokens, report)
            validation = _of_conversations(renderer, kept, context_tokens, report)
            texts = [renderer.text(line)[0] for line in _conversations(kept)]
            shortest = sorted(_conversations(lines), key=lambda one: sum(len(turn.content) for turn in one.turns))
            trials = [Trial(*renderer.text(line)) for line in shortest[:_TRIALS]]
    if not any(one.judged_tokens for one in training):
        raise InvalidError("too-little-data", "nothing is left to learn from", hint="give more data")
    write_sequences(folder / _TRAINING, training)
    if validation:
        write_sequences(folder / _VALIDATION, validation)
    short = tuple(trial for trial in trials if len(trial.tokens) <= _TRIAL_TOKENS) or tuple(trials[:1])
    prepared = Prepared(
        longest_tokens=max(len(one.tokens) for one in (*training, *validation)),
        sequences=len(training),
        judged_tokens=sum(one.judged_tokens for one in training),
        validation_sequences=len(validation),
        trials=short,
        measured=tuple(some_of(texts)),
        is_held_out=bool(validation),
        left_out=left_out,
    )
    write_atomically(folder / _READY, json.dumps(asdict(prepared)).encode())
    return prepared


def _is_conversations(path: Path) -> bool:
    """Whether the first line that is JSON has messages."""
    if path.suffix != ".jsonl":
        return False
    documents = (document for _, document in json_lines(read_bounded(path, _LIMIT_BYTES), []))
    first: Any = next(documents, None)
    return isinstance(first, dict) and "messages" in first


def _of_texts(
    renderer: Renderer, texts: Sequence[str], context_tokens: int, report: Callable[[Progress], None]
) -> list[TokenSequence]:
    """Pieces of at most 512 tokens, of which each token but the first is foretold."""
    found: list[TokenSequence] = []
    most = min(_WINDOW_TOKENS, context_tokens)
    for number, text in enumerate(texts, 1):
        tokens = renderer.tokens(text)
        pieces = [tokens[first : first + most] for first in range(0, len(tokens), most)]
        found += [TokenSequence(piece, (True,) * len(piece)) for piece in pieces if len(piece) >= _FEWEST_TOKENS]
        report(Progress(number, len(texts), "texts", "reading the data"))
    return found


def _fitting(renderer: Renderer, lines: Sequence[Conversation], context_tokens: int) -> list[Conversation]:
    """Those that the student can read whole.

    Raises:
        InvalidError: ``conversation-too-long``: there is none.
    """
    found = [line for line in lines if all(len(one.tokens) <= context_tokens for one in renderer.sequences(line))]
    if not found:
        raise InvalidError(
            "conversation-too-long",
            f"none of {len(lines):,} answers of the teacher fits with its question: the student reads at most "
            f"{context_tokens:,} tokens",
            hint="give fewer with answer_tokens, or shorter questions",
        )
    return found


def _of_conversations(
    renderer: Renderer, lines: Sequence[Lesson], context_tokens: int, report: Callable[[Progress], None]
) -> list[TokenSequence]:
    found: list[TokenSequence] = []
    for number, line in enumerate(_conversations(lines), 1):
        own = renderer.sequences(line)
        if any(len(one.tokens) > context_tokens for one in own):
            raise InvalidError(
                "conversation-too-long",
                f"line {line.line} has {max(len(one.tokens) for one in own):,} tokens with its answer, the student "
                f"reads at most {context_tokens:,}",
                hint="shorten it, or leave it out",
            )
        found += own
        report(Progress(number, len(lines), "conversations", "reading the data"))
    return found


def _conversations(lines: Sequence[Lesson]) -> list[Conversation]:
    return [line for line in lines if isinstance(line, Conversation)]


def _read(data: dict[str, Any]) -> Prepared:
    trials = tuple(Trial(one["text"], tuple(one["tokens"])) for one in data.pop("trials"))
    return Prepared(trials=trials, measured=tuple(data.pop("measured")), **data)

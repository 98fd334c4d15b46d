"""What is learnt from, as people write it: JSON lines of conversations, or of a better and a worse answer."""

from __future__ import annotations

import difflib
import hashlib
import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from undercroft.core.errors import InvalidError
from undercroft.optimize.json_lines import json_lines, read_bounded, refusal

GUIDE = "docs/guide/teach-it.md"
_LIMIT_BYTES = 1024**3
_ROLES = ("system", "developer", "user", "assistant", "tool")
_LINE_FIELDS = frozenset({"messages"})
_QUESTION_FIELDS = frozenset({"messages", "prompt"})
_PAIR_FIELDS = frozenset({"messages", "prompt", "chosen", "rejected"})
_TURN_FIELDS = frozenset({"role", "content", "name", "weight"})


@dataclass(frozen=True, slots=True)
class Turn:
    """One message.

    Args:
        role: Who says it.
        content: What.
        is_learnt: Whether it is what the model is to say.
    """

    role: str
    content: str
    is_learnt: bool = False

    def to_message(self) -> dict[str, str]:
        """As the engine's door takes it."""
        return {"role": self.role, "content": self.content}


@dataclass(frozen=True, slots=True)
class Conversation:
    """One line of a file.

    Args:
        line: Its number, from 1.
        turns: In order; at least one of the assistant is learnt.
        is_rehearsed: The model itself has answered it.
    """

    line: int
    turns: tuple[Turn, ...]
    is_rehearsed: bool = False


@dataclass(frozen=True, slots=True)
class Preferred:
    """One line of a file of preferences: what was asked, with both answers.

    Args:
        line: Its number, from 1.
        turns: Up to the answer.
        chosen: The better answer.
        rejected: The worse one.
    """

    line: int
    turns: tuple[Turn, ...]
    chosen: str
    rejected: str

    def conversations(self) -> tuple[Conversation, Conversation]:
        """With the better answer, and with the worse one."""
        answers = (Turn("assistant", text, is_learnt=True) for text in (self.chosen, self.rejected))
        better, worse = (Conversation(self.line, (*self.turns, answer)) for answer in answers)
        return better, worse


Lesson = Conversation | Preferred
One = TypeVar("One", bound=Lesson)


def load_conversations(path: Path) -> list[Conversation]:
    """The conversations of a file, as OpenAI's fine-tuning takes them: ``{"messages": [{"role", "content"}, …]}``.

    Raises:
        NotFoundError: There is no such file.
        UnavailableError: It cannot be read.
        InvalidError: ``bad-conversations``: every bad line with its number.
    """
    return _loaded(path, _conversation)


def load_preferences(path: Path) -> list[Preferred]:
    """The preferences of a file: ``{"prompt" or "messages", "chosen", "rejected"}``.

    Raises:
        NotFoundError: There is no such file.
        UnavailableError: It cannot be read.
        InvalidError: ``bad-conversations``: every bad line with its number.
    """
    return _loaded(path, _preferred)


def load_questions(path: Path) -> list[Conversation]:
    """Questions without answers: what a file of conversations asks first, or ``{"prompt"}`` a line.

    Raises:
        NotFoundError: There is no such file.
        UnavailableError: It cannot be read.
        InvalidError: ``bad-conversations``: every bad line with its number.
    """
    return _loaded(path, _question)


def split_off(lines: Sequence[Lesson], share: float, seed: int) -> tuple[list[Lesson], list[Lesson]]:
    """Lines to learn from, and lines to measure by; equal lines fall on the same side. Pure.

    Args:
        lines: All.
        share: To measure by; from 0 to below 1. At least one line where it is above 0.
        seed: Another seed measures by others.

    Raises:
        InvalidError: ``too-few-conversations``: nothing would be left to learn from.
    """
    if share == 0:
        return list(lines), []
    drawn = {_drawn(line, seed) for line in lines}
    measured = set(sorted(drawn)[: math.ceil(len(drawn) * share)])
    learnt = [line for line in lines if _drawn(line, seed) not in measured]
    if not learnt:
        raise InvalidError(
            "too-few-conversations",
            f"all {len(lines):,} lines would be measured by, and none learnt from",
            hint="give more lines that differ, or --validation-share 0",
        )
    return learnt, [line for line in lines if _drawn(line, seed) in measured]


def _drawn(line: Lesson, seed: int) -> str:
    """A number that depends on what a line says, not where it stands."""
    said: list[Any] = [seed, [turn.to_message() for turn in line.turns]]
    if isinstance(line, Preferred):
        said += [line.chosen, line.rejected]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def _conversation(line: int, document: Any) -> Conversation:
    if isinstance(document, dict) and "chosen" in document:
        raise ValueError("a better and a worse answer, which method dpo learns from; expected messages")
    fields = _object(document, _LINE_FIELDS, "a line of conversations")
    turns = _turns(fields.get("messages"), "messages")
    if not any(turn.is_learnt for turn in turns):
        raise ValueError("messages: expected an answer of the assistant to learn, found none")
    if turns[0].role == "assistant":
        raise ValueError("messages[1]: expected a question before the first answer")
    return Conversation(line, turns)


def _preferred(line: int, document: Any) -> Preferred:
    fields = _object(document, _PAIR_FIELDS, "a line of preferences")
    if "messages" in fields and not {"chosen", "rejected"} & fields.keys():
        raise ValueError("a conversation, which the other methods learn from; expected chosen and rejected")
    if ("prompt" in fields) == ("messages" in fields):
        raise ValueError("expected prompt or messages, one of them")
    turns = _asked(fields)
    turns = tuple(Turn(turn.role, turn.content) for turn in turns)
    if turns[-1].role == "assistant":
        raise ValueError("expected a question at the end of what was asked, found an answer of the assistant")
    chosen, rejected = (_answer(fields.get(name), name) for name in ("chosen", "rejected"))
    if chosen == rejected:
        raise ValueError("chosen and rejected: expected two answers that differ")
    return Preferred(line, turns, chosen, rejected)


def _question(line: int, document: Any) -> Conversation:
    fields = _object(document, _QUESTION_FIELDS, "a line of questions")
    turns = _asked(fields)
    before = tuple(itertools.takewhile(lambda turn: turn.role != "assistant", turns))
    if not before or before[-1].role == "system":
        raise ValueError("expected a question before the first answer")
    return Conversation(line, before)


def _asked(fields: Mapping[str, Any]) -> tuple[Turn, ...]:
    """What is asked: ``prompt``, a text or a list of messages, or ``messages``."""
    name = "prompt" if "prompt" in fields else "messages"
    asked = fields.get(name)
    if name == "messages" or isinstance(asked, list):
        return _turns(asked, name)
    if not isinstance(asked, str) or not asked:
        raise ValueError(f"prompt: expected a text, got {_shown(asked)}")
    return (Turn("user", asked),)


def _answer(value: Any, name: str) -> str:
    """A text, or one message of the assistant's in a list."""
    if isinstance(value, list) and len(value) == 1:
        (turn,) = _turns(value, name)
        if turn.role != "assistant":
            raise ValueError(f"{name}[1].role: expected 'assistant', got {turn.role!r}")
        return turn.content
    if not isinstance(value, str) or not value:
        raise ValueError(f"{name}: expected an answer, got {_shown(value)}")
    return value


def _turns(value: Any, name: str) -> tuple[Turn, ...]:
    if not isinstance(value, list) or not value:
        raise ValueError(f"{name}: expected a list of messages, got {_shown(value)}")
    return tuple(_turn(message, f"{name}[{number}]") for number, message in enumerate(value, 1))


def _turn(value: Any, place: str) -> Turn:
    if isinstance(value, dict) and "tool_calls" in value:
        raise ValueError(f"{place}.tool_calls: expected an answer in words; calls of tools are not learnt")
    fields = _object(value, _TURN_FIELDS, f"{place}: a message")
    role, weight = fields.get("role"), fields.get("weight", 1)
    if role not in _ROLES:
        raise ValueError(f"{place}.role: expected one of {', '.join(_ROLES)}, got {_shown(role)}")
    if weight not in (0, 1) or isinstance(weight, bool):
        raise ValueError(f"{place}.weight: expected 0 or 1, got {_shown(weight)}")
    content = _content(fields.get("content"), place)
    return Turn(role, content, is_learnt=role == "assistant" and weight == 1)


def _content(value: Any, place: str) -> str:
    """A text, or a list of parts that are text."""
    parts = value if isinstance(value, list) else [{"type": "text", "text": value}]
    texts: list[Any] = [part.get("text") for part in parts if isinstance(part, dict) and part.get("type") == "text"]
    if len(texts) != len(parts) or not all(isinstance(text, str) and text for text in texts):
        raise ValueError(f"{place}.content: expected a text, got {_shown(value)}")
    return "".join(texts)


def _object(value: Any, known: frozenset[str], what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{what}: expected a JSON object, got {_shown(value)}")
    unknown = sorted(set(value) - known)
    if unknown:
        near = difflib.get_close_matches(unknown[0], known, n=1)
        end = f"nearest is {near[0]!r}" if near else f"expected {', '.join(sorted(known))}"
        raise ValueError(f"{what}: there is no field {unknown[0][:40]!r}; {end}")
    return value


def _shown(value: Any) -> str:
    text = "nothing" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _loaded(path: Path, read: Callable[[int, Any], One]) -> list[One]:
    problems: list[str] = []
    found: list[One] = []
    for line, document in json_lines(read_bounded(path, _LIMIT_BYTES), problems):
        try:
            found.append(read(line, document))
        except ValueError as error:
            problems.append(f"line {line}: {error}")
    if not found and not problems:
        problems = ["line 1: expected conversations, the file is empty"]
    if problems:
        raise refusal(path, "bad-conversations", sorted(problems, key=_line_of), GUIDE)
    return found


def _line_of(problem: str) -> int:
    return int(problem.removeprefix("line ").split(":")[0])

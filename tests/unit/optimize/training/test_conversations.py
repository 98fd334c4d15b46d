"""Files of conversations and preferences: what they may say, and what is said of lines that are wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from undercroft.core.errors import InvalidError
from undercroft.optimize.training.conversations import (
    Conversation,
    Turn,
    load_conversations,
    load_preferences,
    load_questions,
    split_off,
)

ASKED = {"role": "user", "content": "hello"}
SAID = {"role": "assistant", "content": "hi"}


def written(path: Path, *lines: Any) -> Path:
    """A file of lines, each JSON or a text as it stands."""
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines), "utf-8")
    return path


def test_a_conversation_is_what_openai_takes(tmp_path: Path) -> None:
    """Parts of text are joined, and an answer of weight 0 is read without being learnt."""
    parts = [{"type": "text", "text": "hel"}, {"type": "text", "text": "lo"}]
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": parts, "name": "Ann"},
        {**SAID, "weight": 0},
        ASKED,
        {**SAID, "weight": 1},
    ]
    (found,) = load_conversations(written(tmp_path / "chat.jsonl", {"messages": messages}))
    assert [turn.content for turn in found.turns] == ["Be brief.", "hello", "hi", "hello", "hi"]
    assert [turn.is_learnt for turn in found.turns] == [False, False, False, False, True]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "line 2: expected one JSON object"),
        ([], "line 2: a line of conversations: expected a JSON object, got []"),
        ({"message": []}, "there is no field 'message'; nearest is 'messages'"),
        ({"messages": []}, "messages: expected a list of messages, got []"),
        ({"messages": [ASKED]}, "expected an answer of the assistant to learn, found none"),
        ({"messages": [SAID]}, "messages[1]: expected a question before the first answer"),
        ({"messages": [ASKED, {"role": "bot", "content": "x"}]}, "messages[2].role: expected one of system"),
        ({"messages": [ASKED, {"role": "assistant", "content": ""}]}, 'messages[2].content: expected a text, got ""'),
        ({"messages": [ASKED, {"role": "assistant"}]}, "messages[2].content: expected a text, got nothing"),
        ({"messages": [ASKED, {**SAID, "weight": 0.5}]}, "messages[2].weight: expected 0 or 1, got 0.5"),
        ({"messages": [ASKED, {"role": "assistant", "tool_calls": []}]}, "messages[2].tool_calls: expected an answer"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: Any, said: str) -> None:
    """The error has its number and what is wrong, and the good lines around it are not complained about."""
    good = {"messages": [ASKED, SAID]}
    with pytest.raises(InvalidError) as caught:
        load_conversations(written(tmp_path / "chat.jsonl", good, line, good))
    assert said in caught.value.message
    assert caught.value.code == "bad-conversations"
    assert "line 1" not in caught.value.message
    assert "line 3" not in caught.value.message


def test_all_bad_lines_are_told_in_their_order(tmp_path: Path) -> None:
    """Broken JSON and wrong fields stand together, by line; an empty file is an error, too."""
    path = written(tmp_path / "chat.jsonl", {"messages": []}, "{", {"messages": [ASKED]})
    with pytest.raises(InvalidError) as caught:
        load_conversations(path)
    assert [line[4:10] for line in caught.value.message.splitlines()[1:]] == ["line 1", "line 2", "line 3"]
    with pytest.raises(InvalidError, match="the file is empty"):
        load_conversations(written(tmp_path / "empty.jsonl"))


def test_preferences_are_pairs(tmp_path: Path) -> None:
    """Both ways to write them give the same; two equal answers are no preference."""
    plain = {"prompt": "hello", "chosen": "yes", "rejected": "no"}
    turns = {
        "messages": [ASKED],
        "chosen": [{"role": "assistant", "content": "yes"}],
        "rejected": [{"role": "assistant", "content": "no"}],
    }
    one, other = load_preferences(written(tmp_path / "pairs.jsonl", plain, turns))
    assert (one.turns, one.chosen, one.rejected) == (other.turns, other.chosen, other.rejected)
    better, worse = one.conversations()
    assert (better.turns[-1].content, worse.turns[-1].content) == ("yes", "no")
    with pytest.raises(InvalidError, match="line 1: chosen and rejected: expected two answers that differ"):
        load_preferences(written(tmp_path / "same.jsonl", {**plain, "rejected": "yes"}))
    with pytest.raises(InvalidError, match="line 1: expected prompt or messages, one of them"):
        load_preferences(written(tmp_path / "both.jsonl", {**plain, "messages": [ASKED]}))
    with pytest.raises(InvalidError, match='line 1: prompt: expected a text, got ""'):
        load_preferences(written(tmp_path / "empty.jsonl", {**plain, "prompt": ""}))


def test_a_file_for_another_method_is_known_as_such(tmp_path: Path) -> None:
    """Preferences where conversations are wanted, and the other way round: the error says what learns from them."""
    pair = {"prompt": "hello", "chosen": "yes", "rejected": "no"}
    with pytest.raises(InvalidError, match="line 1: a better and a worse answer, which method dpo learns from"):
        load_conversations(written(tmp_path / "pairs.jsonl", pair))
    with pytest.raises(InvalidError, match="line 1: a conversation, which the other methods learn from"):
        load_preferences(written(tmp_path / "chat.jsonl", {"messages": [ASKED, SAID]}))


def test_questions_end_before_the_first_answer(tmp_path: Path) -> None:
    """Conversations can be given as they are; what they answered is left out."""
    lines = [{"prompt": "why"}, {"messages": [ASKED, SAID, ASKED]}]
    found = load_questions(written(tmp_path / "questions.jsonl", *lines))
    assert [[turn.content for turn in one.turns] for one in found] == [["why"], ["hello"]]
    with pytest.raises(InvalidError, match="line 1: prompt: expected a text, got 5"):
        load_questions(written(tmp_path / "number.jsonl", {"prompt": 5}))


def test_what_is_measured_is_never_learnt() -> None:
    """Lines that say the same fall on one side, whatever the seed; the share is that of different lines."""
    lines = [Conversation(n, (Turn("user", f"q{n % 20}"), Turn("assistant", "a", is_learnt=True))) for n in range(60)]
    for seed in range(5):
        learnt, measured = split_off(lines, 0.1, seed)
        assert len(learnt) + len(measured) == 60
        assert len(measured) == 6
        assert not {one.turns for one in learnt} & {one.turns for one in measured}
    assert split_off(lines, 0.0, 0)[1] == []
    with pytest.raises(InvalidError, match="none learnt from"):
        split_off(lines[:1], 0.1, 0)

"""Task sets: what is read, and what is refused with its line and the nearest right word."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from undercroft.checks.judging import judge_answer
from undercroft.core.errors import InvalidError, NotFoundError
from undercroft.optimize.evaluation.tasks import PROBE_FIELDS, answer_check, load_tasks
from undercroft.watch.probes.probe_files import Probe


def written(folder: Path, *lines: Any) -> Path:
    """A file with one line each; text goes in as it is."""
    path = folder / "tasks.jsonl"
    texts = [line if isinstance(line, str) else json.dumps(line, ensure_ascii=False) for line in lines]
    path.write_text("\n".join(texts), encoding="utf-8")
    return path


def refusal(path: Path) -> str:
    """What is said of a file that cannot be used."""
    with pytest.raises(InvalidError) as caught:
        load_tasks(path)
    assert caught.value.code == "bad-tasks"
    return caught.value.message


def test_every_form_of_a_question_is_read(tmp_path: Path) -> None:
    """Prompt, text, messages, an answer of its own or as the assistant's last turn; ids come from lines."""
    path = written(
        tmp_path,
        {"prompt": "2 + 2?", "answer": 4, "language": "en"},
        "",
        {"id": 7, "text": "Hi", "system": "Be short.", "checks": [{"kind": "length", "at_most": 9}], "max_tokens": 8},
        {"messages": [{"role": "user", "content": "Say yes."}, {"role": "assistant", "content": "yes"}]},
        {"prompt": "JSON?", "answer": {"a": [1, None]}, "total_seconds": 3},
    )
    found = load_tasks(path)
    assert [task.id for task in found.tasks] == ["item-1", "7", "item-4", "item-5"]
    assert [task.checks[0].kind for task in found.tasks] == ["number", "length", "exact", "json"]
    assert found.tasks[1].turns()[0] == {"role": "system", "content": "Be short."}
    assert [turn["role"] for turn in found.tasks[2].turns()] == ["user"]
    assert found.languages == ("en",)
    assert found.digest.startswith("sha256:")


@pytest.mark.parametrize(
    ("answer", "right", "wrong"),
    [
        ("Paris", " Paris\n", "paris"),
        (4, "It is 4.", "5"),
        (True, "true", "false"),
        ({"a": 1}, '{"a": 1.0}', '{"a": 2}'),
    ],
)
def test_a_right_answer_is_the_same_text_number_or_value(answer: Any, right: str, wrong: str) -> None:
    """What passes and what does not, for each kind of answer."""
    assert judge_answer([answer_check(answer)], right)[0].has_passed
    assert not judge_answer([answer_check(answer)], wrong)[0].has_passed


def test_probe_files_are_task_sets(tmp_path: Path) -> None:
    """The questions of a probe are asked; what it says of schedules does not matter here."""
    path = tmp_path / "support.yaml"
    path.write_text(
        "schedule: 0 7 * * mon-fri\nquestions:\n  - id: refund\n    text: I want a refund\n"
        "    checks:\n      - kind: contains\n        text: refund\n",
        encoding="utf-8",
    )
    assert [task.id for task in load_tasks(path).tasks] == ["refund"]
    assert set(Probe.model_fields) == PROBE_FIELDS


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ({"promt": "Hi", "answer": "x"}, "promt: there is no such field; nearest is 'prompt'"),
        ({"prompt": "Hi", "checks": [{"kind": "contians", "text": "x"}]}, "nearest is 'contains'"),
        ({"prompt": "Hi", "checks": [{"kind": "exact", "txt": "x"}]}, "checks[1].txt: there is no such field"),
        ({"prompt": "Hi", "text": "Hi", "answer": "x"}, "got prompt and text"),
        ({"answer": "x"}, "expected one of prompt, text and messages, got none"),
        ({"prompt": "Hi"}, "expected checks, an answer"),
        ({"prompt": "Hi", "answer": "x", "language": "Thai"}, "the code of a language such as 'th'"),
        ({"prompt": "Hi", "checks": [{"kind": "language", "language": "qq"}]}, "got 'qq'"),
        ({"prompt": "Hi", "checks": [{"kind": "judge", "model": "m", "criterion": "c"}]}, "asks one model alone"),
        ({"prompt": "Hi", "answer": "x", "variables": {"a": "b"}}, "no prompt with variables"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "a message of the user before"),
        ({"messages": [{"role": "usr", "content": "x"}], "answer": "x"}, "'user'"),
        ('{"prompt": "Hi"', "expected one JSON object, found at character"),
        ("[1]", "expected a mapping"),
        ("[" * 100_000, "nested too deep"),
    ],
)
def test_a_wrong_line_is_refused_with_its_number(tmp_path: Path, line: Any, said: str) -> None:
    """The line, the field, what was expected, the nearest right word."""
    message = refusal(written(tmp_path, {"prompt": "fine", "answer": "x"}, line))
    assert "line 2: " in message
    assert said in message


def test_all_wrong_lines_are_told_at_once(tmp_path: Path) -> None:
    """Two problems and a name that stands twice, in one message."""
    message = refusal(
        written(tmp_path, {"id": "a", "prompt": "x", "answer": "y"}, "{", {"prompt": 1}, {"id": "a", "prompt": "x"})
    )
    assert [f"line {number}: " in message for number in (1, 2, 3, 4)] == [False, True, True, True]
    twice = written(tmp_path, {"id": "a", "prompt": "x", "answer": "y"}, {"id": "a", "prompt": "z", "answer": "y"})
    assert "line 2: id: 'a' stands in line 1, too" in refusal(twice)


def test_an_empty_file_and_none_are_refused(tmp_path: Path) -> None:
    """Nothing to ask is no task set."""
    assert "expected at least one question" in refusal(written(tmp_path, "", " "))
    with pytest.raises(NotFoundError, match="there is no file"):
        load_tasks(tmp_path / "none.jsonl")


def test_a_probe_file_with_a_mistake_names_line_and_place(tmp_path: Path) -> None:
    """A misspelt field of the file and of a question."""
    path = tmp_path / "bad.yml"
    path.write_text("shedule: 1\nquestions:\n  - id: a\n    txt: Hi\n    answer: x\n", encoding="utf-8")
    message = refusal(path)
    assert "line 1: shedule: there is no such field; nearest is 'schedule'" in message
    assert "line 3: questions[1]: txt: there is no such field; nearest is 'text'" in message

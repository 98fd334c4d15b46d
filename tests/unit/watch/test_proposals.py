"""Checks that are made out of accepted answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from undercroft.checks.judging import judge_answer
from undercroft.checks.questions import Question
from undercroft.watch.probes.probe_files import parse_probe
from undercroft.watch.probes.proposals import derived_checks, probe_text, proposed_questions

_JSON = '{"intent":"cancel_order","id":7,"note":"The customer wants to cancel the whole order"}'


def question(answers: list[str]) -> Question:
    return Question.model_validate({"id": "q", "text": "?", "checks": derived_checks(answers)})


def kinds(answers: list[str]) -> list[str]:
    return [check.kind for check in question(answers).checks]


@pytest.mark.parametrize(
    "answers",
    [
        [_JSON, _JSON, _JSON],
        [_JSON, _JSON.replace("whole order", "entire order")],
        ["84"],
        ["red, yellow, green", "Red, yellow, green"],
        ["สวัสดีตอนเช้า ฉันช่วยอะไรคุณได้บ้าง"],
        ["I'm sorry, I can't help with that."],
        [""],
        ["[1, 2]", "[1, 2]"],
        ["5", "not at all five, but a long story about something else"],
        ['{"a": 1}', '{"a": "x", "b": 2}', "no JSON"],
    ],
)
def test_an_accepted_answer_passes_its_own_checks(answers: list[str]) -> None:
    """Whatever it was, the question is one that a probe may have, and its answer passes; an empty one cannot."""
    results = judge_answer(question(answers).checks, answers[0])
    assert all(result.has_passed for result in results) == bool(answers[0])


def test_a_wrong_class_or_a_lost_key_fails() -> None:
    """What was the same each time has to stay; a sentence may be said in other words."""
    checks = question([_JSON, _JSON]).checks

    def failed(answer: str) -> list[str]:
        return [result.kind for result in judge_answer(checks, answer) if not result.has_passed]

    assert failed(_JSON.replace("cancel_order", "refund_order")) == ["json"]
    assert failed(_JSON.replace('"id":7,', "")) == ["json"]
    assert failed(_JSON.replace("the whole order", "all of the order")) == []


def test_kinds_follow_the_answer() -> None:
    """JSON gets a schema, plain words a language, a refusal no check that it would fail, noise no likeness."""
    assert kinds([_JSON, _JSON]) == ["json", "similarity", "language"]
    assert "language" in kinds(["สวัสดีตอนเช้า ฉันช่วยอะไรคุณได้บ้าง"])
    assert "no-refusal" not in kinds(["I'm sorry, I can't help with that."])
    assert "similarity" not in kinds(["abcdefg", "12345678"])


def test_a_proposed_file_is_a_probe() -> None:
    """With every letter readable, and the model only where it is called otherwise."""
    questions = [
        {"id": key, "text": text, "checks": [{"kind": "no-refusal"}]}
        for key, text in proposed_questions(None, is_starter=True)
    ]
    text = probe_text("bot", questions)
    assert "ขอเงินคืน" in text
    probe = parse_probe(text.encode(), Path("x.yaml"))
    assert probe.model == "bot"
    assert [each.text for each in probe.questions] == [each["text"] for each in questions]
    assert parse_probe(probe_text(None, questions).encode(), Path("x.yaml")).model is None


def test_questions_of_ones_own_get_ids() -> None:
    """From their text, each another, in any language."""
    found = proposed_questions(["What is it?", "What is it?", "นี่คืออะไร"], is_starter=True)
    assert [key for key, _ in found] == ["what-is-it", "what-is-it-2", "question"]
    assert len(proposed_questions(None, is_starter=False)) == 5

"""Before and after the questions: whether there is room, and what an answer is worth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.ggufs import write_chat_model
from undercroft.checks.kinds import Check, ExactCheck, JsonCheck
from undercroft.checks.questions import Message
from undercroft.core.errors import UnavailableError
from undercroft.engines.chat_stream import Answer
from undercroft.optimize.evaluation.asking import Said, judged
from undercroft.optimize.evaluation.evaluating import check_room, common_context, memory_needed
from undercroft.optimize.evaluation.figures import Measure, figures_of
from undercroft.optimize.evaluation.records import Run, Subject
from undercroft.optimize.evaluation.replica import Setup
from undercroft.optimize.evaluation.subjects import Found, find_file
from undercroft.optimize.evaluation.tasks import Task, answer_check

_MIB = 1024**2


def found_model(context_tokens: int | None) -> Found:
    """A model of which nothing is known but its context."""
    return Found(Subject("m", "", 100 * _MIB, "F16", None), Path("m.gguf"), context_tokens)


def task_with(*checks: Check, **fields: Any) -> Task:
    """A question with these checks."""
    return Task("a", (Message(role="user", content="?"),), checks, **fields)


def said(text: str, **fields: Any) -> Said:
    """An answer of two tokens that took a second."""
    told = {"first_token_seconds": 0.5, "total_seconds": 1.0, "prompt_tokens": 3, "answer_tokens": 2}
    error = fields.pop("error", "")
    return Said(Answer(**{"text": text, **told, **fields}), error)


def test_both_models_get_the_same_context() -> None:
    """The shorter of theirs, at most what is usual; what was asked for counts before both."""
    both = [found_model(1024), found_model(4096)]
    assert common_context(both, 0, 0) == 1024
    assert common_context([found_model(100_000)], 0, 0) == 8192
    assert common_context(both, 0, 512) == 512
    assert common_context(both, 2000, 512) == 2000
    assert common_context([found_model(None)], 0, 0) == 2048


def test_memory_is_looked_at_beforehand(tmp_path: Path) -> None:
    """Weights and the cache of all slots; what does not fit is refused with both numbers."""
    found = find_file(write_chat_model(tmp_path / "model.gguf", width=64, layers=2))
    few, many = Setup(context_tokens=512, slots=1), Setup(context_tokens=512, slots=5)
    # Two layers, keys and values of two heads of sixteen numbers of two bytes, for four slots more.
    assert memory_needed(found, many) - memory_needed(found, few) == 2 * 2 * 2 * 16 * 2 * 512 * 4
    check_room(found, few, memory_needed(found, few))
    with pytest.raises(UnavailableError, match=r"'model.gguf' with 1 × 512 tokens needs about .* 1.0 MiB are free"):
        check_room(found, few, _MIB)


@pytest.mark.parametrize(
    ("answer", "is_valid"), [('{"intent": "refund"}', True), ('{"intent": "other"}', True), ("refund", False)]
)
def test_the_format_is_judged_apart_from_what_it_says(answer: str, is_valid: bool) -> None:
    """A check that looks at a place asks for JSON, whatever stands there."""
    looking = ExactCheck(kind="exact", at="intent", text="refund")
    assert judged(task_with(looking), said(answer)).has_valid_format == is_valid
    assert judged(task_with(looking), said("", error="gone")).has_valid_format is False
    assert judged(task_with(answer_check("x")), said(answer)).has_valid_format is None


def test_a_schema_belongs_to_the_format_and_a_right_answer_does_not() -> None:
    """JSON that a schema does not want is not valid; a wrong value is; only questions that ask for JSON count."""
    schema = JsonCheck.model_validate({"kind": "json", "schema": {"required": ["a"]}})
    items = [
        judged(task_with(answer_check({"a": 1}), schema), said('{"a": 2}')),
        judged(task_with(answer_check({"a": 1}), schema), said('{"b": 2}')),
        judged(task_with(answer_check("x")), said("x")),
    ]
    assert [item.has_passed for item in items] == [False, False, True]
    share = figures_of(Run(found_model(None).subject, tuple(items))).whole[Measure.VALID_FORMAT]
    assert (share.value, share.count) == (0.5, 2)


def test_a_limit_of_time_is_a_check() -> None:
    """An answer that is right and late fails by name."""
    late = judged(task_with(answer_check("x"), first_token_seconds=0.1, total_seconds=2.0), said("x"))
    assert late.failed == ("first-token-time",)
    assert not late.has_passed
    assert 0 < late.score < 1
    assert late.speaking_seconds == 0.5

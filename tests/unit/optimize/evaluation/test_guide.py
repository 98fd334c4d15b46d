"""docs/guide/evaluation.md says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from undercroft.optimize.cards.card import SCHEMA
from undercroft.optimize.evaluation.gate_rules import GateRules, QualityRules, load_gate
from undercroft.optimize.evaluation.tasks import FIELDS, load_tasks

_TEXT = (Path(__file__).parents[4] / "docs" / "guide" / "evaluation.md").read_text(encoding="utf-8")


def _example(kind: str) -> str:
    found = re.search(rf"```{kind}\n(.*?)```", _TEXT, re.DOTALL)
    assert found is not None
    return found[1]


def _rows(head: str) -> dict[str, str]:
    table = _TEXT.partition(head)[2].partition("\n\n")[0]
    rows = re.findall(r"^\| (`.*?`) \| (.*) \|$", table, re.MULTILINE)
    return {name: text for names, text in rows for name in re.findall(r"`(\w+)`", names)}


def test_the_questions_are_a_task_set(tmp_path: Path) -> None:
    """They are read as they stand there."""
    path = tmp_path / "questions.jsonl"
    path.write_text(_example("json"), encoding="utf-8")
    assert [task.id for task in load_tasks(path).tasks] == ["item-1", "item-2", "refund-th", "item-4", "item-5"]


def test_the_gate_is_one(tmp_path: Path) -> None:
    """It is read as it stands there, below its own key."""
    path = tmp_path / "gate.yaml"
    path.write_text(_example("yaml"), encoding="utf-8")
    assert load_gate(path).languages["th"].max_score_loss_percent == 2


def test_every_rule_is_explained_as_the_code_does() -> None:
    """In their order, those of languages first."""
    rows = _rows("| rule | asks |\n|---|---|\n")
    assert rows == {name: field.description for name, field in GateRules.model_fields.items()}
    assert list(rows)[: len(QualityRules.model_fields)] == list(QualityRules.model_fields)


def test_every_field_of_a_question_is_explained() -> None:
    """A field that the table does not name would be found by nobody."""
    assert set(_rows("| field | holds |\n|---|---|\n")) == set(FIELDS)


def test_the_schema_of_the_card_is_named() -> None:
    """Whoever reads cards by a program looks for it."""
    assert f"`{SCHEMA}`" in _TEXT

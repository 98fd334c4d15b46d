"""What a recipe may say of fine-tuning."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from undercroft.core.errors import InvalidError
from undercroft.optimize.recipes import Recipe, make_recipe


def recipe(tmp_path: Path, *more: dict[str, Any], evaluation: dict[str, Any] | None = None, **settings: Any) -> Recipe:
    """A recipe that fine-tunes, and more steps."""
    data = tmp_path / "chat.jsonl"
    data.write_text(json.dumps({"messages": []}), encoding="utf-8")
    steps = [{"finetune": {"data": data, **settings}}, *more]
    whole = {"from": "base", "to": "taught", "steps": steps}
    return make_recipe(whole if evaluation is None else {**whole, "evaluation": evaluation})


def test_files_are_held_by_their_digests(tmp_path: Path) -> None:
    """Data, validation and questions are named by digest in what is kept, and the rest has its defaults."""
    questions = tmp_path / "questions.jsonl"
    questions.write_text("{}", encoding="utf-8")
    found = recipe(tmp_path, validation=questions, rehearse={"questions": questions, "count": 3}).steps[0].finetune
    assert found is not None
    assert found.rehearse is not None
    assert all(
        digest is not None and digest.startswith("sha256:")
        for digest in (found.data_digest, found.validation_digest, found.rehearse.questions_digest)
    )
    assert (found.method, found.true_rank, found.true_alpha, found.true_rate) == ("lora", 8, 16.0, 2e-4)
    assert not found.makes_model


@pytest.mark.parametrize(("given", "expected"), [({}, 1.0), ({"hold": 0}, 0.0), ({"hold": 4.5}, 4.5)])
def test_what_is_rehearsed_is_held(tmp_path: Path, given: dict[str, float], expected: float) -> None:
    """As strongly as a recipe says, and once where it says nothing."""
    questions = tmp_path / "questions.jsonl"
    questions.write_text("{}", encoding="utf-8")
    found = recipe(tmp_path, rehearse={"questions": questions, "count": 3, **given}).steps[0].finetune
    assert found is not None
    assert found.rehearse is not None
    assert found.rehearse.hold == expected


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"method": "loro"}, "expected 'lora', 'qlora', 'full' or 'dpo'"),
        ({"method": "full", "rank": 4, "merge": True}, "expected no rank and no merge with method full"),
        ({"beta": 0.1}, "expected no beta with method lora"),
        ({"type": "f16"}, "expected no type with method lora, which makes an adapter"),
        ({"rnk": 3}, "nearest is 'rank'"),
        ({"rehearse": {"questions": "q.jsonl", "count": 3, "hold": -1}}, "rehearse.hold"),
        ({"rehearse": {"questions": "q.jsonl", "count": 3, "held": 1}}, "nearest is 'hold'"),
        ({"rehearse": {"questions": "q.jsonl", "count": 3, "repeat": 0}}, "rehearse.repeat"),
        ({"epochs": 0}, "epochs"),
    ],
)
def test_what_does_not_belong_together_is_refused(tmp_path: Path, settings: dict[str, Any], said: str) -> None:
    """Each with the word that is wrong."""
    with pytest.raises(InvalidError) as caught:
        recipe(tmp_path, **settings)
    assert said in caught.value.message


def test_an_adapter_stands_alone(tmp_path: Path) -> None:
    """Nothing is quantized or measured after it, unless it is merged."""
    quantize = {"quantize": {"scheme": "Q8_0"}}
    with pytest.raises(InvalidError, match="makes an adapter, which no other step reads; expected merge: true"):
        recipe(tmp_path, quantize)
    with pytest.raises(InvalidError, match="an adapter is no model by itself"):
        recipe(tmp_path, evaluation={"texts": tmp_path / "chat.jsonl"})
    assert recipe(tmp_path, quantize, merge=True).kind == "finetune+quantize"
    assert recipe(tmp_path, quantize, method="full").kind == "finetune+quantize"

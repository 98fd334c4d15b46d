"""The guide to pruning and distilling says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from undercroft.optimize.distillation.settings import Distill, Served
from undercroft.optimize.pruning.settings import Prune, Width
from undercroft.optimize.pruning.shapes import ARCHITECTURES, SQUARE_ATTENTION
from undercroft.optimize.recipes import load_recipe
from undercroft.optimize.students.settings import Student

GUIDE = (Path(__file__).parents[3] / "docs" / "guide" / "make-it-smaller.md").read_text(encoding="utf-8")


def test_the_example_is_a_recipe(tmp_path: Path) -> None:
    """With the files that it names beside it."""
    found = re.search(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)
    assert found is not None
    (tmp_path / "recipe.yaml").write_text(found[1], encoding="utf-8")
    for name in ("letters.txt", "questions.jsonl", "chats.jsonl"):
        (tmp_path / name).write_text("x", encoding="utf-8")
    recipe = load_recipe(tmp_path / "recipe.yaml")
    assert (recipe.kind, recipe.to) == ("prune+distill+quantize", "support-small")


def test_every_field_is_explained() -> None:
    """Fields of files' digests are explained where recipes are."""
    kinds = (Prune, Width, Student, Distill, Served)
    names = {name for kind in kinds for name in kind.model_fields if not name.endswith("_digest")}
    assert [name for name in sorted(names) if f"{name}`" not in GUIDE and f".{name}" not in GUIDE] == []


def test_architectures_are_those_of_the_code() -> None:
    """And the defaults that it states."""
    assert all(f"`{name}`" in GUIDE for name in ARCHITECTURES)
    assert set(SQUARE_ATTENTION) == {"qwen2"}
    defaults = {name: field.default for name, field in Distill.model_fields.items()}
    assert (defaults["rate"], defaults["batch_tokens"], defaults["patience"]) == (2e-5, 2048, 3)
    assert (defaults["answer_tokens"], defaults["weight_decay"]) == (1024, 0.0)

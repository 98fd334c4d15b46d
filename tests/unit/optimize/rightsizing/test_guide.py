"""The guide to the right size says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from undercroft.hardware.catalogue import machine_classes
from undercroft.optimize.recipes import Rightsize, load_recipe
from undercroft.optimize.rightsizing.budget import Budget, tasks_needed_at_least

GUIDE = (Path(__file__).parents[4] / "docs" / "guide" / "rightsize.md").read_text(encoding="utf-8")


def test_the_example_is_a_recipe(tmp_path: Path) -> None:
    """With the files that it names beside it; settings that are named are there."""
    found = re.search(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)
    assert found is not None
    (tmp_path / "recipe.yaml").write_text(found[1], encoding="utf-8")
    for name in ("questions.jsonl", "letters.txt"):
        (tmp_path / name).write_text("x", encoding="utf-8")
    recipe = load_recipe(tmp_path / "recipe.yaml")
    search = recipe.steps[0].rightsize
    assert search is not None
    assert [variant.name for variant in search.variants] == ["shallow"]
    named = re.search(r"underscores: (.*?)\.", GUIDE, re.DOTALL)
    assert named is not None
    assert set(re.findall(r"`(\w+)`", named[1])) <= set(Rightsize.model_fields)


def test_classes_and_numbers_are_those_of_the_code() -> None:
    """Every class of machines, and the tasks that a point takes."""
    assert all(f"`{name}`" in GUIDE for name in machine_classes())
    assert f"takes {tasks_needed_at_least(Budget(1.0))} tasks" in GUIDE

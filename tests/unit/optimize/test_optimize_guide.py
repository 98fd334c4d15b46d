"""The guide to optimizing says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from undercroft.optimize.quantization.schemes import SCHEMES
from undercroft.optimize.recipes import load_recipe

GUIDE = (Path(__file__).parents[3] / "docs" / "guide" / "optimize.md").read_text(encoding="utf-8")


def test_the_example_is_a_recipe(tmp_path: Path) -> None:
    """With the files that it names beside it."""
    found = re.search(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)
    assert found is not None
    (tmp_path / "recipe.yaml").write_text(found[1], encoding="utf-8")
    for name in ("tickets.txt", "questions.jsonl", "letters.txt"):
        (tmp_path / name).write_text("x", encoding="utf-8")
    recipe = load_recipe(tmp_path / "recipe.yaml")
    assert (recipe.kind, recipe.to) == ("quantize", "support-small")


@pytest.mark.parametrize(
    ("scheme", "bits"),
    [
        ("Q8_0", 8.5),
        ("Q6_K", 6.6),
        ("Q5_K_M", 5.5),
        ("Q4_K_M", 4.5),
        ("IQ4_XS", 4.25),
        ("MXFP4", 4.25),
        ("NVFP4", 4.5),
        ("Q3_K_M", 3.4),
        ("Q2_K", 2.6),
    ],
)
def test_bits_of_the_table_are_those_of_the_types(scheme: str, bits: float) -> None:
    """Rounded as they stand there."""
    assert scheme in GUIDE
    assert SCHEMES[scheme].base_bits == pytest.approx(bits, abs=0.05)

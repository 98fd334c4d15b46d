"""What docs/guide tells people to write into their catalogue folder is what is read there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from undercroft.catalog.entries import ModelEntry
from undercroft.catalog.families import load_catalogue
from undercroft.catalog.licences import load_licences
from undercroft.core.errors import InvalidError

GUIDE = Path(__file__).parent.parent.parent.parent / "docs" / "guide"


def example(page: str) -> str:
    """The first YAML of a page."""
    return (GUIDE / page).read_text(encoding="utf-8").partition("```yaml\n")[2].partition("```")[0]


def test_the_examples_are_accepted(tmp_path: Path) -> None:
    """A model and the licence that it names, as they stand in the guide."""
    (tmp_path / "house.yaml").write_text(example("models.md"), encoding="utf-8")
    (tmp_path / "licences.yaml").write_text(example("licences.md"), encoding="utf-8")
    model = load_catalogue(tmp_path).find("our-lab/house-7b")
    assert (model.name, model.shape.head_dim, model.official) == ("house-7b", 128, {"en", "th"})
    licence = load_licences(tmp_path).find(model.licence)
    assert (licence.id, licence.users_cap, licence.grants["personal"]) == ("acme-contract", 50_000, "refused")


def test_every_field_of_a_model_is_in_the_guide() -> None:
    """A field that the page does not name is one that nobody uses."""
    text = (GUIDE / "models.md").read_text(encoding="utf-8").partition("## The catalogue")[2].partition("\n## ")[0]
    assert [field for field in ModelEntry.model_fields if not re.search(rf"\b{field}\b", text)] == []


def test_the_error_of_the_guide_is_the_error(tmp_path: Path) -> None:
    """The sentences that the page shows are those that come."""
    path = tmp_path / "house.yaml"
    path.write_text(example("models.md").replace("layers: 32", "layers: many\n    wings: 2"), encoding="utf-8")
    with pytest.raises(InvalidError) as caught:
        load_catalogue(tmp_path)
    shown = (GUIDE / "models.md").read_text(encoding="utf-8")
    said = f"{caught.value.code}: {caught.value.message}\nTry: {caught.value.hint}"
    assert said.replace(str(tmp_path), "/home/anna/.undercroft/catalog") in shown

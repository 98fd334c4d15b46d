"""What a new model inherits, and what is written down of how it was made."""

from __future__ import annotations

from typing import Any

import pytest

from undercroft.optimize.lineage import inherited_licence, inherited_use, versions
from undercroft.registry.entries import Model
from undercroft.registry.facts import ModelFacts


def model(licence: str, **lineage: Any) -> Model:
    return Model("a", "sha256:1", "x", "gguf", 1, ModelFacts(licence=licence), lineage, "2026", ())


@pytest.mark.parametrize(
    ("licences", "inherited"),
    [
        (["apache-2.0"], "apache-2.0"),
        (["unknown"], None),
        (["mit", "unknown", "cc-by-nc-4.0"], "mit AND cc-by-nc-4.0"),
        (["mit", "mit"], "mit"),
    ],
)
def test_every_licence_of_the_parents_counts(licences: list[str], inherited: str | None) -> None:
    """Each once; what a parent does not say is no licence."""
    assert inherited_licence(model(licence) for licence in licences) == inherited


@pytest.mark.parametrize(
    ("uses", "inherited"),
    [
        (["research"], {"use": "research"}),
        ([None], {}),
        (["research", "internal"], {}),
        (["internal"] * 2, {"use": "internal"}),
    ],
)
def test_the_use_that_all_parents_came_in_for(uses: list[str | None], inherited: dict[str, str]) -> None:
    """Where they differ the gate asks anew when the model is served."""
    assert inherited_use(model("mit", **({"use": use} if use else {})) for use in uses) == inherited


def test_versions_of_what_is_installed() -> None:
    """A package that is not there is left out."""
    found = versions(["numpy", "no-such-package"])
    assert list(found) == ["python", "numpy"]

"""Where a model that was made here comes from: everything that it takes to make it again."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import undercroft
from undercroft.catalog.licences import together
from undercroft.registry.entries import Model
from undercroft.registry.facts import UNKNOWN

KIND = "job"


def lineage_of(
    *,
    job: str,
    parents: Sequence[Model],
    recipe: Mapping[str, Any],
    steps: Sequence[Mapping[str, Any]],
    seed: int,
    libraries: Iterable[str],
    is_reproducible: bool,
    card: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The lineage of a new model, as plain data.

    Args:
        job: The id of what made it.
        parents: Models that were read.
        recipe: The whole, normalised.
        steps: Of each what it did: kind, every setting, digests of the files that it read.
        seed: Of everything that was random.
        libraries: Packages whose versions matter.
        is_reproducible: Whether the same recipe and seed give the same digest with the same versions.
        card: What was measured of it, as `undercroft.optimize.cards.card.Card` has it; None where nothing was.
    """
    made = {
        "kind": KIND,
        "job": job,
        "parents": [{"name": parent.name, "digest": parent.digest} for parent in parents],
        "recipe": dict(recipe),
        "steps": [dict(step) for step in steps],
        "seed": seed,
        "is_reproducible": is_reproducible,
        "tool": f"undercroft {undercroft.__version__}",
        "versions": versions(libraries),
    }
    return made if card is None else {**made, "card": {name: card[name] for name in card if name != "items"}}


def versions(libraries: Iterable[str]) -> dict[str, str]:
    """Versions of Python and of packages; one that is not installed is left out."""
    found = {"python": platform.python_version()}
    for name in sorted(libraries):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def inherited_licence(parents: Iterable[Model]) -> str | None:
    """Every licence of the parents: each has to cover the use of what was made of them; None where none names one."""
    return together([parent.facts.licence for parent in parents if parent.facts.licence != UNKNOWN])


def inherited_use(parents: Iterable[Model]) -> dict[str, str]:
    """The use that the parents came in for, which the new model is for, too; nothing where theirs differ."""
    uses = {parent.lineage.get("use") for parent in parents}
    use = uses.pop() if len(uses) == 1 else None
    return {"use": use} if isinstance(use, str) else {}


def made_here(lineage: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The part of a lineage that a job wrote, here or, for a model that came in a bundle, elsewhere; else None."""
    found: Any = lineage
    while isinstance(found, Mapping):
        if found.get("kind") == KIND and isinstance(found.get("recipe"), Mapping):
            return found
        found = found.get("lineage")
    return None

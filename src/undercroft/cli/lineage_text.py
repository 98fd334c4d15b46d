"""What people read of how a model was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from undercroft.optimize.lineage import made_here

Rows = list[tuple[str, str]]


def lineage_rows(lineage: Mapping[str, Any]) -> Rows:
    """How a model was made; empty for one that was not made by a job."""
    found = made_here(lineage)
    if found is None:
        return []
    rows = [("made by", f"{found.get('job', '')}, {found.get('tool', '')}".strip(", "))]
    rows += [("parent", f"{parent['name']}, {parent['digest']}") for parent in found.get("parents", ())]
    rows += [("step", text) for text in step_texts(found["recipe"].get("steps", []))]
    rows += [("proof", text) for step in found.get("steps", ()) if (text := _proof(step))]
    is_same = "gives the same digest" if found.get("is_reproducible") else "may give another digest"
    rows.append(("seed", f"{found.get('seed', 0)}; doing it again with these versions {is_same}"))
    versions = found.get("versions") or {}
    if isinstance(found.get("card"), Mapping):
        rows.append(("card", f"of {found['card'].get('made_at', '')}; undercroft job show {found.get('job', '')}"))
    rows.append(("versions", ", ".join(f"{name} {number}" for name, number in versions.items())))
    return rows


def _proof(step: Mapping[str, Any]) -> str:
    """What a conversion's comparison with its source showed; empty for other steps."""
    found = step.get("found")
    if not isinstance(found, Mapping) or not isinstance(found.get("agreement"), Mapping):
        return ""
    agreement = found["agreement"]
    return (
        f"run beside its source: {agreement['same']} of {agreement['compared']} the same, mean difference "
        f"{agreement['mean_difference']:.2g}, {agreement['tolerance']:.2g} allowed"
    )


def step_texts(steps: Sequence[Mapping[str, Any]]) -> list[str]:
    """Steps of a recipe, one line each: ``quantize scheme=Q4_K_M``; what was left out is left out."""
    return [f"{kind} {_settings(settings)}".rstrip() for step in steps for kind, settings in step.items()]


def _settings(settings: Any) -> str:
    if not isinstance(settings, Mapping):
        return str(settings)
    return " ".join(
        f"{name}={_value(value)}" for name, value in settings.items() if value not in ({}, [], None, False, "")
    )


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {_value(inner)}" for name, inner in value.items()) + "}"
    return str(value)

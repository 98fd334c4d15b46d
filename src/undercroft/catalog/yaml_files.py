"""Reads the catalogue's own files and a user's: plain YAML, bounded, and every problem named with its place."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from undercroft.core import wrong_values
from undercroft.core.errors import InvalidError

_LIMIT_BYTES = 1024 * 1024
# libyaml's parser is ten times as fast; it is left out of some builds of PyYAML.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_mapping(path: Path) -> dict[str, Any]:
    """A YAML file that holds a mapping of texts.

    Raises:
        InvalidError: ``bad-catalogue``: it cannot be read, is too large, or is something else.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(_LIMIT_BYTES + 1)
    except OSError as error:
        raise bad_catalogue(path, [f"cannot be read: {error.strerror}"]) from error
    if len(raw) > _LIMIT_BYTES:
        raise bad_catalogue(path, [f"it is larger than the {_LIMIT_BYTES:,} bytes that a catalogue may have"])
    try:
        # A safe loader: it makes plain data and nothing else.
        document = yaml.load(raw, Loader=_LOADER)
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise bad_catalogue(path, [f"it is not YAML: {' '.join(str(error).split())[:300]}"]) from error
    if document is None:
        return {}
    if not isinstance(document, dict) or not all(isinstance(key, str) for key in document):
        raise bad_catalogue(path, ["expected a mapping of names"])
    return document


def yaml_files(folder: Path) -> list[Path]:
    """The YAML files of a folder by name; none where there is no folder."""
    return sorted(folder.glob("*.yaml")) if folder.is_dir() else []


def problems_of(error: ValidationError, where: str) -> list[str]:
    """What is wrong with an entry, a sentence each: ``models.house-7b: layers: expected at least 1, got 0``.

    Args:
        error: What pydantic found.
        where: The entry.
    """
    return [f"{where}: {problem}" for problem in wrong_values.problems_of(error, is_yaml=True)]


def bad_catalogue(path: Path, problems: Sequence[str]) -> InvalidError:
    """The error for a file of the catalogue with problems."""
    return InvalidError(
        "bad-catalogue",
        f"{path} has problems:\n" + "\n".join(f"  - {problem}" for problem in problems),
        hint=f"correct the file; its form is in docs/guide/{'licences' if path.stem == 'licences' else 'models'}.md",
    )

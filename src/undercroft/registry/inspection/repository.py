"""Looks into all files of one model together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from undercroft.registry.facts import ModelFacts
from undercroft.registry.inspection.formats import Format, require_format
from undercroft.registry.inspection.gguf import read_gguf
from undercroft.registry.inspection.gguf_model import inspect_gguf


@dataclass(frozen=True, slots=True)
class Inspection:
    """What was found.

    Args:
        format: Of the weights.
        facts: Read from all files.
    """

    format: Format
    facts: ModelFacts


def inspect_files(files: Mapping[str, Path]) -> Inspection:
    """Checks every file of a model by its content.

    Args:
        files: Where each lies, by what its source calls it.

    Raises:
        InvalidError: One is damaged, or they do not belong together.
        RefusedError: One can carry code.
    """
    for name, path in files.items():
        require_format(path, name)
    return Inspection(Format.GGUF, inspect_gguf([read_gguf(path, name) for name, path in sorted(files.items())]))

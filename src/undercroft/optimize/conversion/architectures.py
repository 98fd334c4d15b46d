"""Which networks llama.cpp's converter knows: read in its sources, before anything is run."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from undercroft.core.errors import InvalidError

_TABLE, _TABLE_FILE = "TEXT_MODEL_MAP", Path("conversion", "__init__.py")
_SHOWN = 6


def known_architectures(sources: Path) -> frozenset[str]:
    """Names of networks in the converter's own table; none where it has another form than is known here.

    Args:
        sources: Folder of the converter.
    """
    try:
        tree = ast.parse((sources / _TABLE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError):
        return frozenset()
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == _TABLE:
            keys = node.value.keys if isinstance(node.value, ast.Dict) else []
            return frozenset(key.value for key in keys if isinstance(key, ast.Constant) and isinstance(key.value, str))
    return frozenset()


def check_architecture(config: Mapping[str, Any], known: Collection[str]) -> None:
    """Makes sure that the converter knows a network, as far as its settings name one.

    Args:
        config: The model's ``config.json``.
        known: Names that the converter knows; none lets everything pass.

    Raises:
        InvalidError: ``unsupported-architecture``, with the nearest.
    """
    inner = config.get("text_config")
    named = [name for part in (inner, config) for name in _names(part)]
    if known and named and not any(name in known for name in named):
        raise unsupported(named[0], known)


def unsupported(architecture: str, known: Collection[str]) -> InvalidError:
    """The error for a network that the converter does not know.

    Args:
        architecture: As the model's settings name it.
        known: Names that the converter knows.
    """
    near = difflib.get_close_matches(architecture, sorted(known), n=_SHOWN, cutoff=0.6)
    nearest = f"; nearest are {', '.join(near)}" if near else ""
    return InvalidError(
        "unsupported-architecture",
        f"llama.cpp's converter does not know the architecture {architecture[:80]!r}{nearest}",
        hint="see 'architectures' in the model's config.json",
    )


def _names(part: object) -> list[str]:
    """The first that it names, which is the one that counts."""
    names = part.get("architectures") if isinstance(part, Mapping) else None
    return [names[0]] if isinstance(names, list) and names and isinstance(names[0], str) else []

"""Where a published model keeps its chat template. Imports nothing that an engine's own environment may lack.

Source: ``transformers/tokenization_utils_base.py`` of transformers 5.17, ``from_pretrained``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_FILE, _SETTINGS = "chat_template.jinja", ("tokenizer_config.json", "chat_template.json")
_OF_MISTRAL = "tekken.json"  # a tokenizer that lays conversations out itself


def template_in(folder: Path) -> str | None:
    """The template that answers when none is named; Jinja text, None where there is none.

    Args:
        folder: Of the model. A file of its own goes before the tokenizer's settings.
    """
    if (folder / _FILE).is_file():
        return (folder / _FILE).read_text(encoding="utf-8")
    for name in _SETTINGS:
        found = _field(folder / name)
        if isinstance(found, list):
            named = {one.get("name"): one.get("template") for one in found if isinstance(one, dict)}
            found = named.get("default")
        if isinstance(found, str) and found:
            return found
    return None


def lays_out_chats(folder: Path) -> bool:
    """Whether a model knows how a conversation is written; one that does not only goes on with texts.

    Args:
        folder: Of the model.
    """
    return template_in(folder) is not None or (folder / _OF_MISTRAL).is_file()


def _field(path: Path) -> Any:
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return document.get("chat_template") if isinstance(document, dict) else None

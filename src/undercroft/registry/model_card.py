"""Reads the front matter of a model card: the few keys that say licence, languages and origin.

Not a YAML reader: a card is somebody else's text, and these keys are written in three plain ways.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_LOOKED_AT_LINES = 500
_KEY = re.compile(r"(?P<key>[A-Za-z_]+):\s*(?P<value>.*?)\s*")
_ITEM = re.compile(r"\s*-\s+(?P<value>.+?)\s*")


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What a card says; empty where it does not.

    Args:
        licence: Identifier in lower case; None where it says none or ``other``.
        languages: As written.
        base_models: As written.
        pipeline: The hub's word for what the model does: ``text-generation``.
    """

    licence: str | None = None
    languages: tuple[str, ...] = ()
    base_models: tuple[str, ...] = ()
    pipeline: str | None = None


def read_card(text: str) -> ModelCard:
    """Reads the front matter of ``README.md``; an empty card where there is none."""
    lines = text.splitlines()[:_LOOKED_AT_LINES]
    if not lines or lines[0].strip() != "---":
        return ModelCard()
    found: dict[str, list[str]] = {}
    key = ""
    for line in lines[1:]:
        if line.strip() in ("---", "..."):
            break
        if match := _ITEM.fullmatch(line):
            found.setdefault(key, []).append(_plain(match["value"]))
        elif match := _KEY.fullmatch(line):
            key = match["key"].lower()
            found[key] = _values(match["value"])
    licence = next(iter(found.get("license", ())), "").lower()
    if licence == "other":
        licence = next(iter(found.get("license_name", ())), "").lower()
    return ModelCard(
        licence or None,
        tuple(filter(None, found.get("language", ())))[:64],
        tuple(filter(None, found.get("base_model", ())))[:16],
        next(iter(found.get("pipeline_tag", ())), None),
    )


def _values(text: str) -> list[str]:
    if text.startswith("[") and text.endswith("]"):
        return [_plain(part) for part in text[1:-1].split(",")]
    return [_plain(text)] if text else []


def _plain(text: str) -> str:
    shown = text.split(" #")[0].strip().strip("\"'")
    return "".join(letter for letter in shown[:100] if letter.isprintable())

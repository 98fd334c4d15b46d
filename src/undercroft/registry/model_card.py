"""Reads the front matter of a model card: the few keys that say licence, languages and origin.

Not a YAML reader: a card is somebody else's text, and these keys are written in three plain ways.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from undercroft.catalog.licences import licence_key, together

_LOOKED_AT_LINES = 500
_LINE_CHARACTERS = 1000
_LICENCES_LIMIT = 16
# For lines without blanks at the end. Nothing here can be matched in two ways, so a hostile line costs its length.
_KEY = re.compile(r"(?P<key>[A-Za-z_]+):(?P<value>.*)")
_ITEM = re.compile(r"-[ \t](?P<value>.+)")


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What a card says; empty where it does not.

    Args:
        licence: Identifier in lower case, several joined by ``AND``; None where it says none or ``other`` alone.
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
    for line in (text[:_LINE_CHARACTERS].rstrip() for text in lines[1:]):
        if line.lstrip() in ("---", "..."):
            break
        if match := _ITEM.fullmatch(line.lstrip()):
            found.setdefault(key, []).append(_plain(match["value"]))
        elif match := _KEY.fullmatch(line):
            key = match["key"].lower()
            found[key] = _values(match["value"].strip())
    return ModelCard(
        licence_named(found.get("license", ())[:_LICENCES_LIMIT], next(iter(found.get("license_name", ())), "")),
        tuple(filter(None, found.get("language", ())))[:64],
        tuple(filter(None, found.get("base_model", ())))[:16],
        next(iter(found.get("pipeline_tag", ())), None),
    )


def licence_named(listed: Sequence[str], own_name: str) -> str | None:
    """The licence that a card names: all that it lists, and the name of its own where it says ``other`` or nothing.

    Args:
        listed: Its ``license``.
        own_name: Its ``license_name``; empty for none.
    """
    says_all = bool(listed) and all(licence_key(text) for text in listed)
    return together(_plain(text).lower() for text in (*listed, *([] if says_all else [own_name])))


def _values(text: str) -> list[str]:
    if text.startswith("[") and text.endswith("]"):
        return [_plain(part) for part in text[1:-1].split(",")]
    return [_plain(text)] if text else []


def _plain(text: str) -> str:
    shown = text.split(" #")[0].strip().strip("\"'")
    return "".join(letter for letter in shown[:100] if letter.isprintable())

"""What differs between the settings that the server last read and those of now, as the journal may tell it. Pure.

Nothing of a secret is told: of a file that holds one, only whether it is set; of a URL with a user or a query in it,
only that it is there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from undercroft.core.environment import PREFIX
from undercroft.core.settings import Loaded, is_secret_file, setting_names

_HIDDEN, _CHANGED = "set", "changed"


@dataclass(frozen=True, slots=True)
class KnownSetting:
    """One setting as it was when the server read it.

    Args:
        value: As the journal may tell it: plain data for JSON.
        digest: ``sha256:<hex>`` of the whole value.
        origin: ``default``, ``file``, ``environment`` or ``flag``.
    """

    value: Any
    digest: str
    origin: str


@dataclass(frozen=True, slots=True)
class SettingsChange:
    """What differs. A name that only one version of the program has is on one side only.

    Args:
        before: Dotted name → value until now; None is not set.
        after: Dotted name → value from now on.
        origins: Dotted name → where the change was made: ``file``, ``environment``, ``flag``, or ``default`` where
            another version has another default.
    """

    before: Mapping[str, Any]
    after: Mapping[str, Any]
    origins: Mapping[str, str]

    @property
    def names(self) -> list[str]:
        """Everything that differs, in the order of the reference."""
        return list(self.origins)


def known_settings(loaded: Loaded) -> dict[str, KnownSetting]:
    """Dotted name → what is kept of it."""
    values = loaded.settings.model_dump(mode="json")
    found = {}
    for name in setting_names():
        section, key = name.split(".")
        value = values[section][key]
        found[name] = KnownSetting(_told(key, value), _digest(value), loaded.origins[name])
    return found


def compare_settings(
    known: Mapping[str, KnownSetting], read: Mapping[str, KnownSetting], sections: Iterable[str] | None = None
) -> SettingsChange | None:
    """What was changed; None where nothing was, or nothing is known yet.

    A setting that came with a new version is a change only where somebody has set it, one that went with an old version
    only where somebody had.

    Args:
        known: What the server last read; empty before it first did.
        read: What it reads now.
        sections: Only what is below these; None is all.
    """
    if not known:
        return None
    wanted = None if sections is None else frozenset(sections)
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for name in [*read, *(name for name in known if name not in read)]:
        old, new = known.get(name), read.get(name)
        is_wanted = wanted is None or name.partition(".")[0] in wanted
        if not is_wanted or not _differs(old, new):
            continue
        origins[name] = _made_in(old, new)
        if old is not None:
            before[name] = old.value
        if new is not None:
            is_hidden = old is not None and old.value == new.value
            after[name] = _CHANGED if is_hidden else new.value
    return SettingsChange(before, after, origins) if origins else None


def actor_of(change: SettingsChange, file_name: str) -> str:
    """Who, as far as a machine can know: the places that somebody edited, or ``system`` for another version's defaults.

    Args:
        change: What was changed.
        file_name: Of the settings file, without its folder.
    """
    words = {"file": f"file:{file_name}", "environment": "environment", "flag": "flag", "default": "system"}
    found = set(change.origins.values())
    return ", ".join(word for origin, word in words.items() if origin in found)


def evidence_of(change: SettingsChange, file_sentence: str, version: str) -> str:
    """What speaks for who it was, as a sentence.

    Args:
        change: What was changed.
        file_sentence: What is known of the settings file: whose it is, and when it was written.
        version: Of this program.
    """
    variables = [_variable(name) for name, origin in change.origins.items() if origin == "environment"]
    defaults = [name for name, origin in change.origins.items() if origin == "default"]
    parts = [
        file_sentence if "file" in change.origins.values() else "",
        f"variables: {', '.join(variables)}" if variables else "",
        f"version {version} has another default of {', '.join(defaults)}" if defaults else "",
    ]
    return "; ".join(part for part in parts if part)


def _told(key: str, value: Any) -> Any:
    if value is None or not is_secret_file(key):
        return _without_secrets(value)
    return _HIDDEN


def _without_secrets(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_secrets(part) for part in value]
    return _HIDDEN if isinstance(value, str) and _may_hold_a_secret(value) else value


def _may_hold_a_secret(text: str) -> bool:
    if "://" not in text:
        return False
    try:
        parts = urlsplit(text)
    except ValueError:
        return True
    return "@" in parts.netloc or bool(parts.query or parts.fragment)


def _digest(value: Any) -> str:
    return f"sha256:{hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()}"


def _differs(old: KnownSetting | None, new: KnownSetting | None) -> bool:
    if old is not None and new is not None:
        return old.digest != new.digest
    only = old or new
    return only is not None and only.origin != "default"


def _made_in(old: KnownSetting | None, new: KnownSetting | None) -> str:
    """Where somebody set it; where it is as usual again, where it was set until now."""
    if new is not None and new.origin != "default":
        return new.origin
    return old.origin if old is not None else "default"


def _variable(name: str) -> str:
    return PREFIX + name.upper().replace(".", "__")

"""What a change in the diary can do to each measure: by its action, and for settings by their names. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from undercroft.storage.journal import Entry
from undercroft.storage.settings_diary import SETTINGS_CHANGE


class Measure(StrEnum):
    """What became worse."""

    LATENCY = "latency"
    QUALITY = "quality"
    MEMORY = "memory"
    ERRORS = "errors"
    COST = "cost"


# Of 1, for what nobody expects to do anything.
_HARDLY = 0.02
# What an action can do, by measure; the first that the action begins with counts.
_ACTIONS: dict[str, dict[Measure, float]] = {
    "release.promoted": dict.fromkeys(Measure, 1.0),
    "release.rollback": dict.fromkeys(Measure, 1.0),
    # The candidate is loaded long before it is put into production.
    "release.promote": {**dict.fromkeys(Measure, 0.4), Measure.MEMORY: 0.9},
    "release.": dict.fromkeys(Measure, 0.1),
    "deployment.shrink": dict.fromkeys(Measure, 0.9),
    "deployment.change": dict.fromkeys(Measure, 0.9),
    "deployment.": {
        Measure.LATENCY: 0.6,
        Measure.MEMORY: 0.7,
        Measure.ERRORS: 0.6,
        Measure.QUALITY: 0.3,
        Measure.COST: 0.3,
    },
    "key.create": {Measure.LATENCY: 0.3, Measure.COST: 0.3, Measure.ERRORS: 0.2},
    "backup.": {Measure.LATENCY: 0.3},
    "model.": {Measure.LATENCY: 0.15, Measure.MEMORY: 0.15, Measure.QUALITY: 0.15, Measure.ERRORS: 0.15},
}
# The same for settings; the first that the name begins with counts.
_SETTINGS: dict[str, dict[Measure, float]] = {
    "engines.llama_server": dict.fromkeys(Measure, 0.9),
    "engines.threads": {Measure.LATENCY: 0.9, Measure.COST: 0.9},
    "engines.context_tokens": {
        Measure.MEMORY: 0.9,
        Measure.ERRORS: 0.8,
        Measure.QUALITY: 0.6,
        Measure.LATENCY: 0.4,
        Measure.COST: 0.3,
    },
    "engines.slots": {Measure.LATENCY: 0.9, Measure.MEMORY: 0.9, Measure.COST: 0.6, Measure.ERRORS: 0.4},
    "engines.memory_limit_bytes": {Measure.ERRORS: 0.9, Measure.MEMORY: 0.6, Measure.LATENCY: 0.4},
    "engines.": {Measure.ERRORS: 0.6, Measure.LATENCY: 0.3},
    "limits.concurrency_per_slot": {Measure.LATENCY: 0.9, Measure.COST: 0.6, Measure.ERRORS: 0.4},
    "limits.": {Measure.ERRORS: 0.9, Measure.LATENCY: 0.6},
    "admission.": {Measure.LATENCY: 0.7, Measure.MEMORY: 0.7, Measure.ERRORS: 0.6},
    "gateway.processes": {Measure.LATENCY: 0.7, Measure.MEMORY: 0.1, Measure.ERRORS: 0.4},
    "gateway.": {Measure.ERRORS: 0.7, Measure.LATENCY: 0.2},
    "releases.": {Measure.LATENCY: 0.3, Measure.MEMORY: 0.4},
    "registry.scrub_days": {Measure.LATENCY: 0.2},
    "backup.": {Measure.LATENCY: 0.3},
    "logging.level": {Measure.LATENCY: 0.2},
}


def ability(entry: Entry, measure: Measure) -> float:
    """What an entry's change can do to a measure at most; 0.0 to 1.0.

    Args:
        entry: Of the journal.
        measure: What became worse.
    """
    if entry.action == SETTINGS_CHANGE:
        return max((_first(_SETTINGS, name, measure) for name in changed_names(entry)), default=_HARDLY)
    return _first(_ACTIONS, entry.action, measure)


def changed_names(entry: Entry, measure: Measure | None = None) -> list[str]:
    """Dotted names of the settings that an entry tells of.

    Args:
        entry: Of the journal.
        measure: Those that can do most to it come first; None keeps the order of the entry.
    """
    names = list(dict.fromkeys([*(entry.before or {}), *(entry.after or {})]))
    return names if measure is None else sorted(names, key=lambda name: -_first(_SETTINGS, name, measure))


def _first(table: Mapping[str, Mapping[Measure, float]], name: str, measure: Measure) -> float:
    return next((able for begin, able in table.items() if name.startswith(begin)), {}).get(measure, _HARDLY)

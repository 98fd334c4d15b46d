"""What a cost is computed with beside the machine: each assumption, its meaning and source, and how to change it."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from undercroft.core.errors import InvalidError


def _assumed(default: Any, unit: str, meaning: str, source: str, least: float = 0.0, most: float = math.inf) -> Any:
    about = {"unit": unit, "meaning": meaning, "source": source, "least": least, "most": most}
    return field(default=default, metadata=about)


@dataclass(frozen=True, slots=True)
class Assumptions:
    """Money is in ``currency``; prices of devices are in dollars and multiplied with ``dollar_rate``."""

    currency: str = _assumed("USD", "", "name of the currency", "the catalogue's prices")
    dollar_rate: float = _assumed(1.0, "CURRENCY / USD", "price of a dollar in the currency", "none for USD", 1e-6)
    kwh_price: float = _assumed(
        0.20, "CURRENCY / kWh", "price of a kilowatt-hour", "near Eurostat's mean for businesses, 2025: 0.19 EUR"
    )
    pue: float = _assumed(
        1.54,
        "W / W",
        "power of the site for each watt of the computer",
        "Uptime Institute, global survey 2025",
        1.0,
        5.0,
    )
    years: float = _assumed(
        4.0, "years", "years until the machine is written off", "usual for servers: 3 to 6", 0.5, 20.0
    )
    residual: float = _assumed(0.10, "of 1", "share of the price that is left then", "assumption", 0.0, 1.0)
    upkeep_hours: float = _assumed(
        4.0, "h / month", "hours of work on it a month", "assumption: updates, backups, a disk now and then"
    )
    wage: float = _assumed(45.0, "CURRENCY / h", "price of an hour of that work", "assumption")
    upkeep_share: float = _assumed(
        0.05, "of 1, a year", "spare parts and support a year, share of the price", "assumption", 0.0, 1.0
    )
    requests_per_user: float = _assumed(40.0, "a day", "requests of a user on a working day", "assumption")
    days_per_month: float = _assumed(22.0, "days / month", "working days a month", "a five-day week", 1.0, 31.0)
    cloud_input: float = _assumed(
        0.20,
        "CURRENCY / 1 M tokens",
        "cloud price of a million prompt tokens",
        "Together AI, Llama 3.1 8B; others ask 0.02 to 0.34",
    )
    cloud_output: float = _assumed(
        0.60,
        "CURRENCY / 1 M tokens",
        "cloud price of a million answer tokens",
        "Together AI, Llama 3.1 8B; others ask 0.03 to 0.83",
    )
    rent_per_hour: float = _assumed(
        0.0,
        "CURRENCY / h",
        "price of an hour of the same device in a cloud; 0 takes the catalogue's",
        "price lists, where one was found",
    )
    host_price: float = _assumed(
        0.0,
        "USD",
        "dollars for the computer around a card; 0 takes the default host's",
        "targets_of.WORKSTATION and SERVER",
    )


_SHORT = {"kwh": "kwh_price", "hours": "upkeep_hours", "rent": "rent_per_hour", "rate": "dollar_rate"}
_NAMES = tuple(f.name for f in fields(Assumptions))


def changed(assumptions: Assumptions, wanted: Iterable[str]) -> Assumptions:
    """With some of them changed.

    Args:
        assumptions: To begin with.
        wanted: ``kwh=0.21``, ``years=4`` …; names with ``-`` or ``_``.

    Raises:
        InvalidError: ``bad-assumption``: not of this form, unknown, or out of range; all problems at once.
    """
    values: dict[str, Any] = {}
    problems: list[str] = []
    for text in wanted:
        name, equals, value = (part.strip() for part in text.partition("="))
        key = name.replace("-", "_").lower()
        key = _SHORT.get(key, key)
        if not equals or not value:
            problems.append(f"{text!r}: expected name=value")
        elif key not in _NAMES:
            near = difflib.get_close_matches(key, [*_NAMES, *_SHORT], n=1, cutoff=0.4)
            problems.append(f"unknown {name!r}" + (f"; nearest is {near[0]!r}" if near else ""))
        else:
            _read(key, value, values, problems)
    if problems:
        raise InvalidError(
            "bad-assumption",
            "; ".join(problems),
            hint="undercroft plan MODEL --assume kwh=0.21 --assume years=4",
        )
    return replace(assumptions, **values)


def _read(key: str, value: str, values: dict[str, Any], problems: list[str]) -> None:
    if key == "currency":
        if not (value.isalpha() and len(value) <= 8):
            problems.append(f"currency: expected a name of up to 8 letters, got {value[:20]!r}")
        values[key] = value.upper()
        return
    about = _metadata(key)
    try:
        number = float(value)
    except ValueError:
        problems.append(f"{key}: expected a number, got {value[:20]!r}")
        return
    if not (math.isfinite(number) and about["least"] <= number <= about["most"]):
        problems.append(f"{key}: expected {_range(about)}, got {number:g}")
        return
    values[key] = number


def _metadata(key: str) -> Mapping[str, Any]:
    return next(f.metadata for f in fields(Assumptions) if f.name == key)


def _range(about: Mapping[str, Any]) -> str:
    if math.isinf(about["most"]):
        return f"{about['least']:g} or more"
    return f"{about['least']:g} to {about['most']:g}"


def unit_of(name: str, currency: str) -> str:
    """Unit of an assumption; empty for the currency's name.

    Args:
        name: Of a field.
        currency: That money is in.
    """
    return str(_metadata(name)["unit"]).replace("CURRENCY", currency)


def listed(assumptions: Assumptions) -> list[tuple[str, str, str, str]]:
    """Name, value, meaning and source of each; the source says where one was changed."""
    rows = []
    for f in fields(Assumptions):
        value = getattr(assumptions, f.name)
        source = f.metadata["source"] if value == f.default else "given"
        rows.append((f.name, value if isinstance(value, str) else f"{value:g}", f.metadata["meaning"], source))
    return rows

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
class CloudPrice:
    """Of a million tokens, in dollars."""

    prompt_usd: float
    answer_usd: float
    source: str


_SMALL_PARAMETERS = 15e9
_SMALL = CloudPrice(
    0.20, 0.60, "Together AI, Llama 3.1 8B, for models up to 15B; others ask 0.02 to 0.34 and 0.03 to 0.83"
)
_LARGE = CloudPrice(
    0.80, 2.40, "Together AI, Llama 3.3 70B, for models above 15B; the cheapest on OpenRouter 0.10 and 0.32, 2026"
)
_EMBEDDING = CloudPrice(0.02, 0.0, "OpenAI text-embedding-3-small, July 2026; the large one 0.13")


@dataclass(frozen=True, slots=True)
class Assumptions:
    """Money is in ``currency``; prices of devices are in dollars and multiplied with ``dollar_rate``.

    ``given`` names those that somebody changed, also where the value is the default's.
    """

    currency: str = _assumed("USD", "", "name of the currency", "the catalogue's prices")
    dollar_rate: float = _assumed(1.0, "CURRENCY / USD", "price of a dollar in the currency", "none for USD", 1e-6)
    kwh_price: float = _assumed(
        0.20,
        "CURRENCY / kWh",
        "price of a kilowatt-hour",
        "near Eurostat's mean for businesses, 2025: 0.19 EUR",
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
        4.0, "h / month", "hours of work a month, on all machines", "assumption: updates, backups, a disk now and then"
    )
    wage: float = _assumed(45.0, "CURRENCY / h", "price of an hour of that work", "assumption")
    upkeep_share: float = _assumed(
        0.05, "of 1, a year", "spare parts and support a year, share of the price", "assumption", 0.0, 1.0
    )
    requests_per_user: float = _assumed(40.0, "a day", "requests of a user on a working day", "assumption")
    days_per_month: float = _assumed(22.0, "days / month", "working days a month", "a five-day week", 1.0, 31.0)
    cloud_input: float = _assumed(
        _SMALL.prompt_usd,
        "CURRENCY / 1 M tokens",
        "cloud price of a million prompt tokens",
        _SMALL.source,
    )
    cloud_output: float = _assumed(
        _SMALL.answer_usd,
        "CURRENCY / 1 M tokens",
        "cloud price of a million answer tokens",
        _SMALL.source,
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
        "dollars for the computer around a card, where given; else the default host's",
        "assumption: 1,400 for a workstation, 9,000 for a server",
    )
    machine_price: float = _assumed(
        0.0,
        "USD",
        "dollars for one whole machine, where given; else list prices; not for --need",
        "list prices, see undercroft plan devices",
    )
    machine_watts: float = _assumed(
        0.0, "W", "power of one machine at full load, where given; not for --need", "data sheets and the default host"
    )
    idle_watts: float = _assumed(
        0.0, "W", "power of one machine when idle, where given; not for --need", "a share of full load"
    )
    given: frozenset[str] = frozenset()

    @property
    def host_usd(self) -> float | None:
        """Dollars for the computer around a card, also 0 for one that is there; None takes the default host's."""
        return self.host_price if self.is_given("host_price") else None

    def is_given(self, name: str) -> bool:
        """Whether somebody chose a value.

        Args:
            name: Of an assumption.
        """
        return name in self.given or getattr(self, name) != _default(name, self.dollar_rate)


def cloud_price(active_parameters: float, *, is_embedding: bool) -> CloudPrice:
    """What a cloud asks for a model of this size.

    Args:
        active_parameters: That a token computes with; count.
        is_embedding: A text is read and nothing is written.
    """
    return _EMBEDDING if is_embedding else _LARGE if active_parameters > _SMALL_PARAMETERS else _SMALL


def with_cloud(assumed: Assumptions, price: CloudPrice) -> Assumptions:
    """With a cloud's prices, where nobody gave others.

    Args:
        assumed: What is known so far.
        price: Of a model of this size.
    """
    if assumed.is_given("cloud_input") or assumed.is_given("cloud_output"):
        return assumed
    rate = assumed.dollar_rate
    return replace(assumed, cloud_input=price.prompt_usd * rate, cloud_output=price.answer_usd * rate)


_SHORT = {"kwh": "kwh_price", "hours": "upkeep_hours", "rent": "rent_per_hour", "rate": "dollar_rate"}
_FIELDS = {f.name: f for f in fields(Assumptions) if f.metadata}
_NAMES = tuple(_FIELDS)
# Defaults that are dollars in truth: a price of the dollar changes them, too.
_IN_CURRENCY = ("kwh_price", "wage", "cloud_input", "cloud_output")


def _default(name: str, dollar_rate: float) -> Any:
    default: Any = _FIELDS[name].default
    return default * dollar_rate if name in _IN_CURRENCY else default


def changed(assumptions: Assumptions, wanted: Iterable[str]) -> Assumptions:
    """With some of them changed; a new price of the dollar changes what nobody gave in the currency, too.

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
    rate = values.get("dollar_rate", assumptions.dollar_rate)
    followed = {name: _default(name, rate) for name in _IN_CURRENCY if not assumptions.is_given(name)}
    return replace(assumptions, **{**followed, **values}, given=assumptions.given | values.keys())


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
    return _FIELDS[key].metadata


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
    """Name, value, meaning and source of each; the source says where one was given."""
    rows = []
    for name, about in _FIELDS.items():
        value = getattr(assumptions, name)
        shown = value if isinstance(value, str) else f"{value:g}"
        rows.append((name, shown, about.metadata["meaning"], _source(assumptions, name)))
    return rows


def _source(assumptions: Assumptions, name: str) -> str:
    rate = assumptions.dollar_rate
    turned = f", in USD, times {rate:g}" if name in _IN_CURRENCY and rate != 1 else ""
    if name in assumptions.given:
        return "given"
    if name.startswith("cloud_"):
        pair = (assumptions.cloud_input, assumptions.cloud_output)
        for price in (_SMALL, _LARGE, _EMBEDDING):
            if pair == (price.prompt_usd * rate, price.answer_usd * rate):
                return price.source + turned
    return "given" if assumptions.is_given(name) else str(_FIELDS[name].metadata["source"]) + turned

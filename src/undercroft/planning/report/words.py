"""Numbers and names as a report shows them. Pure."""

from __future__ import annotations

import math

from undercroft.core.units import format_count
from undercroft.planning.targets import Rate

_ELLIPSIS = "…"


def clean(text: str) -> str:
    """A text from outside: control characters and marks of direction are taken out, other white space becomes a space.

    Args:
        text: A model's name, a device's name, a note.
    """
    return "".join(letter if letter.isprintable() else " " if letter.isspace() else "" for letter in text)


def shortened(text: str, most: int) -> str:
    """At most so many letters, cut at the end.

    Args:
        text: From anywhere.
        most: Letters; count.
    """
    whole = clean(text)
    return whole if len(whole) <= most else whole[: most - 1].rstrip() + _ELLIPSIS


def significant(value: float, digits: int = 3) -> str:
    """Three digits that say something, thousands separated: ``0.0412``, ``8.31``, ``1,284``.

    Args:
        value: Finite.
        digits: That count; those before the point are never cut.
    """
    if value == 0:
        return "0"
    decimals = digits - 1 - math.floor(math.log10(abs(value)))
    return f"{value:,.{min(max(decimals, 0), 9)}f}"


def money(value: float, currency: str) -> str:
    """``1,284 USD``, ``3.20 USD``, ``0.042 USD``.

    Args:
        value: In that currency.
        currency: Its name.
    """
    shown = f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.2f}" if abs(value) >= 1 else significant(value, 2)
    return f"{shown} {clean(currency)}"


def tokens(count: float) -> str:
    """Tokens in thousands, millions, billions: ``3.2 M``."""
    return format_count(round(count))


def months(count: float) -> str:
    """Months as people say them: ``7 months``, ``3 years 2 months``, ``over 100 years``.

    Args:
        count: Months, begun ones counted whole.
    """
    whole = math.ceil(count)
    if whole > 1200:
        return "over 100 years"
    if whole < 24:
        return "1 month" if whole == 1 else f"{whole} months"
    years, rest = divmod(whole, 12)
    return f"{years} years" + (f" {rest} month{'s' if rest > 1 else ''}" if rest else "")


def ranged(rate: Rate) -> str:
    """The range of a rate: ``31.2 to 44.0``."""
    return f"{significant(rate.low)} to {significant(rate.high)}"

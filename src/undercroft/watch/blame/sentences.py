"""What `blame` says: that it became worse, when and by how much, or that nothing did. Pure."""

from __future__ import annotations

from datetime import UTC, datetime

from undercroft.core.units import format_bytes, format_duration
from undercroft.watch.blame.abilities import Measure
from undercroft.watch.blame.answers import Switch
from undercroft.watch.blame.change_points import LEAST_SIDE, Change
from undercroft.watch.blame.climbs import Climb
from undercroft.watch.blame.growth import Growth
from undercroft.watch.blame.series import Series

_MIB = 1024 * 1024
# Questions that a sentence names.
_NAMED = 3


def step_sentence(series: Series, change: Change) -> str:
    """A level that changed at one moment."""
    verb = "fell" if change.after < change.before else "rose"
    if series.is_share:
        how = f"from {change.before:.0%} to {change.after:.0%}"
    else:
        how = f"{abs(change.ratio - 1):.0%} ({_levels(series, change)})"
    return f"{_capital(series.what)} of {series.name} {verb} {how} on {_moment(change.at)}."


def climb_sentence(series: Series, climb: Climb) -> str:
    """A level that rose little by little."""
    change = climb.change
    began = _began(climb.is_from_start, change.at)
    until = f" until {_moment(climb.end)}" if climb.is_over else ""
    how = f"{abs(change.ratio - 1):.0%} ({_levels(series, change)})"
    return f"{_capital(series.what)} of {series.name} rose {how} little by little, {began}{until}."


def growth_sentence(series: Series, growth: Growth) -> str:
    """A replica that takes more and more."""
    climb = growth.climb
    began = _began(growth.is_older, climb.change.at)
    until = f" until {_moment(climb.end)}" if climb.is_over else ""
    levels = _levels(series, climb.change)
    text = f"{_capital(series.what)} of {series.name} grew by {_pace(climb.per_hour)}, {began}{until}: {levels}"
    if growth.times > 1:
        return (
            f"{text}; it was {growth.life.replica}, and the {growth.times - 1} loaded after it did so from the first."
        )
    return f"{text}; it was {growth.life.replica}."


def switch_sentence(series: Series, switch: Switch) -> str:
    """Questions that are answered otherwise."""
    named = ", ".join(switch.questions[:_NAMED])
    more = f" and {len(switch.questions) - _NAMED} more" if len(switch.questions) > _NAMED else ""
    before, after = switch.scores
    noticed = (
        "their score is the same"
        if f"{before:.3f}" == f"{after:.3f}"
        else f"their score went from {before:.3f} to {after:.3f}"
    )
    return (
        f"{series.name} answers {len(switch.questions)} of {switch.asked} standard questions in other words since "
        f"{_moment(switch.change.at)}, after {switch.runs_before} runs in the same words: {named}{more}; {noticed}."
    )


def growing_sentence(growth: Growth) -> str:
    """What to say, and where to look, when nothing explains that a replica grows."""
    if growth.is_older:
        return "It grew already when what was looked at began, so its cause is older: ask again with an earlier --since"
    return (
        "Nothing in the diary explains it, nor does the use. What is left: a leak in the engine, "
        "which gives all back when it is loaded anew. Look: undercroft drift show"
    )


def nothing_sentence(measure: Measure) -> str:
    """What to say, and where to look, when nothing explains a change."""
    more = {
        Measure.LATENCY: "a machine that runs hot, another program or a slow disk",
        Measure.MEMORY: "another program, or what the engine does with long requests",
        Measure.ERRORS: "an engine or a machine that fails",
        Measure.QUALITY: "what people ask, or damaged files",
        Measure.COST: "what people ask",
    }[measure]
    return f"Nothing in the diary explains it, nor does the use. What is left: {more}. Look: undercroft doctor"


def quiet_sentence(measure: Measure, whose: str | None, since: str, measurements: int) -> str:
    """What to say where no change for the worse was found: that all was well, or that too little was measured.

    Args:
        measure: What was asked for.
        whose: The name that was asked for; None for all.
        since: ISO 8601 time in UTC.
        measurements: Looked at.
    """
    of = f" of {whose}" if whose is not None else ""
    moment = f"{since[:16].replace('T', ' ')} UTC"
    if measurements == 0:
        source = {
            Measure.MEMORY: "replicas are looked at once a minute while the server runs",
            Measure.QUALITY: "it comes out of standard questions: undercroft probe list",
        }.get(measure, "it comes out of requests: undercroft status")
        return f"Nothing{of} was measured since {moment}, so nothing can be said of {measure.value}; {source}"
    if measurements < 2 * LEAST_SIDE:
        return (
            f"Too little{of} was measured since {moment} to say anything of {measure.value}: "
            f"{measurements}, and a change needs {LEAST_SIDE} on either side of it."
        )
    return f"Nothing{of} became worse since {moment} in {measurements:,} measurements."


def _levels(series: Series, change: Change) -> str:
    return f"{_shown(change.before, series.unit)} -> {_shown(change.after, series.unit)}"


def _shown(value: float, unit: str) -> str:
    if unit == "s":
        return f"{1000 * value:.2g} ms" if value < 0.01 else format_duration(value)
    if unit == "B":
        return format_bytes(round(value))
    return f"{value:,.0f} {unit}"


def _pace(per_hour: float) -> str:
    """Bytes an hour, or a day where they are few."""
    return f"{format_bytes(per_hour)} an hour" if per_hour >= _MIB else f"{format_bytes(24 * per_hour)} a day"


def _began(is_older: bool, at: float) -> str:
    if is_older:
        return f"and did so before {_moment(at)} already"
    return f"from {_moment(at)} on"


def _moment(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d at %H:%M} UTC"


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]

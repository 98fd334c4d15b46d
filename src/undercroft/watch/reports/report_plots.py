"""Plots of a health report: how many questions passed, and how fast answers began, day by day. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from undercroft.core.units import format_duration
from undercroft.planning.report.axes import Frame
from undercroft.planning.report.drawing import Drawing
from undercroft.planning.report.scales import Scale, linear
from undercroft.planning.report.words import significant
from undercroft.watch.reports.report_summary import Figures

_LEFT, _RIGHT, _BOTTOM, _TOP = 62.0, 466.0, 252.0, 40.0
_LABELS = 6


def passed_plot(days: Mapping[str, Figures]) -> Drawing:
    """The share of questions that passed, and their score.

    Args:
        days: Day → figures; one or more.
    """
    lowest = min(days, key=lambda day: days[day].pass_ratio)
    drawing = Drawing(
        "passed",
        "Questions that passed",
        f"{len(days)} days from {min(days)} to {max(days)}; the fewest on {lowest}: "
        f"{days[lowest].passed} of {days[lowest].asked}.",
    )
    up = Scale(0.0, 1.0, _BOTTOM, _TOP, step=0.25)
    frame = Frame(_across(days), up, "day", "share that passed", _day_shown(days), lambda value: f"{value:.0%}")
    frame.draw(drawing)
    _line(drawing, frame, [figures.pass_ratio for figures in days.values()])
    return drawing


def first_token_plot(days: Mapping[str, Figures]) -> Drawing:
    """The median time to the first token.

    Args:
        days: Day → figures; one or more. Days on which nothing was answered have no point.
    """
    known = {day: f.first_token_seconds for day, f in days.items() if f.first_token_seconds is not None}
    slowest = max(known, key=lambda day: known[day]) if known else None
    described = "Nothing was answered."
    if slowest:
        described = f"The slowest day is {slowest}: {format_duration(known[slowest])}."
    drawing = Drawing("first-token", "Time to the first token", described)
    up = linear(max(known.values(), default=1.0), _BOTTOM, _TOP)
    shown: Callable[[float], str] = significant
    frame = Frame(_across(days), up, "day", "seconds, median", _day_shown(days), shown)
    frame.draw(drawing)
    _line(drawing, frame, [figures.first_token_seconds for figures in days.values()])
    return drawing


def _across(days: Mapping[str, Figures]) -> Scale:
    last = max(1, len(days) - 1)
    return Scale(0.0, float(last), _LEFT, _RIGHT, step=float(math.ceil((last + 1) / _LABELS)))


def _day_shown(days: Mapping[str, Figures]) -> Callable[[float], str]:
    names = list(days)
    return lambda value: names[int(value)][5:] if int(value) < len(names) else ""


def _line(drawing: Drawing, frame: Frame, values: list[float | None]) -> None:
    points = [frame.point(float(index), value) for index, value in enumerate(values) if value is not None]
    if len(points) > 1:
        drawing.curve(points, "line s-owning")
    for x, y in points:
        drawing.dot(x, y, 3.5, "f-owning edge")

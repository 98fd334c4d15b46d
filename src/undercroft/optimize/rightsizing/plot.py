"""The Pareto picture: size against what was lost, with intervals, the budget and the front. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from undercroft.core.units import format_bytes
from undercroft.optimize.cards.words import name_of
from undercroft.optimize.evaluation.intervals import Estimate
from undercroft.optimize.rightsizing.outcome import Entry, Outcome
from undercroft.optimize.rightsizing.words import lost_words
from undercroft.planning.report.axes import Frame, Labels
from undercroft.planning.report.drawing import Drawing
from undercroft.planning.report.scales import Scale
from undercroft.planning.report.words import shortened, significant

_LEFT, _RIGHT, _BOTTOM, _TOP = 62.0, 706.0, 372.0, 40.0
_WIDTH, _HEIGHT = 720.0, 452.0
_MIB = 1024**2
_LABEL_SHOWN = 20
# Of budgets below nothing lost, so that what matters is not pressed together by a model that lost everything.
_SHOWN_BUDGETS = 6
_NAMED = ("chosen", "good")
_KEY = (
    ("chosen", "the pick"),
    ("good", "the model itself"),
    ("poor", "asked everything"),
    ("grid", "given up before"),
)


@dataclass(frozen=True, slots=True)
class _Dot:
    name: str
    size_bytes: int
    loss: Estimate
    kind: str


def pareto_plot(outcome: Outcome) -> Drawing:
    """Size against loss, the parent at nothing lost.

    Args:
        outcome: Of a search.
    """
    dots = _dots(outcome)
    described = "; ".join(
        f"{dot.name}: {format_bytes(dot.size_bytes)}, {lost_words(outcome, dot.loss)}" for dot in dots[:-1]
    )
    front = ", ".join(outcome.front)
    drawing = Drawing("pareto", "Size against what is lost", f"{described}. On the front: {front}.", _WIDTH, _HEIGHT)
    frame = Frame(_across(dots), _up(outcome, dots), "MiB", _up_name(outcome), significant, _shown)
    frame.draw(drawing)
    limit = frame.up.at(-outcome.order.percent)
    drawing.line(_LEFT, limit, _RIGHT, limit, "line s-limit")
    drawing.words(_LEFT + 6, limit + 16, f"budget: {outcome.order.percent:g}", "rim t-alarm")
    _draw_front(drawing, frame, outcome, dots)
    for dot in sorted(dots, key=lambda dot: dot.kind == "chosen"):
        _draw_dot(drawing, frame, dot)
    labels = Labels(drawing, [_place(frame, dot) for dot in dots])
    for dot in sorted(dots, key=lambda dot: dot.kind not in _NAMED):
        if dot.kind in _NAMED or dot.name in outcome.front:
            x, y = _place(frame, dot)
            labels.write(x, y, shortened(dot.name, _LABEL_SHOWN), is_left=x > (_LEFT + _RIGHT) / 2)
    x = _LEFT
    for kind, words in _KEY:
        drawing.dot(x + 6, _BOTTOM + 62, 5.0, f"f-{kind} edge" if kind != "grid" else "ring-open thin s-axis")
        drawing.words(x + 18, _BOTTOM + 66, words)
        x += 44 + 7 * len(words)
    return drawing


def _dots(outcome: Outcome) -> list[_Dot]:
    """Candidates that were looked at, the parent last."""
    subject = outcome.order.parent.subject
    found = [_dot(outcome, entry) for entry in outcome.entries if entry.runner.judgement is not None]
    return [*found, _Dot(name_of(subject.name), subject.size_bytes, Estimate(0.0, 0.0, 0.0, 1, "counted"), "good")]


def _dot(outcome: Outcome, entry: Entry) -> _Dot:
    judgement = entry.runner.judgement
    assert judgement is not None  # the caller has looked
    kind = "poor" if judgement.is_whole else "open"
    kind = "chosen" if entry.candidate.name == outcome.pick else kind
    return _Dot(entry.candidate.name, entry.candidate.size_bytes, judgement.loss, kind)


def _across(dots: list[_Dot]) -> Scale:
    sizes = [dot.size_bytes / _MIB for dot in dots]
    room = (max(sizes) - min(sizes) or max(sizes)) * 0.08
    return Scale(max(0.0, min(sizes) - room), max(sizes) + room, _LEFT, _RIGHT)


def _up(outcome: Outcome, dots: list[_Dot]) -> Scale:
    """From a few budgets below nothing lost to what was gained at the most."""
    percent = outcome.order.percent
    finite = [dot.loss for dot in dots if math.isfinite(dot.loss.upper)]
    least = -min(_SHOWN_BUDGETS * percent, max([1.6 * percent, *(loss.upper for loss in finite)]))
    most = max(0.4 * percent, *(min(-loss.lower, 3 * percent) for loss in finite))
    return Scale(least, most * 1.1, _BOTTOM, _TOP)


def _draw_front(drawing: Drawing, frame: Frame, outcome: Outcome, dots: list[_Dot]) -> None:
    """Steps through the unfavourable ends of what is on the front: they are what was shown."""
    front = set(outcome.front)
    names = {name_of(outcome.order.parent.subject.name): outcome.order.parent.subject.name}
    on = sorted((dot for dot in dots if names.get(dot.name, dot.name) in front), key=lambda dot: dot.size_bytes)
    points: list[tuple[float, float]] = []
    for dot in on:
        x, y = frame.point(dot.size_bytes / _MIB, -dot.loss.upper)
        if points:
            points.append((x, points[-1][1]))
        points.append((x, y))
    if len(points) > 1:
        drawing.curve(points, "line s-owning")


def _place(frame: Frame, dot: _Dot) -> tuple[float, float]:
    return frame.point(dot.size_bytes / _MIB, -dot.loss.value)


def _draw_dot(drawing: Drawing, frame: Frame, dot: _Dot) -> None:
    x, y = _place(frame, dot)
    if math.isfinite(dot.loss.upper) and dot.loss.lower != dot.loss.upper:
        top, bottom = frame.up.at(-dot.loss.lower), frame.up.at(-dot.loss.upper)
        drawing.line(x, top, x, bottom, "thin s-axis")
        for end in (top, bottom):
            drawing.line(x - 4, end, x + 4, end, "thin s-axis")
    if -dot.loss.value < frame.up.low:
        drawing.cross(x, y - 5, 4.0, "thin s-axis")
    else:
        drawing.dot(x, y, 5.0, "ring ring-open thin s-axis" if dot.kind == "open" else f"f-{dot.kind} edge")


def _up_name(outcome: Outcome) -> str:
    what = "points of the tasks" if outcome.order.tasks is not None else "percent of perplexity"
    return f"{what} against the model itself; below 0 is lost"


def _shown(value: float) -> str:
    return f"{value:+g}" if value else "0"

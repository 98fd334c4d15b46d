"""Plots of a quality card: size against quality with intervals, and quality by language. Pure."""

from __future__ import annotations

import math

from undercroft.core.units import format_bytes
from undercroft.optimize.cards.card import Card
from undercroft.optimize.cards.words import figure, name_of, quality_measure
from undercroft.optimize.evaluation.figures import WORDS, Figures, Measure
from undercroft.optimize.evaluation.intervals import Estimate
from undercroft.planning.report.axes import Frame, Labels
from undercroft.planning.report.drawing import Drawing
from undercroft.planning.report.scales import Scale, linear
from undercroft.planning.report.words import shortened, significant

_LEFT, _RIGHT, _BOTTOM, _TOP = 62.0, 466.0, 252.0, 40.0
_MIB = 1024**2
_ROW, _BAR = 44.0, 12.0
_CANDIDATE, _PARENT, _OTHER = "chosen", "good", "poor"
_LABEL_SHOWN = 24


def size_plot(card: Card) -> Drawing | None:
    """Size against quality; None where there is no quality to show.

    Args:
        card: Any.
    """
    measure = quality_measure(card)
    points = _points(card, measure)
    if not points:
        return None
    described = "; ".join(f"{name}: {format_bytes(size)}, {figure(measure, found)}" for name, size, found, _ in points)
    drawing = Drawing("size-quality", f"Size against {WORDS[measure]}", f"{described}.")
    largest = max(size for _, size, _, _ in points) / _MIB
    frame = Frame(
        linear(largest * 1.05, _LEFT, _RIGHT),
        _up([found for _, _, found, _ in points], measure),
        "MiB",
        WORDS[measure],
        significant,
        lambda value: _tick(measure, value),
    )
    frame.draw(drawing)
    for _, size, found, kind in points:
        x, y = frame.point(size / _MIB, found.value)
        if math.isfinite(found.lower) and math.isfinite(found.upper):
            top, bottom = frame.up.at(found.upper), frame.up.at(found.lower)
            drawing.line(x, top, x, bottom, "thin s-axis")
            for end in (top, bottom):
                drawing.line(x - 5, end, x + 5, end, "thin s-axis")
        drawing.dot(x, y, 5.0, f"f-{kind} edge")
    places = [frame.point(size / _MIB, found.value) for _, size, found, _ in points]
    labels = Labels(drawing, places)
    for (name, *_), (x, y) in reversed(list(zip(points, places, strict=True))):
        labels.write(x, y, shortened(name, _LABEL_SHOWN), is_left=x > (_LEFT + _RIGHT) / 2)
    return drawing


def language_plot(card: Card) -> Drawing | None:
    """Quality of each language as bars with intervals, candidate above parent; None where there is no language.

    Args:
        card: Any.
    """
    measure = quality_measure(card)
    rows = [
        (language, measures[measure], _of_parent(card.parent_figures, language, measure))
        for language, measures in card.figures.languages.items()
        if measure in measures
    ]
    if not rows:
        return None
    described = "; ".join(
        f"{language}: {figure(measure, own)}" + (f", parent {figure(measure, other)}" if other is not None else "")
        for language, own, other in rows
    )
    bottom = 30 + _ROW * len(rows)
    drawing = Drawing("languages", f"Languages: {WORDS[measure]}", f"{described}.", height=bottom + 60)
    most = max(_reach(found) for _, own, other in rows for found in (own, other) if found is not None)
    right = _RIGHT - 12
    scale = Scale(0.0, 1.0, _LEFT, right, step=0.25) if measure is Measure.SCORE else linear(most, _LEFT, right)
    for value in scale.ticks():
        drawing.line(scale.at(value), 24, scale.at(value), bottom, "thin s-grid")
        drawing.words(scale.at(value), bottom + 18, _tick(measure, value), "middle t-quiet")
    for index, (language, own, other) in enumerate(rows):
        top = 32 + _ROW * index
        drawing.words(_LEFT - 10, top + 18, language, "end t-words")
        _bar(drawing, scale, top, own, _CANDIDATE)
        if other is not None:
            _bar(drawing, scale, top + _BAR + 3, other, _PARENT)
    names = [(_CANDIDATE, "candidate"), *([(_PARENT, "parent")] if card.parent is not None else [])]
    for index, (kind, name) in enumerate(names):
        drawing.bar(_LEFT + 120 * index, bottom + 36, 12, 12, f"f-{kind}", corner=2)
        drawing.words(_LEFT + 120 * index + 18, bottom + 46, name)
    return drawing


def _points(card: Card, measure: Measure) -> list[tuple[str, int, Estimate, str]]:
    found = [(point.name, point.size_bytes, point.quality, _OTHER) for point in card.points if measure is Measure.SCORE]
    if card.parent is not None and card.parent_figures is not None and measure in card.parent_figures.whole:
        subject = card.parent.subject
        found.append((name_of(subject.name), subject.size_bytes, card.parent_figures.whole[measure], _PARENT))
    if measure in card.figures.whole:
        subject = card.candidate.subject
        found.append((name_of(subject.name), subject.size_bytes, card.figures.whole[measure], _CANDIDATE))
    return found


def _up(found: list[Estimate], measure: Measure) -> Scale:
    """As much of the axis as is needed: differences of a point would be lost on all of it."""
    if measure is not Measure.SCORE:
        return linear(max(_reach(estimate) for estimate in found), _BOTTOM, _TOP)
    least = min(estimate.lower for estimate in found)
    step = 0.25 if least < 0.5 else 0.1 if least < 0.8 else 0.05 if least < 0.9 else 0.02
    return Scale(max(0.0, math.floor(least / step) * step), 1.0, _BOTTOM, _TOP, step=step)


def _bar(drawing: Drawing, scale: Scale, top: float, found: Estimate, kind: str) -> None:
    zero, end = scale.at(0.0), scale.at(found.value)
    drawing.bar(zero, top, end - zero, _BAR, f"f-{kind}", corner=1)
    if math.isfinite(found.lower) and math.isfinite(found.upper):
        middle = top + _BAR / 2
        left, right = scale.at(found.lower), scale.at(found.upper)
        drawing.line(left, middle, right, middle, "thin s-axis")
        for place in (left, right):
            drawing.line(place, middle - 4, place, middle + 4, "thin s-axis")


def _tick(measure: Measure, value: float) -> str:
    return f"{100 * value:g} %" if measure is Measure.SCORE else significant(value)


def _of_parent(figures: Figures | None, language: str, measure: Measure) -> Estimate | None:
    return None if figures is None else figures.languages.get(language, {}).get(measure)


def _reach(estimate: Estimate) -> float:
    return estimate.upper if math.isfinite(estimate.upper) else estimate.value

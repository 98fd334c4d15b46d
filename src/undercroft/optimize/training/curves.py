"""The loss, as a table and as a picture. Pure."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence

from undercroft.optimize.training.orders import Curve, Point
from undercroft.planning.report.axes import Frame, draw_key
from undercroft.planning.report.drawing import Drawing, sheet
from undercroft.planning.report.scales import Scale, linear
from undercroft.planning.report.words import significant

_LEFT, _RIGHT, _BOTTOM, _TOP = 62.0, 706.0, 302.0, 40.0
_MOST_POINTS = 240


def curve_table(curve: Curve) -> str:
    """CSV: ``step,loss,kind``; kind is ``training`` or ``validation``."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["step", "loss", "kind"])
    for kind, points in (("training", curve.training), ("validation", curve.validation)):
        writer.writerows([point.step, f"{point.loss:.6g}", kind] for point in points)
    return out.getvalue()


def curve_picture(curve: Curve, title: str, lines: Sequence[str]) -> str:
    """An SVG file.

    Args:
        curve: With at least one step.
        title: What was trained.
        lines: Under it.
    """
    training, validation = thinned(curve.training, _MOST_POINTS), curve.validation
    most = max(point.loss for point in (*training, *validation))
    described = f"Training: {_from_to(training)}. Validation: {_from_to(validation)}."
    drawing = Drawing("loss", "Loss", described, width=720, height=350)
    steps = max(point.step for point in curve.training)
    across = Scale(0.0, float(max(steps, 1)), _LEFT, _RIGHT)
    frame = Frame(
        across, linear(most, _BOTTOM, _TOP), "steps", "nats a token", lambda step: f"{step:,.0f}", significant
    )
    frame.draw(drawing)
    drawing.curve([frame.point(point.step, point.loss) for point in training], "line s-cloud")
    if validation:
        drawing.curve([frame.point(point.step, point.loss) for point in validation], "line s-owning")
        for point in validation:
            drawing.dot(*frame.point(point.step, point.loss), 3.5, "f-chosen")
    names = [("cloud", "training"), *([("owning", "validation")] if validation else [])]
    draw_key(drawing, _TOP - 28, names, left=_RIGHT - 220)
    return sheet(title, lines, [drawing], columns=1)


def thinned(points: Sequence[Point], most: int) -> list[Point]:
    """Means of equal stretches, where there are more points than can be shown."""
    if len(points) <= most:
        return list(points)
    size = math.ceil(len(points) / most)
    groups = [points[begin : begin + size] for begin in range(0, len(points), size)]
    return [Point(group[-1].step, sum(point.loss for point in group) / len(group)) for group in groups]


def _from_to(points: Sequence[Point]) -> str:
    return f"from {points[0].loss:.3f} to {points[-1].loss:.3f}" if points else "none"

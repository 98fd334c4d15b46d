"""The frame of a plot: grid, ticks, what the axes are, and a key of its lines. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from undercroft.planning.report.drawing import LETTER_WIDTH, Drawing
from undercroft.planning.report.scales import Scale

_AXIS_WIDTH = 62.0
_BESIDE, _LETTER_HEIGHT, _DOT = 10.0, 12.0, 6.0
_FEET = (-8.0, 16.0, -24.0, 32.0, -40.0, 48.0)  # below a point; the nearest first
Shown = Callable[[float], str]


@dataclass(frozen=True, slots=True)
class Frame:
    """Two axes.

    Args:
        across: From left to right.
        up: From the bottom up; its ``start`` is below its ``end``.
        across_name: What is counted across, with its unit.
        up_name: What is counted up, with its unit.
        across_shown: How a value across is written.
        up_shown: How a value up is written.
    """

    across: Scale
    up: Scale
    across_name: str
    up_name: str
    across_shown: Shown
    up_shown: Shown

    def draw(self, drawing: Drawing) -> None:
        """Draws grid, ticks and names."""
        left, right, bottom = self.across.start, self.across.end, self.up.start
        for value in self.up.ticks():
            y = self.up.at(value)
            drawing.line(left, y, right, y, "thin s-grid")
            drawing.words(left - 8, y + 4, self.up_shown(value), "end t-quiet")
        for value in _apart(self.across, self.across_shown):
            x = self.across.at(value)
            drawing.line(x, bottom, x, bottom + 4, "thin s-axis")
            drawing.words(x, bottom + 18, self.across_shown(value), "middle t-quiet")
        drawing.line(left, bottom, right, bottom, "thin s-axis")
        drawing.words((left + right) / 2, bottom + 38, self.across_name, "middle t-quiet")
        drawing.words(0, self.up.end - 18, self.up_name, "t-quiet")

    def point(self, across: float, up: float) -> tuple[float, float]:
        """Place of a pair of values."""
        return self.across.at(across), self.up.at(up)


def _apart(scale: Scale, shown: Shown) -> list[float]:
    """Ticks whose texts do not touch."""
    kept: list[float] = []
    edge = float("-inf")
    for value in scale.ticks():
        half = len(shown(value)) * LETTER_WIDTH / 2 + 4
        if scale.at(value) - half >= edge:
            kept.append(value)
            edge = scale.at(value) + half
    return kept


def draw_key(drawing: Drawing, y: float, entries: Sequence[tuple[str, str]], left: float = 0.0) -> None:
    """Line samples with their names.

    Args:
        drawing: To draw on.
        y: Of the middle of the text.
        entries: Kind of the line, its name.
        left: Where the first begins.
    """
    x = left
    for kind, name in entries:
        drawing.line(x, y, x + 22, y, f"line s-{kind}")
        drawing.words(x + 28, y + 4, name)
        x += 28 + len(name) * LETTER_WIDTH + 18


def draw_label(
    drawing: Drawing, x: float, y: float, text: str, kind: str = "t-words", *, is_left: bool = False
) -> None:
    """A text beside a point, turned to the side that has room, with a rim that keeps lines off it.

    Args:
        drawing: To draw on.
        x: Of the point.
        y: Of the foot of the text.
        text: What is written.
        kind: Classes.
        is_left: Left of the point where there is room.
    """
    width = len(text) * LETTER_WIDTH + 10
    is_left = x - width > _AXIS_WIDTH if is_left else x + width > drawing.width
    drawing.words(x - 10 if is_left else x + 10, y, text, f"{'end ' if is_left else ''}rim {kind}")


class Labels:
    """Names of points that do not touch each other or another point.

    Args:
        drawing: To draw on.
        points: All of them.
    """

    def __init__(self, drawing: Drawing, points: Sequence[tuple[float, float]]) -> None:
        self._drawing = drawing
        self._points = list(points)
        self._taken = [(x - _DOT, y - _DOT, x + _DOT, y + _DOT) for x, y in points]

    def write(self, x: float, y: float, text: str, *, is_left: bool = False) -> bool:
        """Writes the name of a point where there is room beside it; what matters most comes first.

        Args:
            x: Of the point.
            y: Of the point.
            text: Its name.
            is_left: Left of the point where there is room.

        Returns:
            Whether there was room; where not it is left to the drawing's description.
        """
        width = len(text) * LETTER_WIDTH
        for foot in _FEET:
            for is_here in (is_left, not is_left):
                left = x - _BESIDE - width if is_here else x + _BESIDE
                box = (left, y + foot - _LETTER_HEIGHT, left + width, y + foot + 2)
                place = x - _BESIDE if is_here else left
                is_inside = left > _AXIS_WIDTH and box[2] < self._drawing.width and box[1] > 0
                is_free = is_inside and not any(_touch(box, other) for other in self._taken)
                if is_free and self._is_nearest((x, y), (place, y + foot - _LETTER_HEIGHT / 3)):
                    self._taken.append(box)
                    self._drawing.words(place, y + foot, text, f"{'end ' if is_here else ''}rim t-words")
                    return True
        return False

    def _is_nearest(self, point: tuple[float, float], place: tuple[float, float]) -> bool:
        """Whether what is written at a place is read as the name of this point and of no other."""
        return all(math.dist(point, place) <= math.dist(other, place) for other in self._points)


def _touch(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]

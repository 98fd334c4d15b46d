"""Pictures as SVG: a few marks, each with the classes that the style sheet colours. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

from undercroft.planning.report.palette import plot_style
from undercroft.planning.report.words import clean

NAMESPACE = "http://www.w3.org/2000/svg"
LETTER_WIDTH = 6.9  # of the plots' letters, on average and rounded up: for places, never for cutting


class Drawing:
    """One plot with its text alternative.

    Args:
        key: For ids; letters and ``-``.
        title: In a few words.
        description: What the plot shows, in sentences that need no picture.
        width: Units.
        height: Units.
    """

    def __init__(self, key: str, title: str, description: str, width: float = 480, height: float = 300) -> None:
        self.key, self.title, self.description = key, clean(title), clean(description)
        self.width, self.height = width, height
        self.marks = ElementTree.Element("g")

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str) -> None:
        """A straight line."""
        self._mark("line", kind, x1=x1, y1=y1, x2=x2, y2=y2)

    def bar(self, x: float, y: float, width: float, height: float, kind: str, corner: float = 0.0) -> None:
        """A filled rectangle."""
        self._mark("rect", kind, x=x, y=y, width=max(0.0, width), height=height, rx=corner)

    def dot(self, x: float, y: float, radius: float, kind: str) -> None:
        """A circle."""
        self._mark("circle", kind, cx=x, cy=y, r=radius)

    def cross(self, x: float, y: float, reach: float, kind: str) -> None:
        """Two lines that cross."""
        self.line(x - reach, y - reach, x + reach, y + reach, kind)
        self.line(x - reach, y + reach, x + reach, y - reach, kind)

    def curve(self, points: Sequence[tuple[float, float]], kind: str) -> None:
        """Straight lines from point to point."""
        element = self._mark("polyline", kind)
        element.set("points", " ".join(f"{x:.1f},{y:.1f}" for x, y in points))

    def words(self, x: float, y: float, text: str, kind: str = "t-words") -> None:
        """A line of text; ``end`` and ``middle`` in ``kind`` say which of its places is at ``x``."""
        self._mark("text", kind, x=x, y=y).text = clean(text)

    def markup(self) -> str:
        """For a page that has the style sheet."""
        return ElementTree.tostring(self._root(), encoding="unicode")

    def _root(self) -> ElementTree.Element:
        root = _svg(self.width, self.height)
        root.set("aria-labelledby", f"{self.key}-title {self.key}-description")
        for name, text in (("title", self.title), ("desc", self.description)):
            element = ElementTree.SubElement(
                root, name, id=f"{self.key}-{'title' if name == 'title' else 'description'}"
            )
            element.text = text
        root.append(self.marks)
        return root

    def _mark(self, name: str, kind: str, **places: float) -> ElementTree.Element:
        attributes = {key: f"{value:.1f}" for key, value in places.items() if value or key != "rx"}
        return ElementTree.SubElement(self.marks, name, {**attributes, "class": kind})


def sheet(title: str, lines: Sequence[str], drawings: Sequence[Drawing], columns: int = 2) -> str:
    """Several plots on one picture that stands alone.

    Args:
        title: Of the whole.
        lines: Under it.
        drawings: From left to right, then the next row.
        columns: Side by side; count.

    Returns:
        A whole SVG file.
    """
    margin, gap, head = 28.0, 32.0, 78.0 + 20 * len(lines)
    rows = [drawings[first : first + columns] for first in range(0, len(drawings), columns)]
    heights = [max(d.height for d in row) + 34 for row in rows]
    width = 2 * margin + columns * drawings[0].width + (columns - 1) * gap
    root = _svg(width, head + sum(heights) + margin + gap * (len(rows) - 1))
    ElementTree.SubElement(root, "title").text = clean(title)
    ElementTree.SubElement(root, "desc").text = clean(" ".join([*lines, *(d.description for d in drawings)]))
    ElementTree.SubElement(root, "style").text = plot_style() + ".plot .head{font-size:22px;font-weight:600}"
    ElementTree.SubElement(root, "rect", {"width": "100%", "height": "100%", "class": "paper"})
    _write(root, margin, margin + 16, title, "head t-words")
    for index, line in enumerate(lines):
        _write(root, margin, margin + 42 + 20 * index, line, "t-quiet")
    top = head
    for row, height in zip(rows, heights, strict=True):
        for column, drawing in enumerate(row):
            left = margin + column * (drawing.width + gap)
            _write(root, left, top + 16, drawing.title, "strong t-words")
            place = ElementTree.SubElement(root, "g", transform=f"translate({left:.0f} {top + 34:.0f})")
            place.append(drawing.marks)
        top += height + gap
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def _write(parent: ElementTree.Element, x: float, y: float, text: str, kind: str) -> None:
    element = ElementTree.SubElement(parent, "text", {"x": f"{x:.0f}", "y": f"{y:.0f}", "class": kind})
    element.text = clean(text)


def _svg(width: float, height: float) -> ElementTree.Element:
    box = f"0 0 {width:.0f} {height:.0f}"
    return ElementTree.Element("svg", {"xmlns": NAMESPACE, "viewBox": box, "role": "img", "class": "plot"})

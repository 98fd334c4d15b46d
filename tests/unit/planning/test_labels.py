"""Names in a plot can be read."""

from __future__ import annotations

from xml.etree import ElementTree

from undercroft.planning.report.axes import Labels
from undercroft.planning.report.drawing import LETTER_WIDTH, NAMESPACE, Drawing

_POINTS = {"the-pick": (220.0, 120.0), "Q4_K_M": (245.0, 116.0), "Q6_K": (310.0, 118.0), "parent": (322.0, 118.0)}


def _boxes(drawing: Drawing) -> dict[str, tuple[float, float]]:
    """Left and right end of every text, and its foot."""
    found = {}
    for element in ElementTree.fromstring(drawing.markup()).iter(f"{{{NAMESPACE}}}text"):
        text, x = element.text or "", float(element.get("x") or 0)
        width = len(text) * LETTER_WIDTH
        left = x - width if "end" in (element.get("class") or "") else x
        found[f"{text} {element.get('y')}"] = (left, left + width)
    return found


def test_names_of_near_points_do_not_touch() -> None:
    """Each goes to another side or height; all are there, and none lies on another point."""
    drawing = Drawing("near", "Near", "Near points.")
    labels = Labels(drawing, list(_POINTS.values()))
    assert all(labels.write(x, y, name, is_left=x > 264) for name, (x, y) in _POINTS.items())
    boxes = _boxes(drawing)
    assert len(boxes) == len(_POINTS)
    for one, (left, right) in boxes.items():
        foot = float(one.split()[1])
        for x, y in _POINTS.values():
            assert not (left < x < right and foot - 12 < y < foot + 2), one
        for other, (begin, end) in boxes.items():
            if one != other and abs(foot - float(other.split()[1])) < 14:
                assert right <= begin or end <= left, (one, other)


def test_a_name_stands_nearest_to_its_own_point() -> None:
    """Of two points side by side each has its name on its own side."""
    drawing = Drawing("two", "Two", "Two points.")
    labels = Labels(drawing, [(384.0, 100.0), (396.0, 100.0)])
    assert labels.write(396.0, 100.0, "pilot", is_left=True)
    assert labels.write(384.0, 100.0, "Q6_K", is_left=True)
    boxes = {key.split()[0]: box for key, box in _boxes(drawing).items()}
    assert boxes["Q6_K"][1] < 384 < 396 < boxes["pilot"][0]


def test_a_name_without_room_is_left_out() -> None:
    """Where every place is taken nothing is written over what is there."""
    drawing = Drawing("full", "Full", "Many points.")
    labels = Labels(drawing, [(200.0, 100.0)] * 40)
    written = [labels.write(200.0, 100.0, f"model {number}") for number in range(40)]
    assert written[0]
    assert not written[-1]
    assert len(_boxes(drawing)) == sum(written)

"""The loss as a table, a picture and a line in the terminal."""

from __future__ import annotations

from xml.etree import ElementTree

from undercroft.cli.job_progress import loss_line
from undercroft.optimize.training.curves import curve_picture, curve_table, thinned
from undercroft.optimize.training.orders import Curve, Point

CURVE = Curve(
    tuple(Point(step, 4.0 / step) for step in range(1, 1001)), (Point(0, 5.0), Point(500, 2.0), Point(1000, 1.5))
)


def test_the_table_has_every_point() -> None:
    """One row a step and one an evaluation."""
    lines = curve_table(CURVE).splitlines()
    assert lines[:2] == ["step,loss,kind", "1,4,training"]
    assert len(lines) == 1 + 1000 + 3
    assert lines[-1] == "1000,1.5,validation"


def test_the_picture_says_in_words_what_it_shows() -> None:
    """It is one SVG with the first and last losses in words, and no more points than can be seen."""
    root = ElementTree.fromstring(curve_picture(CURVE, "Loss of <taught>", ["1,000 steps"]))
    said = "".join(root.itertext())
    assert "Loss of <taught>" in said
    assert "Validation: from 5.000 to 1.500" in said
    curves = [element for element in root.iter() if element.tag.endswith("polyline")]
    assert len(curves) == 2
    assert all(len(curve.attrib["points"].split()) <= 240 for curve in curves)


def test_thinning_keeps_the_mean() -> None:
    """Stretches become their mean at their last step; few points stay as they are."""
    points = [Point(step, float(step)) for step in range(1, 11)]
    assert thinned(points, 10) == points
    assert thinned(points, 5) == [Point(2, 1.5), Point(4, 3.5), Point(6, 5.5), Point(8, 7.5), Point(10, 9.5)]


def test_the_terminal_shows_it_as_bars() -> None:
    """From the highest to the lowest; a flat one and none at all are shown, too."""
    assert loss_line((4.0, 2.25, 0.5)) == "loss 4 █▅▁ 0.5"
    assert loss_line((1.0, 1.0)) == "loss 1 ▁▁ 1"
    assert loss_line(()) == ""

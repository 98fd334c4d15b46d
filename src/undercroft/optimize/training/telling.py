"""Tells how a training goes: the loss with the progress, and the whole curve as files for people."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from undercroft.optimize.steps import Progress
from undercroft.optimize.training.curves import curve_picture, curve_table, thinned
from undercroft.optimize.training.orders import Curve

_SHOWN_LOSSES = 40


class CurveTeller:
    """Hands progress on with the loss, and keeps the curve.

    Args:
        report: Told how far it is.
        folder: For ``loss.csv`` and ``loss.svg``; made where it is not there.
        title: Of the picture.
    """

    def __init__(self, report: Callable[[Progress], None], folder: Path, title: str) -> None:
        self._report, self._folder, self._title = report, folder, title

    def tell(self, progress: Progress, curve: Curve) -> None:
        """Progress, with a few of the losses so far."""
        losses = tuple(point.loss for point in thinned(curve.training, _SHOWN_LOSSES))
        self._report(Progress(progress.done, progress.total, progress.unit, progress.note, losses))

    def keep(self, curve: Curve) -> None:
        """Writes the curve down.

        Raises:
            OSError: The disk is full.
        """
        self._folder.mkdir(exist_ok=True)
        (self._folder / "loss.csv").write_text(curve_table(curve), encoding="utf-8")
        if curve.training:
            last = curve.validation[-1].loss if curve.validation else curve.training[-1].loss
            lines = [f"{len(curve.training):,} steps; {'validation' if curve.validation else 'training'}: {last:.3f}"]
            (self._folder / "loss.svg").write_text(curve_picture(curve, self._title, lines), encoding="utf-8")

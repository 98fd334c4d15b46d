"""Runs a training to its end, in the environment ``train``, and hands on how far it is."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from undercroft.core.errors import InvalidError, UnavailableError
from undercroft.environments.installed import Environment
from undercroft.optimize.conversion.programs_run import run_program
from undercroft.optimize.steps import Progress
from undercroft.optimize.training.orders import Curve, Point, Trained, TrainingOrder

PROGRAMS = Path(__file__).with_name("programs")
ENVIRONMENT = "train"


def train(order: TrainingOrder, environment: Environment, report: Callable[[Progress, Curve], None]) -> Trained:
    """Trains, or goes on where an earlier run of the same order in the same folder was ended.

    Args:
        order: What is wanted. Its folder is there, and its target is made.
        environment: The installed ``train``.
        report: Told each step and each evaluation, with the loss so far.

    Returns:
        What came of it; the weights lie in the target.

    Raises:
        InvalidError: ``diverged``: the loss is no number; ``not-trainable``: the model cannot be opened so.
        UnavailableError: The program failed, or memory is short.
        OSError: The disk is full.
    """
    heard = _Heard(report)
    said = run_program(environment, "train", order.to_dict(), folder=order.folder, programs=PROGRAMS, hear=heard.hear)
    if said["outcome"] == "done":
        points = said.pop("curve")
        del said["outcome"]
        return Trained(curve=_curve(points), **{**said, "resumed_at": tuple(said["resumed_at"])})
    raise _problem(said)


class _Heard:
    """Adds the points that the program tells to a curve."""

    def __init__(self, report: Callable[[Progress, Curve], None]) -> None:
        self._report = report
        self._curve = Curve()

    def hear(self, event: dict[str, Any]) -> None:
        kind = event["event"]
        if kind == "begun":
            self._curve = _curve(event["curve"])
        elif kind == "trained":
            point = Point(event["step"], event["loss"])
            self._curve = Curve((*self._curve.training, point), self._curve.validation)
        elif kind == "evaluated":
            point = Point(event["step"], event["loss"])
            self._curve = Curve(self._curve.training, (*self._curve.validation, point))
        self._report(Progress(event["step"], event["steps"], "steps", "training"), self._curve)


def _curve(points: dict[str, list[list[float]]]) -> Curve:
    training, validation = (
        tuple(Point(int(step), loss) for step, loss in points[name]) for name in ("training", "validation")
    )
    return Curve(training, validation)


def _problem(said: dict[str, Any]) -> Exception:
    outcome = said["outcome"]
    if outcome == "os-error":
        number = said["errno"] or errno.EIO
        return OSError(number, os.strerror(number), said["path"])
    if outcome == "out-of-memory":
        return UnavailableError(
            "out-of-memory", "the memory ran out while the model was trained", hint="fewer rows at a time, or lora"
        )
    if outcome == "diverged":
        return InvalidError(
            "diverged",
            f"the loss became {said['loss']} at step {said['step']:,}: the model forgot all it knew",
            hint="a lower --rate",
        )
    return InvalidError("not-trainable", f"this model cannot be trained: {said['detail']}")

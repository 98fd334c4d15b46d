"""Looks for what became worse since a moment, and for what made it so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection

from undercroft.core.clock import to_iso
from undercroft.core.home import Home
from undercroft.watch.blame.abilities import Measure
from undercroft.watch.blame.answers import Switch, find_switches
from undercroft.watch.blame.causes import Cause, rank_causes
from undercroft.watch.blame.change_points import Change, find_changes
from undercroft.watch.blame.climbs import Climb, find_climbs
from undercroft.watch.blame.growth import Growth, find_growth
from undercroft.watch.blame.sentences import (
    climb_sentence,
    growing_sentence,
    growth_sentence,
    nothing_sentence,
    step_sentence,
    switch_sentence,
)
from undercroft.watch.blame.series import Series, around, diary, notes_of, read_usage, usage_series
from undercroft.watch.blame.sources import memory_series, quality_series

_CAUSES = 3
# Of the time that was looked at: two measures that changed so near each other changed together.
_SAME_TIME = 0.03
# A rise cannot be dated to the minute: as many seconds count as one measurement.
_CLIMB_SECONDS = 600.0

# What became worse: at once, little by little, of one replica, or answers in other words.
_Shape = Change | Climb | Growth | Switch


@dataclass(frozen=True, slots=True)
class Explained:
    """A change for the worse, and what may have made it.

    Args:
        series: Of what.
        shape: What happened.
        causes: The likeliest first; empty where nothing explains it.
        measure: What was asked for.
    """

    series: Series
    shape: Change | Climb | Growth | Switch
    causes: tuple[Cause, ...]
    measure: Measure

    @property
    def change(self) -> Change:
        """When, and by how much."""
        return _change_of(self.shape)

    @property
    def size(self) -> float:
        """How much worse: a ratio above 1, or 1 and the difference of shares; hardly above 1 for other words alone."""
        if isinstance(self.shape, Switch):
            before, after = self.shape.scores
            return 1 + max(0.0, before - after)
        if self.series.is_share:
            return 1 + 10 * abs(self.change.after - self.change.before)
        return self.change.ratio

    def sentence(self) -> str:
        """What happened, for people."""
        match self.shape:
            case Switch():
                return switch_sentence(self.series, self.shape)
            case Growth():
                return growth_sentence(self.series, self.shape)
            case Climb():
                return climb_sentence(self.series, self.shape)
        return step_sentence(self.series, self.shape)

    def unexplained(self) -> str | None:
        """What is left where no cause was found; None where one was."""
        if self.causes:
            return None
        if isinstance(self.shape, Growth):
            return growing_sentence(self.shape)
        return nothing_sentence(self.measure)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "name": self.series.name,
            "what": self.series.what if not isinstance(self.shape, Switch) else "answers in the same words",
            "unit": self.series.unit or "share",
            "at": to_iso(datetime.fromtimestamp(self.change.at, UTC)),
            "before": self.change.before,
            "after": self.change.after,
            "chance": self.change.chance,
            "measurements": self.change.values,
            **_details(self.shape),
            "sentence": self.sentence(),
            "causes": [
                {
                    "score": round(cause.score, 3),
                    "sentence": cause.sentence,
                    "evidence": list(cause.evidence),
                    "remedy": cause.remedy,
                    "entry": cause.entry,
                }
                for cause in self.causes
            ],
            "unexplained": self.unexplained(),
        }


def explain(
    connection: Connection, home: Home, measure: Measure, since: datetime, *, name: str | None = None
) -> tuple[list[Explained], int]:
    """Changes for the worse since a moment, the largest first.

    Args:
        connection: To read.
        home: Of the server.
        measure: What became worse.
        since: Not before.
        name: Of one name only.

    Returns:
        The changes, and how many measurements were looked at.
    """
    rows = read_usage(connection, to_iso(since))
    if measure is Measure.QUALITY:
        found = quality_series(home, since.timestamp())
    elif measure is Measure.MEMORY:
        found = memory_series(connection, to_iso(since))
    else:
        found = usage_series(measure, rows)
    explained = []
    looked_at = 0
    for series in found:
        if name is not None and series.name != name:
            continue
        looked_at += len(series.points)
        steps, others = _shapes(series, since.timestamp())
        bounds = sorted(_change_of(shape).at for shape in (*steps, *others))
        for shape in [*(step for step in steps if series.is_worse(step)), *others]:
            change = _change_of(shape)
            begin = max((at for at in bounds if at < change.at), default=series.points[0].at)
            end = min((at for at in bounds if at > change.at), default=series.points[-1].at)
            explained.append(_explain(connection, measure, series, shape, rows, begin, end))
    return sorted(_without_twins(explained), key=lambda one: -one.size), looked_at


def _shapes(series: Series, since: float) -> tuple[Sequence[Change], Sequence[Climb | Growth | Switch]]:
    """All changes of level, and what became worse in another way."""
    if series.lives:
        return find_growth(series.lives, series.is_worse)
    changes = find_changes(series.points, is_share=series.is_share)
    if series.is_share:
        return changes, find_switches(series.answers, since) if series.points else []
    steps, climbs = find_climbs(series.points, changes, series.is_worse)
    return steps, [climb for climb in climbs if series.is_worse(climb.change)]


def _change_of(shape: _Shape) -> Change:
    match shape:
        case Growth():
            return shape.climb.change
        case Climb() | Switch():
            return shape.change
    return shape


def _details(shape: _Shape) -> dict[str, Any]:
    """What JSON has of one kind of change alone."""
    match shape:
        case Growth():
            own = {"replica": shape.life.replica, "replicas_one_after_the_other": shape.times}
            return {"shape": "growth", "per_hour": shape.climb.per_hour, "is_over": shape.climb.is_over, **own}
        case Climb():
            return {"shape": "climb", "per_hour": shape.per_hour, "is_over": shape.is_over}
        case Switch():
            scores = {"score_before": shape.scores[0], "score_after": shape.scores[1]}
            return {"shape": "other-answers", "questions": list(shape.questions), **scores}
    return {"shape": "step"}


def _explain(
    connection: Connection,
    measure: Measure,
    series: Series,
    shape: _Shape,
    rows: Mapping[str, Sequence[Mapping[str, Any]]],
    begin: float,
    end: float,
) -> Explained:
    if isinstance(shape, Growth) and shape.is_older:
        return Explained(series, shape, (), measure)
    change = _change_of(shape)
    entries = diary(connection, change)
    use = around(measure, series.name, change, rows, begin, end)
    times = [point.at for point in series.points]
    if isinstance(shape, Climb | Growth):
        times = _sparse(times)
    notes = notes_of(connection, entries)
    causes = rank_causes(measure, series.name, change, entries, use, notes=notes, measured_at=times)
    return Explained(series, shape, tuple(causes[:_CAUSES]), measure)


def _sparse(times: Sequence[float]) -> list[float]:
    """Of times in order, one each ten minutes."""
    kept: list[float] = []
    for at in times:
        if not kept or at - kept[-1] >= _CLIMB_SECONDS:
            kept.append(at)
    return kept


def _without_twins(explained: Sequence[Explained]) -> list[Explained]:
    """Of two measures of one name that changed at the same time, the one that changed more."""
    kept: list[Explained] = []
    for one in sorted(explained, key=lambda each: -each.size):
        twin = any(other.series.name == one.series.name and _is_same_time(one, other) for other in kept)
        if not twin:
            kept.append(one)
    return kept


def _is_same_time(one: Explained, other: Explained) -> bool:
    """Whether two changes cannot be told apart in time."""
    if other.change.earliest <= one.change.latest and one.change.earliest <= other.change.latest:
        return True
    span = other.series.points[-1].at - other.series.points[0].at
    return abs(other.change.at - one.change.at) <= _SAME_TIME * span

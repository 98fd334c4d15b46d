"""Looks for what became worse since a moment, and for what made it so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection

from undercroft.core.clock import to_iso
from undercroft.core.home import Home
from undercroft.core.units import format_bytes, format_duration
from undercroft.watch.blame.abilities import Measure
from undercroft.watch.blame.causes import Cause, nothing_sentence, rank_causes
from undercroft.watch.blame.change_points import Change, find_changes
from undercroft.watch.blame.series import (
    Series,
    around,
    diary,
    memory_series,
    notes_of,
    quality_series,
    read_usage,
    usage_series,
)

_CAUSES = 3
# Of the time that was looked at: two measures that changed so near each other changed together.
_SAME_TIME = 0.03


@dataclass(frozen=True, slots=True)
class Explained:
    """A change for the worse, and what may have made it.

    Args:
        series: Of what.
        change: When, and by how much.
        causes: The likeliest first; empty where nothing explains it.
        measure: What was asked for.
    """

    series: Series
    change: Change
    causes: tuple[Cause, ...]
    measure: Measure

    @property
    def size(self) -> float:
        """How much worse: a ratio above 1, or 1 and the difference of shares."""
        if self.series.is_share:
            return 1 + 10 * abs(self.change.after - self.change.before)
        return self.change.ratio

    def sentence(self) -> str:
        """What happened, for people."""
        change = self.change
        verb = "fell" if change.after < change.before else "rose"
        at = datetime.fromtimestamp(change.at, UTC)
        if self.series.is_share:
            how = f"from {change.before:.0%} to {change.after:.0%}"
        else:
            percent = abs(change.ratio - 1)
            levels = f"{_shown(change.before, self.series.unit)} -> {_shown(change.after, self.series.unit)}"
            how = f"{percent:.0%} ({levels})"
        what = self.series.what[0].upper() + self.series.what[1:]
        return f"{what} of {self.series.name} {verb} {how} on {at:%Y-%m-%d} at {at:%H:%M} UTC."

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "name": self.series.name,
            "what": self.series.what,
            "unit": self.series.unit or "share",
            "at": to_iso(datetime.fromtimestamp(self.change.at, UTC)),
            "before": self.change.before,
            "after": self.change.after,
            "chance": self.change.chance,
            "measurements": self.change.values,
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
            "unexplained": nothing_sentence(self.measure) if not self.causes else None,
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
        changes = find_changes(series.points, is_share=series.is_share)
        for index, change in enumerate(changes):
            if series.is_worse(change):
                begin = changes[index - 1].at if index else series.points[0].at
                end = changes[index + 1].at if index + 1 < len(changes) else series.points[-1].at
                explained.append(_explain(connection, measure, series, change, rows, begin, end))
    return sorted(_without_twins(explained), key=lambda one: -one.size), looked_at


def _explain(
    connection: Connection,
    measure: Measure,
    series: Series,
    change: Change,
    rows: dict[str, list[dict[str, Any]]],
    begin: float,
    end: float,
) -> Explained:
    entries = diary(connection, change)
    use = around(measure, series.name, change, rows, begin, end)
    notes, times = notes_of(connection, entries), [point.at for point in series.points]
    causes = rank_causes(measure, series.name, change, entries, use, notes=notes, measured_at=times)
    return Explained(series, change, tuple(causes[:_CAUSES]), measure)


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


def _shown(value: float, unit: str) -> str:
    if unit == "s":
        return f"{1000 * value:.2g} ms" if value < 0.01 else format_duration(value)
    if unit == "B":
        return format_bytes(round(value))
    return f"{value:,.0f} {unit}"

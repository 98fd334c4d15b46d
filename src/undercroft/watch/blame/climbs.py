"""What rises little by little has no one moment at which its level changed: when it began to rise, and how fast. Pure.

A search for changes of level cuts a slope into many small steps, none of which may be worth a word. So changes that
follow each other, and between which the values go on rising, are taken together; the moment is where a level turns into
a slope.
"""

from __future__ import annotations

import bisect
import itertools
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto

from undercroft.watch.blame.bends import fit_bend
from undercroft.watch.blame.change_points import LEAST_SIDE, Change, Point

# A slope has to be so much likelier than jumps: the logarithm of a ratio of likelihoods, less what each may choose
# freely, which is of a slope two moments, a level and a pace.
_SURELY_LOG, _FREE = 4.0, 4
# Squares of what fits without any rest.
_TINY = 1e-12
# Of the difference of two neighbouring levels: a smaller jump from the last values of one to the first of the other is
# a slope.
_JUMP = 0.5
_LEAST_VALUES, _LEAST_CHANGES = 2, 2
# Of the time around a change.
_GAP = 0.5
# Of normal values: the standard error of a median by that of a mean; a deviation by the median of differences.
_MEDIAN_ERROR, _DEVIATION = 1.25, 1.05
# Medians that a bent line is laid through; each time the moment is looked for in a shorter time around it.
_BINS, _TIMES = 60, 4
_AROUND = 6
_HOUR_SECONDS = 3600.0
# Of the time that it rose: what rose until so shortly before the last value still does.
_STILL = 0.1


class _Jump(Enum):
    """What a change looks like where it is."""

    DOWN = auto()
    NONE = auto()  # the values went on rising through it
    LIKELY = auto()
    SURE = auto()


@dataclass(frozen=True, slots=True)
class Climb:
    """A rise without a jump.

    Args:
        change: When it began, the level then, and the level that it came to.
        per_hour: Rise; the unit of the values.
        end: When it was last seen to rise; unix seconds.
        is_over: Whether the values stood still after that.
        is_from_start: Whether it may as well have begun before the first value.
    """

    change: Change
    per_hour: float
    end: float
    is_over: bool
    is_from_start: bool


def find_climbs(
    points: Sequence[Point], changes: Sequence[Change], is_worse: Callable[[Change], bool]
) -> tuple[list[Change], list[Climb]]:
    """Takes together what rises little by little.

    Args:
        points: In the order of time.
        changes: Of them, as `find_changes` gives them.
        is_worse: Whether a change is so large that somebody notices.

    Returns:
        Changes that are no part of a climb, and the climbs, however small, each in the order of time.
    """
    times = [point.at for point in points]
    cuts = [0, *(bisect.bisect_left(times, change.at) for change in changes), len(points)]
    steps: list[Change] = []
    climbs: list[Climb] = []
    jumps = [_jump(points, cuts[place : place + 3], change) for place, change in enumerate(changes)]
    index = 0
    while index < len(changes):
        last = index
        while (
            last < len(changes) and jumps[last] is not _Jump.DOWN and not _is_step(jumps[last], changes[last], is_worse)
        ):
            last += 1
        run = changes[index:last]
        has_worse = any(is_worse(change) for change in run)
        if run and not (has_worse and _is_slope(points[cuts[index] : cuts[last + 1]], run)):
            last = index
            while last < len(changes) and (
                jumps[last] is _Jump.NONE or (jumps[last] is not _Jump.DOWN and not is_worse(changes[last]))
            ):
                last += 1
            run = changes[index:last] if last - index >= _LEAST_CHANGES else []
        climb = _climb(points[cuts[index] : cuts[last + 1]], run) if run else None
        if climb is not None and _is_sudden(climb, times):
            steps.append(climb.change)
        elif climb is not None:
            climbs.append(replace(climb, is_from_start=climb.is_from_start and index == 0))
        else:
            last = max(last, index + 1)
            steps += changes[index:last]
        index = last
    return steps, climbs


def _is_step(jump: _Jump, change: Change, is_worse: Callable[[Change], bool]) -> bool:
    """Whether a rise is told by itself, whatever is around it."""
    return jump is _Jump.SURE and is_worse(change)


def _is_sudden(climb: Climb, times: Sequence[float]) -> bool:
    """Whether a rise took so few measurements that nobody can tell it from a jump."""
    return bisect.bisect_right(times, climb.end) - bisect.bisect_left(times, climb.change.at) <= 2 * LEAST_SIDE


def _is_slope(points: Sequence[Point], run: Sequence[Change]) -> bool:
    """Whether a bent line says more of the values than as many levels as were found, for what either may choose freely.

    Source:
        G. Schwarz, Estimating the Dimension of a Model, Annals of Statistics 6 (1978).
    """
    bins = _binned(points)
    if len(bins) < 2 * LEAST_SIDE:
        return False
    borders = [change.at for change in run]
    levels: dict[int, list[float]] = {}
    for one in bins:
        levels.setdefault(bisect.bisect_right(borders, one.at), []).append(one.value)
    stairs = sum((value - statistics.fmean(own)) ** 2 for own in levels.values() for value in own)
    bend, _ = fit_bend(bins)
    fits = len(bins) * math.log((stairs + _TINY) / (bend.squares + _TINY))
    return bend.per_second > 0 and fits + (2 * len(levels) - 1 - _FREE) * math.log(len(bins)) >= 2 * _SURELY_LOG


def _jump(points: Sequence[Point], cuts: Sequence[int], change: Change) -> _Jump:
    """Whether a rise is a jump, from the last values before it to the first after it, or only one of the whole of both.

    Args:
        points: All.
        cuts: Places of the change before it, of itself, and of the one after it.
        change: Itself.
    """
    if change.after <= change.before:
        return _Jump.DOWN
    begin, cut, end = cuts
    if not begin < cut < end:  # values of one and the same moment
        return _Jump.LIKELY
    near = max(_LEAST_VALUES, min(cut - begin, end - cut) // 3)
    values = [point.value for point in points[max(begin, cut - near) : min(end, cut + near)]]
    left, right = values[: min(near, cut - begin)], values[min(near, cut - begin) :]
    jump, least = statistics.median(right) - statistics.median(left), _JUMP * (change.after - change.before)
    noise = statistics.median(abs(later - earlier) for earlier, later in itertools.pairwise(values))
    doubt = 3 * _MEDIAN_ERROR * noise * _DEVIATION * math.sqrt(2 / near)
    if jump < least:
        return _Jump.NONE
    # Nobody saw what happened while nothing was measured.
    around = points[min(end, cut + near) - 1].at - points[max(begin, cut - near)].at
    is_gap = points[cut].at - points[cut - 1].at > _GAP * around
    return _Jump.SURE if jump - doubt >= least and not is_gap else _Jump.LIKELY


def _climb(points: Sequence[Point], run: Sequence[Change]) -> Climb | None:
    """A bent line through the values around a run of changes; None where it does not rise."""
    bins = _binned(points)
    if len(bins) < _LEAST_VALUES:
        return None
    bend, alike = fit_bend(bins)
    if bend.per_second <= 0:
        return None
    end = bins[bend.end].at
    is_over = bins[-1].at - end > _STILL * (end - bins[bend.begin].at)
    before, after = bend.level, bend.level + bend.per_second * (end - bins[bend.begin].at)
    per_hour = bend.per_second * _HOUR_SECONDS
    at, earliest, latest = _moments(bins, bend.begin, alike)
    is_from_start, first = min(alike) <= 1, points[0].at
    for _ in range(_TIMES):
        half = (points[-1].at - points[0].at) / _AROUND
        points = [point for point in points if at - half <= point.at <= min(end, at + half)]
        bins = _binned(points) if len(points) >= _BINS else []
        if len(bins) < _LEAST_VALUES:
            break
        bend, alike = fit_bend(bins, is_rising_on=True)
        if bend.per_second <= 0 or 3 * len(alike) > len(bins):
            break
        at, earliest, latest = _moments(bins, bend.begin, alike)
        is_from_start = min(alike) <= 1 and points[0].at == first
    change = replace(run[0], at=at, earliest=earliest, latest=latest, before=before, after=after)
    values = run[0].values + sum(one.values // 2 for one in run[1:])
    change = replace(change, chance=min(one.chance for one in run), values=values)
    return Climb(change, per_hour, end, is_over, is_from_start)


def _moments(bins: Sequence[Point], begin: int, alike: Sequence[int]) -> tuple[float, float, float]:
    """When a rise began, the time before which it hardly did, and that after which it hardly did."""
    return bins[begin].at, bins[max(0, min(alike) - 1)].at, bins[min(len(bins) - 1, max(alike) + 1)].at


def _binned(points: Sequence[Point]) -> list[Point]:
    """Medians of neighbours in `_BINS` equal times; a time without values has none."""
    first, span = points[0].at, points[-1].at - points[0].at
    groups: dict[int, list[Point]] = {}
    for point in points:
        place = min(_BINS - 1, int(_BINS * (point.at - first) / span)) if span > 0 else 0
        groups.setdefault(place, []).append(point)
    return [
        Point(statistics.fmean(one.at for one in own), statistics.median(one.value for one in own))
        for own in groups.values()
    ]

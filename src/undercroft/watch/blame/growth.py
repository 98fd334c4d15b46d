"""What replicas hold: when one began to grow without an end, and when the level of all changed. Pure.

Each replica is looked at by itself: its memory begins anew with it, and a leak of one is no matter of the others.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from undercroft.watch.blame.change_points import LEAST_SIDE, Change, Point, find_changes
from undercroft.watch.blame.climbs import Climb, find_climbs
from undercroft.watch.drift.leaks import LEAST_GROWTH, WARM_UP_HOURS, thinned
from undercroft.watch.drift.slopes import is_leak, slope_of
from undercroft.watch.findings import Kind

_HOUR_SECONDS = 3600.0
# Values that a slope is laid through.
_STEPS = 100


@dataclass(frozen=True, slots=True)
class Life:
    """What one replica held.

    Args:
        replica: Its id.
        born_at: When it was first looked at, perhaps long before the points; unix seconds.
        points: In the order of time; at least one.
    """

    replica: str
    born_at: float
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Growth:
    """A replica that takes more and more.

    Args:
        climb: When it began, and how fast.
        life: Of which replica.
        times: Of replicas that grew so one after the other, each since it was loaded, this one the first; count.
        is_older: It grew already when what was looked at began.
    """

    climb: Climb
    life: Life
    times: int
    is_older: bool


def find_growth(lives: Sequence[Life], is_worse: Callable[[Change], bool]) -> tuple[list[Change], list[Growth]]:
    """Changes of level of all replicas together, and what of them grows.

    A rise that begins with a replica and ends while it lives is its warm-up, and neither.

    Args:
        lives: What each replica held.
        is_worse: Whether a change of level is so large that somebody notices.
    """
    found: list[Growth] = []
    covered: list[tuple[float, float]] = []
    level: list[Point] = []
    for life in sorted(lives, key=lambda one: one.points[0].at):
        covered += _warm_up(life)
        own = life.points
        _, climbs = find_climbs(life.points, find_changes(life.points), is_worse)
        for climb in climbs:
            is_born_so = climb.is_from_start and life.born_at >= life.points[0].at
            if not is_worse(climb.change) and not _has_leaked(life, climb):
                continue
            if is_born_so and climb.is_over:
                covered.append((climb.change.earliest, climb.end))
                continue
            own = _levelled(own, climb)
            _add(found, Growth(climb, life, 1, climb.is_from_start and not is_born_so), is_born_so)
        level += own
    level.sort(key=lambda point: point.at)
    turns = sorted(at for life in lives for at in (life.points[0].at, life.points[-1].at))
    times = [point.at for point in level]
    steps = [
        change
        for change in find_changes(level)
        if not any(begin <= change.at <= end for begin, end in covered) or _is_turn(change, times, turns)
    ]
    return steps, found


def _levelled(points: Sequence[Point], climb: Climb) -> tuple[Point, ...]:
    """The values as they would be without the climb."""
    begin, per_second = climb.change.at, climb.per_hour / _HOUR_SECONDS
    return tuple(
        Point(point.at, point.value - per_second * max(0.0, min(point.at, climb.end) - begin)) for point in points
    )


def _is_turn(change: Change, times: Sequence[float], turns: Sequence[float]) -> bool:
    """Whether one replica came or went where the level of all changed: what is new then is another one's level."""
    begin = times[max(0, bisect.bisect_left(times, change.earliest) - LEAST_SIDE)]
    end = times[min(len(times) - 1, bisect.bisect_right(times, change.latest) + LEAST_SIDE)]
    return bisect.bisect_left(turns, begin) < bisect.bisect_right(turns, end)


def _add(found: list[Growth], fresh: Growth, is_born_so: bool) -> None:
    """One that grows since it was loaded, as the one before it did, is the same trouble again."""
    earlier = [one for one in found if one.life.points[-1].at <= fresh.life.born_at]
    if is_born_so and earlier:
        before = earlier[-1]
        found[found.index(before)] = Growth(before.climb, before.life, before.times + 1, before.is_older)
    else:
        found.append(fresh)


def _warm_up(life: Life) -> list[tuple[float, float]]:
    """The time in which a replica is not judged, where it was looked at for much longer."""
    end = life.born_at + WARM_UP_HOURS * _HOUR_SECONDS
    return [(life.born_at, end)] if life.points[-1].at - life.born_at > 4 * (end - life.born_at) else []


def _has_leaked(life: Life, climb: Climb) -> bool:
    """Whether a rise of some percent is one that the detector of leaks would tell of, too."""
    risen = [point for point in life.points if climb.change.at <= point.at <= climb.end]
    if climb.is_over or len(risen) < 2:
        return False
    hours = [(point.at - risen[0].at) / _HOUR_SECONDS for point in risen]
    step = max(hours[-1] / _STEPS, 1e-6)
    slope = slope_of(*thinned(hours, [point.value for point in risen], since_hours=0, step_hours=step))
    least, share = LEAST_GROWTH[Kind.MEMORY_LEAK]
    return slope is not None and is_leak(slope, least_growth=least, least_share=share)

"""When a series of measurements changed its level: by ranks, so that single wild values do not matter. Pure.

Where one value is most of them, as with errors and with scores of questions that nearly always pass, ranks are mostly
ties and say little: there it is counted how many are that value, and the chance is that of drawing without replacement.

Source: A. N. Pettitt, A Non-Parametric Approach to the Change-Point Problem, Applied Statistics 28 (1979), with his
statistic divided by its deviation at each place, so that a change near the end is found as well; the chance is that of
the largest by Bonferroni's bound. For counts: R. A. Fisher's exact test at each place, with the same bound.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, median

LEAST_SIDE = 5
_DEPTH = 6
# Places that are hardly less likely: by the statistic of ranks, and by the logarithm of the chance of counts.
_NEAR, _NEAR_LOG = 0.9, 4.0
_CHANCE = 1e-3
# Of few values even a clear change is not that improbable.
_FEW, _CHANCE_OF_FEW = 40, 2e-2
# Shorter parts of a series are not looked at alone.
_LEAST_PART = 20
# Above, one value is most of them.
_MOSTLY = 0.5
# Smaller ones are all alike.
_LEAST_CHANCE = 1e-300
_NORMAL = NormalDist()
# As many values are looked at; longer series are put together from neighbours first.
_VALUES = 1500


# Begin and end of the part that was looked at, where it changes, the first and the last place where it may, the chance.
_Border = tuple[int, int, int, int, int, float]


@dataclass(frozen=True, slots=True)
class Point:
    """One measurement.

    Args:
        at: Unix seconds.
        value: Of the measured.
    """

    at: float
    value: float


@dataclass(frozen=True, slots=True)
class Change:
    """Where the level changed.

    Args:
        at: Unix seconds, of the first value after it.
        earliest: It was hardly before; unix seconds.
        latest: It was hardly after; unix seconds.
        before: Typical value between the change before this one, or the beginning, and this.
        after: Typical value from here to the next change, or the end.
        chance: Of such a change in a series that has none; 0.0 to 1.0.
        values: Measurements on both sides; count.
    """

    at: float
    earliest: float
    latest: float
    before: float
    after: float
    chance: float
    values: int

    @property
    def ratio(self) -> float:
        """After by before; infinite where before is 0."""
        if self.before:
            return self.after / self.before
        return 1.0 if not self.after else math.inf


def find_changes(points: Sequence[Point], *, is_share: bool = False) -> list[Change]:
    """Every change of level, in the order of time.

    Args:
        points: In the order of time.
        is_share: The values are 0 and 1, or scores: a level is their mean; else their median.
    """
    thinned = thin(points)
    borders: list[_Border] = []
    _split(thinned, 0, len(thinned), _DEPTH, borders)
    if not borders:
        _find_episode(thinned, borders)
    borders.sort(key=lambda border: border[2])
    _settle(thinned, borders)
    level = fmean if is_share else median
    # A mean of neighbours has the time of the first of them, and what changed may have come with the last.
    spread = int(len(thinned) < len(points))
    cuts = [0, *(border[2] for border in borders), len(thinned)]
    found = []
    for index, (_, end, cut, first, last, chance) in enumerate(borders):
        left, right = thinned[cuts[index] : cut], thinned[cut : cuts[index + 2]]
        found.append(
            Change(
                at=thinned[cut].at,
                earliest=thinned[max(0, first - 1)].at,
                latest=thinned[min(end - 1, last + spread)].at,
                before=level([point.value for point in left]),
                after=level([point.value for point in right]),
                chance=chance,
                values=len(left) + len(right),
            )
        )
    return found


def thin(points: Sequence[Point]) -> list[Point]:
    """At most 1,500 points: means of neighbours, at the time of the first of them."""
    if len(points) <= _VALUES:
        return list(points)
    width = math.ceil(len(points) / _VALUES)
    groups = [points[at : at + width] for at in range(0, len(points), width)]
    return [Point(group[0].at, fmean(point.value for point in group)) for group in groups]


def _split(points: Sequence[Point], begin: int, end: int, depth: int, into: list[_Border]) -> None:
    if depth == 0 or end - begin < 2 * LEAST_SIDE:
        return
    found = _likeliest(points, begin, end)
    if found[5] > (_CHANCE_OF_FEW if end - begin < _FEW else _CHANCE):
        return
    into.append(found)
    _split(points, begin, found[2], depth - 1, into)
    _split(points, found[2], end, depth - 1, into)


def _settle(points: Sequence[Point], borders: list[_Border]) -> None:
    """Looks for each change once more between its neighbours: where it was found, another had still drawn it aside.

    Source:
        J. Bai, Estimating Multiple Breaks One at a Time, Econometric Theory 13 (1997), the repartition.
    """
    if len(borders) < 2:
        return
    for index, border in enumerate(borders):
        begin = borders[index - 1][2] if index else 0
        end = borders[index + 1][2] if index + 1 < len(borders) else len(points)
        if end - begin >= 2 * LEAST_SIDE:
            borders[index] = (*_likeliest(points, begin, end)[:5], border[5])


def _find_episode(points: Sequence[Point], into: list[_Border]) -> None:
    """What was worse for a while and is well again hardly shows in the whole: parts that overlap are looked at alone.

    Source: S. Kovács and others, Seeded binary segmentation, Biometrika 110 (2023), with parts of half the length each
    time; the chance is multiplied by their number.
    """
    count = len(points)
    parts = []
    width = count // 2
    while width >= _LEAST_PART:
        step = width // 2
        parts += [(begin, min(begin + width, count)) for begin in range(0, count - step, step)]
        width //= 2
    tried = [_likeliest(points, begin, end) for begin, end in parts if end - begin >= 2 * LEAST_SIDE]
    if not tried:
        return
    *_, cut, first, last, chance = min(tried, key=lambda one: one[5])
    if chance * len(tried) > _CHANCE:
        return
    into.append((0, count, cut, first, last, chance * len(tried)))
    _split(points, 0, cut, _DEPTH - 1, into)
    _split(points, cut, count, _DEPTH - 1, into)


def _likeliest(points: Sequence[Point], begin: int, end: int) -> _Border:
    """The likeliest change between two places: both of them, where it is, the first and last place that is hardly less
    likely, its chance."""
    count = end - begin
    values = [point.value for point in points[begin:end]]
    allowed = range(LEAST_SIDE - 1, count - LEAST_SIDE)
    common, times = Counter(values).most_common(1)[0]
    is_counted = times >= _MOSTLY * count
    if is_counted:
        heights = _counted([value != common for value in values], allowed)
    else:
        statistic = _pettitt(values)
        heights = {at: abs(statistic[at]) / math.sqrt((at + 1) * (count - at - 1) * (count + 1) / 3) for at in allowed}
    best = max(heights, key=lambda at: heights[at])
    chance = min(1.0, len(heights) * math.erfc(heights[best] / math.sqrt(2)))
    least = math.sqrt(max(0.0, heights[best] ** 2 - 2 * _NEAR_LOG)) if is_counted else _NEAR * heights[best]
    alike = [at for at in allowed if heights[at] >= least]
    first = min(best, max(alike, key=lambda at: abs(at - best)))
    return begin, end, begin + best + 1, begin + first + 1, begin + alike[-1] + 1, chance


def _counted(marks: Sequence[bool], allowed: Iterable[int]) -> dict[int, float]:
    """Deviations of a normal distribution that are as improbable as the marks up to each place, if they lay anyhow."""
    count, total = len(marks), sum(marks)
    before = list(itertools.accumulate(marks))
    found = {}
    for at in allowed:
        chance = min(1.0, 2 * tail_chance(before[at], at + 1, total, count))
        found[at] = -_NORMAL.inv_cdf(chance / 2) if chance > _LEAST_CHANCE else math.sqrt(-2 * math.log(_LEAST_CHANCE))
    return found


def tail_chance(hits: int, drawn: int, marked: int, count: int) -> float:
    """Chance to draw so many marked ones, or a number further from what is to be expected; never too small.

    Args:
        hits: Marked among those drawn; count.
        drawn: Without replacement; count.
        marked: Among all; count.
        count: Of all.
    """
    if hits * count < drawn * marked:  # fewer than expected: the unmarked are more
        hits, marked = drawn - hits, count - marked
    own = _log_choose(marked, hits) + _log_choose(count - marked, drawn - hits) - _log_choose(count, drawn)
    # Each further one is less probable by this much, and by more later: the sum is at most that of a geometric series.
    ratio = (marked - hits) * (drawn - hits) / ((hits + 1) * (count - marked - drawn + hits + 1))
    return min(1.0, math.exp(own) / (1 - ratio)) if ratio < 1 else 1.0


def _log_choose(of: int, some: int) -> float:
    return math.lgamma(of + 1) - math.lgamma(some + 1) - math.lgamma(of - some + 1)


def _pettitt(values: Sequence[float]) -> list[float]:
    """U of Pettitt after each value: twice the sum of the ranks so far, less what it would be by chance."""
    order = sorted(range(len(values)), key=lambda at: values[at])
    ranks = [0.0] * len(values)
    at = 0
    while at < len(order):
        last = at
        while last + 1 < len(order) and values[order[last + 1]] == values[order[at]]:
            last += 1
        for position in range(at, last + 1):
            ranks[order[position]] = (at + last) / 2 + 1
        at = last + 1
    found, total = [], 0.0
    for count, rank in enumerate(ranks, start=1):
        total += rank
        found.append(2 * total - count * (len(values) + 1))
    return found

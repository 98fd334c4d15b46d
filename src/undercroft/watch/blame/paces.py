"""Requests before and after a change: how many, by the hour, for a morning is busier than a night; how large. Pure."""

from __future__ import annotations

import bisect
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from statistics import median

_HOUR_SECONDS = 3600.0
# What repeats itself; the longest of which all was seen before the change counts.
_PERIODS_SECONDS = (7 * 86_400.0, 86_400.0)
_LEAST_REQUESTS = 5
# Standard deviations of the logarithm of a ratio of counts.
_SURE = 2.5
# Standard deviations of a sum of ranks: chance reaches it once in three hundred changes.
_SURELY_OTHERS = 3.0


def paces(
    before: Sequence[float], after: Sequence[float], *, begin: float, at: float, end: float
) -> tuple[float, float]:
    """Requests a minute after a change as it was to be expected from those before, and as they came.

    Args:
        before: Times of the requests before the change; unix seconds.
        after: The same from the change on.
        begin: From when they were counted; unix seconds.
        at: Of the change; unix seconds.
        end: Until when they were counted; unix seconds.

    Returns:
        Expected and seen; where there are too few more to be sure, what was seen, twice.
    """
    minutes = max(1.0, (end - at) / 60)
    seen = len(after) / minutes
    expected = _expected(before, begin, at, end)
    if len(after) > expected and not _is_sure(len(after), expected, len(before)):
        return seen, seen
    return expected / minutes, seen


def typical(before: Sequence[float], after: Sequence[float]) -> tuple[float, float]:
    """What a request was like before a change and after it.

    Args:
        before: A value a request.
        after: The same from the change on.

    Returns:
        Medians; 0.0 of no value. Where chance may have made the difference, what was seen after, twice.

    Source:
        H. B. Mann and D. R. Whitney, On a Test of Whether One of Two Random Variables Is Stochastically Larger than the
        Other, Annals of Mathematical Statistics 18 (1947), by its normal approximation without its correction of ties.
    """
    seen = median(after) if after else 0.0
    if not before or not after:
        return (median(before) if before else 0.0), seen
    order = sorted(before)
    larger = sum((bisect.bisect_left(order, value) + bisect.bisect_right(order, value)) / 2 for value in after)
    pairs = len(before) * len(after)
    deviation = math.sqrt(pairs * (len(before) + len(after) + 1) / 12)
    return (median(before) if abs(larger - pairs / 2) > _SURELY_OTHERS * deviation else seen), seen


def _is_sure(seen: int, expected: float, before: int) -> bool:
    if seen < _LEAST_REQUESTS:
        return False
    if expected <= 0:
        return True
    return math.log(seen / expected) > _SURE * math.sqrt(1 / seen + 1 / max(1, before))


def _expected(before: Sequence[float], begin: float, at: float, end: float) -> float:
    """Requests after the change if they had gone on to come as in the same hours of the day, or of the week."""
    period = next((one for one in _PERIODS_SECONDS if at - begin >= one), None)
    if period is None:
        return len(before) * max(0.0, end - at) / max(60.0, at - begin)
    counts = Counter(_hour(moment, period) for moment in before)
    exposed: dict[int, float] = defaultdict(float)
    for hour, seconds in _hours(begin, at, period):
        exposed[hour] += seconds
    return sum(counts[hour] / exposed[hour] * seconds for hour, seconds in _hours(at, end, period))


def _hour(moment: float, period: float) -> int:
    return int(moment % period // _HOUR_SECONDS)


def _hours(begin: float, end: float, period: float) -> Iterator[tuple[int, float]]:
    """Hours of a period that a time touches, and for how many seconds."""
    while begin < end:
        border = min(end, (begin // _HOUR_SECONDS + 1) * _HOUR_SECONDS)
        yield _hour(begin, period), border - begin
        begin = border

"""Does a replica take more and more of something that it never gives back? Judged from samples of it. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from undercroft.core.clock import to_iso
from undercroft.watch.drift.slopes import is_leak, slope_of
from undercroft.watch.findings import Kind

_MIB = 1024 * 1024
# The first half hour of a replica is not judged: caches fill, and every kernel is used for the first time.
WARM_UP_HOURS = 0.5
# Hours looked back → hours that are taken together into one value.
WINDOWS: Mapping[float, float] = {6.0: 1 / 12, 72.0: 0.5}
# In less, a warm-up looks like a leak.
_LEAST_HOURS = 5.0
# Growth over a window that does not matter, and the same as a share of the median.
LEAST_GROWTH: Mapping[Kind, tuple[float, float]] = {
    Kind.MEMORY_LEAK: (32 * _MIB, 0.03),
    Kind.GPU_MEMORY_LEAK: (32 * _MIB, 0.02),
    Kind.FILE_LEAK: (16.0, 0.2),
}
LEAK_KINDS = frozenset(LEAST_GROWTH)


@dataclass(frozen=True, slots=True)
class Sample:
    """A look at a replica.

    Args:
        at: When; UTC.
        private_bytes: Memory that is its own.
        gpu_bytes: Of all accelerators; None where it has none.
        open_files: Count; None is not known.
        requests: Since the sample before; count.
    """

    at: datetime
    private_bytes: int
    gpu_bytes: int | None
    open_files: int | None
    requests: int


@dataclass(frozen=True, slots=True)
class Leak:
    """Something that grows without an end.

    Args:
        replica: Which grows.
        since: Begin of the window in which it was seen; ISO 8601.
        per_hour: Bytes, or files.
        per_1000_requests: The same; None where it had hardly any.
        now: Bytes, or files.
        window_hours: In which it was seen.
    """

    replica: str
    since: str
    per_hour: float
    per_1000_requests: float | None
    now: float
    window_hours: float


def leaks_of(replica: str, samples: Sequence[Sample], born_at: datetime) -> dict[Kind, Leak]:
    """What of a replica leaks.

    Args:
        replica: Its id.
        samples: The oldest first.
        born_at: When it was first sampled.

    Returns:
        Kind → leak, as the shortest window shows it.
    """
    hours = [(sample.at - born_at).total_seconds() / 3600 for sample in samples]
    measures: dict[Kind, list[float | None]] = {
        Kind.MEMORY_LEAK: [float(sample.private_bytes) for sample in samples],
        Kind.GPU_MEMORY_LEAK: [None if sample.gpu_bytes is None else float(sample.gpu_bytes) for sample in samples],
        Kind.FILE_LEAK: [None if sample.open_files is None else float(sample.open_files) for sample in samples],
    }
    found = {}
    for kind, values in measures.items():
        for window_hours, step_hours in WINDOWS.items():
            leak = _leak_in(kind, replica, samples, hours, values, window_hours, step_hours)
            if leak is not None:
                found[kind] = leak
                break
    return found


def thinned(
    hours: Sequence[float], values: Sequence[float | None], *, since_hours: float, step_hours: float
) -> tuple[list[float], list[float]]:
    """One value a step: the median of those in it.

    Args:
        hours: When each value was seen, rising.
        values: As many; None is not known.
        since_hours: Those before are left out.
        step_hours: Length of a step.

    Returns:
        Hours of the steps, and their values.
    """
    steps: dict[int, list[tuple[float, float]]] = {}
    for hour, value in zip(hours, values, strict=True):
        if hour >= since_hours and value is not None:
            steps.setdefault(int(hour / step_hours), []).append((hour, value))
    return (
        [statistics.fmean(hour for hour, _ in step) for step in steps.values()],
        [statistics.median(value for _, value in step) for step in steps.values()],
    )


def _leak_in(
    kind: Kind,
    replica: str,
    samples: Sequence[Sample],
    hours: Sequence[float],
    values: Sequence[float | None],
    window_hours: float,
    step_hours: float,
) -> Leak | None:
    if not hours:
        return None
    since = max(WARM_UP_HOURS, hours[-1] - window_hours)
    times, levels = thinned(hours, values, since_hours=since, step_hours=step_hours)
    least, least_share = LEAST_GROWTH[kind]
    # Most replicas do not grow at all, which is seen without comparing every pair.
    if not levels or max(levels) - min(levels) < least:
        return None
    slope = slope_of(times, levels)
    if slope is None or slope.window_hours < _LEAST_HOURS:
        return None
    if not is_leak(slope, least_growth=least, least_share=least_share):
        return None
    first = next(position for position, hour in enumerate(hours) if hour >= since)
    requests = sum(sample.requests for sample in samples[first:])
    return Leak(
        replica=replica,
        since=to_iso(samples[first].at),
        per_hour=slope.per_hour,
        per_1000_requests=slope.growth / requests * 1000 if requests >= 100 else None,
        now=levels[-1],
        window_hours=slope.window_hours,
    )

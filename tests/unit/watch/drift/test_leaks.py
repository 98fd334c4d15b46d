"""Slopes and leaks, from made-up samples."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest

from undercroft.watch.drift.leaks import Sample, leaks_of, thinned
from undercroft.watch.drift.slopes import is_leak, slope_of
from undercroft.watch.findings import Kind

BORN = datetime(2026, 1, 1, tzinfo=UTC)
MIB = 1024 * 1024


def samples(hours: int, mib: float, *, warm_mib: float = 0.0, files_an_hour: float = 0.0) -> list[Sample]:
    chance = random.Random(1)
    return [
        Sample(
            at=BORN + timedelta(minutes=5 * step),
            private_bytes=int((2000 + mib * step / 12 + warm_mib * min(1.0, step / 6) + chance.gauss(0, 2)) * MIB),
            gpu_bytes=None,
            open_files=40 + int(files_an_hour * step / 12),
            requests=25,
        )
        for step in range(hours * 12)
    ]


def test_a_steady_growth_is_a_leak() -> None:
    """Its speed an hour and a thousand requests are told."""
    leak = leaks_of("rep", samples(8, 40), BORN)[Kind.MEMORY_LEAK]
    assert leak.per_hour == pytest.approx(40 * MIB, rel=0.1)
    assert leak.per_1000_requests == pytest.approx(40 * MIB / 300 * 1000, rel=0.15)
    assert leak.replica == "rep"


def test_a_warm_up_is_none() -> None:
    """What grows for half an hour and then stays is a cache that fills."""
    assert leaks_of("rep", samples(8, 0, warm_mib=800), BORN) == {}


def test_noise_is_none() -> None:
    """A replica that takes what it took does not leak."""
    assert leaks_of("rep", samples(30, 0), BORN) == {}


def test_open_files_that_grow_are_a_leak_of_files() -> None:
    """Memory may stand still meanwhile."""
    assert set(leaks_of("rep", samples(8, 0, files_an_hour=20), BORN)) == {Kind.FILE_LEAK}


def test_a_replica_that_is_young_is_not_judged() -> None:
    """Two hours say nothing."""
    assert leaks_of("rep", samples(2, 200), BORN) == {}


def test_nothing_is_said_of_nothing() -> None:
    """No samples, no leak."""
    assert leaks_of("rep", [], BORN) == {}


def test_a_slope_is_robust() -> None:
    """A tenth of wild values does not move it."""
    hours = [float(hour) for hour in range(60)]
    values = [2 * hour for hour in hours]
    values[5::10] = [1e6] * len(values[5::10])
    slope = slope_of(hours, values)
    assert slope is not None
    assert slope.per_hour == pytest.approx(2, rel=0.05)


def test_growth_that_ends_is_no_leak() -> None:
    """A step in the middle has a slope, but its last third stands still."""
    hours = [float(hour) for hour in range(60)]
    chance = random.Random(4)
    values = [chance.gauss(0, 1) + min(hour, 30.0) * 10 for hour in hours]
    slope = slope_of(hours, values)
    assert slope is not None
    assert not is_leak(slope, least_growth=10, least_share=0.0)


def test_too_few_values_have_no_slope() -> None:
    """A slope of a handful of values would be chance."""
    assert slope_of([0.0, 1.0, 2.0], [0.0, 1.0, 2.0]) is None


def test_values_are_taken_together_by_steps() -> None:
    """The median of each step; what is before the beginning, or not known, is left out."""
    hours, values = thinned([0.1, 1.0, 1.2, 1.4, 2.1], [9.0, 1.0, 5.0, 2.0, None], since_hours=0.5, step_hours=1.0)
    assert hours == [pytest.approx(1.2)]
    assert values == [2.0]

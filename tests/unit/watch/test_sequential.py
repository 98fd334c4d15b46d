"""Intervals that hold however often one looks."""

from __future__ import annotations

import math
import random
from statistics import fmean, pvariance

import pytest

from undercroft.watch.promotion.sequential import LEAST_VALUES, mean_interval, proportion_interval

ALPHA = 0.05


@pytest.mark.parametrize(("hits", "trials"), [(0, 1), (0, 50), (3, 20), (20, 20), (1, 1000)])
def test_a_proportion_lies_around_what_was_seen(hits: int, trials: int) -> None:
    """The share that was seen is inside, and the ends lie between 0 and 1."""
    found = proportion_interval(hits, trials, alpha=ALPHA)
    assert 0 <= found.lower <= hits / trials <= found.upper <= 1


def test_nothing_seen_is_nothing_known() -> None:
    """Without a trial a proportion may be anything, and with few values a mean."""
    assert proportion_interval(0, 0, alpha=ALPHA).lower == 0.0
    assert proportion_interval(0, 0, alpha=ALPHA).upper == 1.0
    assert mean_interval(LEAST_VALUES - 1, 1.0, 0.1, alpha=ALPHA).upper == math.inf


def test_more_trials_say_more() -> None:
    """The interval shrinks as the same share is seen more often, and widens as less doubt is allowed."""
    widths = []
    for trials in (10, 100, 1000, 10_000):
        found = proportion_interval(trials // 10, trials, alpha=ALPHA)
        widths.append(found.upper - found.lower)
    assert widths == sorted(widths, reverse=True)
    wider, narrower = proportion_interval(5, 50, alpha=0.001), proportion_interval(5, 50, alpha=0.2)
    assert wider.lower < narrower.lower < narrower.upper < wider.upper


@pytest.mark.parametrize("share", [0.02, 0.3])
def test_looking_after_every_trial_is_wrong_no_more_often_than_allowed(share: float) -> None:
    """Of many series, each looked at after each of its trials, the truth leaves the interval in at most alpha."""
    rng = random.Random(3)
    wrong = 0
    series = 200
    for _ in range(series):
        hits = 0
        for trials in range(1, 301):
            hits += rng.random() < share
            found = proportion_interval(hits, trials, alpha=ALPHA)
            if not found.lower <= share <= found.upper:
                wrong += 1
                break
    assert wrong <= ALPHA * series


def test_means_hold_at_every_look_too() -> None:
    """The same of means of skewed values, from the least number of values on."""
    rng = random.Random(5)
    wrong = 0
    series = 150
    for _ in range(series):
        values = [math.log(rng.expovariate(1.0) + 0.2) for _ in range(200)]
        truth = _log_mean()
        for count in range(LEAST_VALUES, 201, 4):
            some = values[:count]
            found = mean_interval(count, fmean(some), pvariance(some), alpha=ALPHA)
            if not found.lower <= truth <= found.upper:
                wrong += 1
                break
    assert wrong <= 2 * ALPHA * series  # asymptotic: about alpha


def _log_mean() -> float:
    """E[log(X + 0.2)] of an exponential X, by summing over its quantiles."""
    steps = 100_000
    return fmean(math.log(-math.log(1 - (i + 0.5) / steps) + 0.2) for i in range(steps))

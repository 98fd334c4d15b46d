"""Where the truth lies: published examples, and how often the truth is really inside."""

from __future__ import annotations

import math

import numpy as np
import pytest

from undercroft.optimize.evaluation.distributions import beta_quantile, beta_share, binomial_tail, student_quantile
from undercroft.optimize.evaluation.intervals import mean, paired_proportions, proportion, ratio


@pytest.mark.parametrize(
    ("share", "degrees", "value"),
    [(0.975, 1, 12.706), (0.975, 10, 2.228), (0.995, 3, 5.841), (0.05, 5, -2.015), (0.975, 1000, 1.962)],
)
def test_students_quantiles_are_those_of_the_tables(share: float, degrees: int, value: float) -> None:
    """Three decimals, as every textbook prints them."""
    assert student_quantile(share, degrees) == pytest.approx(value, abs=5e-4)


def test_beta_and_binomial_are_each_others() -> None:
    """Sums of binomial terms, counted one by one, are what the continued fraction gives; the quantile undoes it."""
    for trials in (1, 7, 30):
        for hits in range(trials + 1):
            counted = sum(math.comb(trials, count) for count in range(hits + 1)) / 2**trials
            assert binomial_tail(hits, trials) == pytest.approx(counted, abs=1e-12)
    assert beta_share(beta_quantile(0.3, 2.5, 7.0), 2.5, 7.0) == pytest.approx(0.3, abs=1e-9)


@pytest.mark.parametrize(
    ("hits", "trials", "lower", "upper"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilsons_interval_is_the_published_one(hits: int, trials: int, lower: float, upper: float) -> None:
    """The four examples of Newcombe, Statistics in Medicine 17 (1998) 857-872, table I, method 3."""
    found = proportion(hits, trials)
    assert (found.lower, found.upper) == (pytest.approx(lower, abs=5e-5), pytest.approx(upper, abs=5e-5))


def test_all_or_nothing_is_inside_its_own_interval() -> None:
    """No rounding puts 1.0 above the upper bound or 0.0 below the lower."""
    for trials in range(1, 200):
        assert proportion(trials, trials).upper == 1.0
        assert proportion(0, trials).lower == 0.0


def test_the_truth_is_inside_as_often_as_is_said() -> None:
    """Of 300 samples of 30 skewed values, the 95 % interval of the mean holds the true mean in 91 to 98 %."""
    chance = np.random.default_rng(5)
    samples = chance.gamma(2.0, 1.0, (300, 30))
    inside = [found.lower <= 2.0 <= found.upper for found in (mean(list(one), seed=1) for one in samples)]
    assert 0.91 <= np.mean(inside) <= 0.98


def test_a_ratio_draws_texts_and_not_tokens() -> None:
    """Long and short texts: the value is nats by tokens, and the interval holds the true rate in 90 to 98 %."""
    chance = np.random.default_rng(6)
    hits = 0
    for _ in range(200):
        tokens = chance.integers(5, 200, 40).astype(float)
        nats = tokens * 2.5 + chance.normal(0, 0.4, 40) * tokens
        found = ratio(list(nats), list(tokens), seed=3)
        assert found.value == pytest.approx(nats.sum() / tokens.sum())
        hits += found.lower <= 2.5 <= found.upper
    assert 0.90 <= hits / 200 <= 0.98


def test_few_values_take_students_interval() -> None:
    """Three values: the textbook's interval; equal values have no width, one value knows nothing."""
    found = mean([1.0, 2.0, 3.0], seed=1)
    assert (found.method, found.lower) == ("student", pytest.approx(2 - 4.3027 / math.sqrt(3), abs=1e-3))
    assert mean([2.0] * 20, seed=1).upper == 2.0
    assert mean([2.0], seed=1).upper == math.inf


def test_the_same_seed_gives_the_same_bounds() -> None:
    """Another seed gives others, near by."""
    values = list(np.random.default_rng(1).exponential(size=50))
    assert mean(values, seed=1) == mean(values, seed=1)
    assert mean(values, seed=1).lower != mean(values, seed=2).lower
    assert mean(values, seed=1).lower == pytest.approx(mean(values, seed=2).lower, abs=0.05)


def test_the_paired_interval_agrees_with_mcnemars_exact_test() -> None:
    """For every table of 6, 12 and 25 items: 0 is outside exactly where the test says that the two differ."""
    for trials in (6, 12, 25):
        for lost in range(trials + 1):
            for gained in range(trials - lost + 1):
                p_value = 2 * binomial_tail(min(lost, gained), lost + gained) if lost + gained else 1.0
                found = paired_proportions(lost, gained, trials)
                assert (found.lower <= 0 <= found.upper) == (p_value > 0.05), (trials, lost, gained)


def test_the_paired_interval_holds_the_truth() -> None:
    """Of 600 pairs of 80 items, where a tenth is lost and a twentieth won, at least 94 % are inside."""
    chance = np.random.default_rng(2)
    draws = chance.multinomial(80, [0.10, 0.05, 0.85], 600)
    known = {(int(lost), int(gained)): paired_proportions(int(lost), int(gained), 80) for lost, gained, _ in draws}
    inside = [
        known[int(lost), int(gained)].lower <= -0.05 <= known[int(lost), int(gained)].upper for lost, gained, _ in draws
    ]
    assert np.mean(inside) >= 0.94

"""Better, worse, or no difference shown: published examples, and how often equals are called different."""

from __future__ import annotations

import numpy as np
import pytest

from undercroft.optimize.evaluation.paired import (
    Verdict,
    compare_amounts,
    compare_passes,
    corrected,
    holm,
    sign_flip,
)

# Darwin's maize: how much higher the crossed plant of each pair grew than the selfed one, in eighths of an inch.
DARWIN = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]


def passes(both: int, lost: int, gained: int, neither: int) -> tuple[list[bool], list[bool]]:
    """Parent and candidate with so many items of each kind."""
    parent = [True] * (both + lost) + [False] * (gained + neither)
    candidate = [True] * both + [False] * lost + [True] * gained + [False] * neither
    return parent, candidate


def test_fishers_randomization_of_darwins_maize() -> None:
    """1,726 of 32,768 ways to flip the signs are as far from 0: R. A. Fisher, The Design of Experiments, section 21."""
    assert sign_flip(DARWIN, seed=1) == 1726 / 32768


def test_mcnemars_exact_test_is_the_published_one() -> None:
    """9 against 2 disagreements of 44: p = 0.06543, the example of M. P. Fay's exact2x2 (R), which shows nothing."""
    found = compare_passes(*passes(21, 9, 2, 12))
    assert found.p_value == pytest.approx(0.06543, abs=5e-6)
    assert found.verdict is Verdict.NO_DIFFERENCE


def test_a_clear_loss_is_worse_and_a_clear_gain_better() -> None:
    """The same table both ways round, with the interval on the side of the verdict."""
    parent, candidate = passes(80, 12, 2, 6)
    worse, better = compare_passes(parent, candidate), compare_passes(candidate, parent)
    assert (worse.verdict, better.verdict) == (Verdict.WORSE, Verdict.BETTER)
    assert worse.difference.value == pytest.approx(-0.10)
    assert worse.difference.upper < 0 < better.difference.lower


def test_equals_are_called_worse_no_more_often_than_promised() -> None:
    """Of 3,000 pairs of equals on 60 items, at most 2.5 % are called worse and 2.5 % better, but for chance."""
    chance = np.random.default_rng(4)
    counts = dict.fromkeys(Verdict, 0)
    known: dict[tuple[int, int], Verdict] = {}
    for lost, gained, same in chance.multinomial(60, [0.12, 0.12, 0.76], 3000):
        key = (int(lost), int(gained))
        if key not in known:
            known[key] = compare_passes(*passes(int(same), *key, 0)).verdict
        counts[known[key]] += 1
    assert counts[Verdict.WORSE] <= 0.032 * 3000
    assert counts[Verdict.BETTER] <= 0.032 * 3000


def test_equal_amounts_are_called_different_as_often_as_promised() -> None:
    """Of 200 pairs of equals with heavy tails on 25 items, at most 5 % differ, but for chance: 8 %."""
    chance = np.random.default_rng(7)
    wrong = 0
    for _ in range(200):
        parent, candidate = chance.standard_t(3, 25), chance.standard_t(3, 25)
        wrong += sign_flip(list(candidate - parent), seed=1) <= 0.05
    assert wrong <= 0.08 * 200


def test_a_difference_that_is_said_to_be_detectable_is_seen_in_four_of_five_cases() -> None:
    """Candidates that lose as much as that are called worse in 70 to 90 % of 300 runs of 100 items."""
    chance = np.random.default_rng(8)
    base = compare_passes(*passes(80, 5, 5, 10))
    assert base.detectable is not None
    lost, gained = 0.05 + base.detectable / 2, 0.05 - base.detectable / 2
    drawn = chance.multinomial(100, [lost, gained, 1 - lost - gained], 300)
    seen = [compare_passes(*passes(int(same), int(a), int(b), 0)).verdict is Verdict.WORSE for a, b, same in drawn]
    assert 0.70 <= np.mean(seen) <= 0.90


def test_a_detectable_amount_is_seen_in_four_of_five_cases() -> None:
    """The same for amounts: a shift by that much is found in 70 to 92 % of 150 runs."""
    chance = np.random.default_rng(9)
    zeros = [0.0] * 40
    found = compare_amounts(zeros, list(chance.normal(0, 1, 40)), seed=1, is_more_better=True)
    assert found.detectable is not None
    shifted = [chance.normal(-found.detectable, 1.0, 40) for _ in range(150)]
    seen = [sign_flip(list(one), seed=2) <= 0.05 for one in shifted]
    assert 0.70 <= np.mean(seen) <= 0.92


def test_so_few_items_can_show_nothing() -> None:
    """Five items that are all lost are no proof, six are."""
    assert compare_passes([True] * 5, [False] * 5).verdict is Verdict.NO_DIFFERENCE
    assert compare_passes([True] * 5, [False] * 5).detectable is None
    assert compare_passes([True] * 6, [False] * 6).verdict is Verdict.WORSE


def test_more_nats_are_worse() -> None:
    """A measure of which less is better turns the verdict round; the difference is that of the weighted mean."""
    parent, candidate, tokens = [10.0, 20.0] * 6, [11.0, 22.0] * 6, [10.0, 20.0] * 6
    found = compare_amounts(parent, candidate, tokens, seed=1, is_more_better=False)
    assert found.verdict is Verdict.WORSE
    assert found.difference.value == pytest.approx(0.1)
    assert compare_amounts(parent, parent, tokens, seed=1, is_more_better=False).p_value == 1.0


def test_holms_correction_is_the_textbooks() -> None:
    """0.01, 0.04, 0.03, 0.005 become 0.03, 0.06, 0.06, 0.02."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_one_language_of_many_is_not_called_worse_by_luck() -> None:
    """A loss that would count alone does not count as one of six, and one that is clear does."""
    lucky = compare_passes(*passes(30, 7, 0, 3))
    clear = compare_passes(*passes(20, 17, 0, 3))
    same = compare_passes(*passes(40, 0, 0, 0))
    assert lucky.verdict is Verdict.WORSE
    names = ["en", "th", "ms", "vi", "ar", "zh"]
    found = corrected(dict(zip(names, [lucky, clear, same, same, same, same], strict=True)))
    assert list(found) == names
    assert (found["en"].verdict, found["th"].verdict) == (Verdict.NO_DIFFERENCE, Verdict.WORSE)

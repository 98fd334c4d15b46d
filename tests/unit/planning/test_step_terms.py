"""Terms of a step: what measured steps teach about each."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from undercroft.planning.step_terms import Step, StepTerms, TermFactors, learn_factors

ALONE = StepTerms(reading=20e-3, arithmetic=6e-3, attention=0.5e-3, overhead=3e-3)
TOGETHER = StepTerms(reading=20e-3, arithmetic=40e-3, attention=1e-3, overhead=5e-3)
LONG = StepTerms(reading=20e-3, arithmetic=6e-3, attention=16e-3, overhead=3e-3)
SMALL = StepTerms(reading=2e-3, arithmetic=0.7e-3, attention=0.2e-3, overhead=3e-3)
CASES = (ALONE, TOGETHER, LONG)


def steps(factors: TermFactors, *terms: StepTerms, network: float = 1.0) -> list[Step]:
    return [Step(one, one.total * factors.slowdown(one) * network) for one in terms]


def test_nothing_measured_changes_nothing() -> None:
    """Without steps every factor is 1."""
    assert learn_factors([]) == TermFactors()


def test_slowdown_by_hand() -> None:
    """Attention of 16 of 45 ms that takes twice as long: 61 of 45."""
    assert TermFactors(attention=2.0).slowdown(LONG) == pytest.approx(61 / 45)
    assert TermFactors(attention=2.0).slowdown(StepTerms()) == 1.0


@pytest.mark.parametrize("slow", ["reading", "arithmetic", "attention"])
def test_several_runs_of_one_model_tell_terms_apart(slow: str) -> None:
    """One model, alone, with others and after a long prompt, with one term 1.5 times slower: that term moves most."""
    found = learn_factors([steps(TermFactors(**{slow: 1.5}), *CASES)])
    factors = {name: getattr(found, name) for name in ("reading", "arithmetic", "attention", "overhead")}
    assert max(factors, key=lambda name: factors[name]) == slow
    assert factors[slow] > 1.15


def test_the_next_model_is_forecast_closer() -> None:
    """What one large model taught about reading and attention is worth more to a small one than a common ratio."""
    truth = TermFactors(reading=1.4, attention=1.8)
    found = learn_factors([steps(truth, *CASES)])
    common = math.exp(sum(math.log(truth.slowdown(one)) for one in CASES) / len(CASES))
    error, of_common = (abs(math.log(guess / truth.slowdown(SMALL))) for guess in (found.slowdown(SMALL), common))
    assert error < of_common / 2


def test_a_network_that_is_slow_by_itself_moves_the_device_less_than_a_slow_device() -> None:
    """One of three networks 20 % slower: the others' forecasts move by less than a third of that."""
    one, others = steps(TermFactors(), *CASES, network=1.2), [steps(TermFactors(), *CASES)] * 2
    assert learn_factors([one, *others]).slowdown(ALONE) < 1.07
    assert learn_factors([one]).slowdown(ALONE) > 1.07


FACTOR = st.floats(0.4, 2.5)


@given(FACTOR, FACTOR, FACTOR, FACTOR)
def test_learning_never_leaves_the_learnt_model_worse(a: float, b: float, c: float, d: float) -> None:
    """Whatever a device's factors are, the model that was measured is forecast at least as well afterwards, in sum."""
    truth = TermFactors(a, b, c, d)
    found = learn_factors([steps(truth, *CASES)])
    before = sum(math.log(truth.slowdown(one)) ** 2 for one in CASES)
    after = sum(math.log(truth.slowdown(one) / found.slowdown(one)) ** 2 for one in CASES)
    assert after <= before + 1e-12


@given(st.floats(0.2, 5.0), st.integers(1, 20))
def test_factors_stay_within_what_was_seen(ratio: float, times: int) -> None:
    """Steps that are all off by one ratio: no forecast is corrected beyond it."""
    found = learn_factors([[Step(one, one.total * ratio) for one in CASES]] * times)
    for one in (*CASES, SMALL):
        assert min(1.0, ratio) - 0.02 <= found.slowdown(one) <= max(1.0, ratio) + 0.02

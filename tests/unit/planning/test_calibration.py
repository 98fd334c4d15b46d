"""What is learnt from forecasts that met reality."""

from __future__ import annotations

import math
import random
import statistics
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from undercroft.planning.calibration import Corrections, Kind, Pair, Quantity, accuracy, lower_bounds
from undercroft.planning.step_terms import StepTerms

QWEN = Kind("llama.cpp", "EPYC", "qwen2", "Q4_K_M")
LLAMA = Kind("llama.cpp", "EPYC", "llama", "Q8_0")
SPEED = Quantity.DECODE_TOKENS


def pair(kind: Kind, plain: float, measured: float, quantity: Quantity = Quantity.DECODE_TOKENS) -> Pair:
    return Pair(kind, quantity, plain, plain, measured)


def test_nothing_learnt_changes_nothing() -> None:
    """Without pairs the factor is 1 and no spread is claimed."""
    found = Corrections().correction(QWEN, Quantity.DECODE_TOKENS)
    assert (found.factor, found.spread, found.pairs) == (1.0, None, 0)


def test_one_other_model_on_the_same_device_says_nearly_all() -> None:
    """A Llama that ran 20 % slower than forecast makes the next Qwen's forecast nearly 20 % slower, not more."""
    found = Corrections([pair(LLAMA, 100, 80)]).correction(QWEN, Quantity.DECODE_TOKENS)
    assert found.factor == pytest.approx(math.exp(math.log(0.8) / 1.1))
    assert found.level == "llama.cpp on this device"
    assert found.spread is None


def test_of_memory_one_other_model_says_little() -> None:
    """Memory is forecast well without: what another model took more says a third less than all."""
    found = Corrections([pair(LLAMA, 100, 120, Quantity.PRIVATE_BYTES)]).correction(QWEN, Quantity.PRIVATE_BYTES)
    assert found.factor == pytest.approx(math.exp(math.log(1.2) / 1.5))


def test_many_of_the_same_kind_outweigh_the_others() -> None:
    """Ten Qwens at 1.5 times and one Llama at half: a Qwen is corrected to about 1.5."""
    pairs = [pair(LLAMA, 100, 50), *(pair(QWEN, 100, 150) for _ in range(10))]
    found = Corrections(pairs).correction(QWEN, Quantity.DECODE_TOKENS)
    assert found.factor == pytest.approx(1.5, rel=0.05)
    assert found.pairs == 10


def test_a_kind_that_ran_often_counts_once_for_others() -> None:
    """Forty hours of one Llama and one each of two other networks: a fourth gets the middle one's ratio, and a spread
    of three kinds, not of forty-two hours."""
    others = [replace(LLAMA, architecture=name, quantization=name) for name in ("gemma3", "phi3")]
    pairs = [pair(LLAMA, 100, 50)] * 40 + [pair(others[0], 100, 80), pair(others[1], 100, 100)]
    found = Corrections(pairs).correction(QWEN, Quantity.DECODE_TOKENS)
    assert found.factor == pytest.approx(0.8 ** (3 / 3.1))
    assert found.spread == pytest.approx(statistics.stdev(map(math.log, (0.5, 0.8, 1.0))))
    assert found.pairs == 42


def test_hours_of_one_model_say_nothing_of_how_others_differ() -> None:
    """Ten equal hours of a Llama: its own next forecast is certain, that of a Qwen has no spread to go by."""
    learnt = Corrections([pair(LLAMA, 100, 80)] * 10)
    assert learnt.correction(LLAMA, Quantity.DECODE_TOKENS).spread == 0
    assert learnt.correction(QWEN, Quantity.DECODE_TOKENS).spread is None


def test_speed_is_learnt_by_quantization_and_memory_by_architecture() -> None:
    """A Gemma in the Qwen's quantization teaches its speed, a Qwen in another one its memory."""
    gemma, other = replace(QWEN, architecture="gemma3"), replace(QWEN, quantization="F16")
    for quantity, level in (
        (Quantity.DECODE_TOKENS, "Q4_K_M on this device"),
        (Quantity.PREFILL_TOKENS, "Q4_K_M on this device"),
        (Quantity.PRIVATE_BYTES, "qwen2 on this device"),
    ):
        learnt = Corrections([pair(gemma, 100, 70, quantity), pair(other, 100, 70, quantity)])
        assert learnt.correction(QWEN, quantity).level == level
        assert learnt.correction(QWEN, quantity).pairs == 1


def test_another_device_or_quantity_teaches_nothing() -> None:
    """What was learnt on one processor or of memory says nothing about speed on another."""
    other = Kind("llama.cpp", "Raspberry Pi", "qwen2", "Q4_K_M")
    learnt = Corrections([pair(other, 100, 50), pair(QWEN, 100, 50, Quantity.PRIVATE_BYTES)])
    assert learnt.correction(QWEN, Quantity.DECODE_TOKENS).factor == 1.0


def test_a_broken_measurement_is_not_learnt_from() -> None:
    """A pair that is off by more than eight times, or zero, is left out."""
    learnt = Corrections([pair(QWEN, 100, 1), pair(QWEN, 100, 0), pair(QWEN, 0, 10)])
    assert learnt.correction(QWEN, Quantity.DECODE_TOKENS).factor == 1.0


def test_unfinished_pairs_are_told_by_the_one_that_says_most() -> None:
    """Of several measurements of which more was to come, the one nearest to its forecast is the strongest bound."""
    kind = Kind("llama.cpp", "EPYC", "llama", "Q8_0")
    pairs = [
        Pair(kind, Quantity.PRIVATE_BYTES, 100, forecast, measured) for forecast, measured in ((100, 60), (80, 70))
    ]
    (found,) = lower_bounds(pairs)
    assert (found.quantity, found.pairs, found.measured, found.forecast) == (Quantity.PRIVATE_BYTES, 2, 70, 80)


def test_accuracy_tells_before_and_after() -> None:
    """The error of the plain forecast stands beside that of the one that was given."""
    pairs = [Pair(QWEN, Quantity.LOAD_SECONDS, 12.0, 10.5, 10.0), Pair(QWEN, Quantity.LOAD_SECONDS, 8.0, 10.0, 10.0)]
    (found,) = accuracy(pairs)
    assert found.quantity is Quantity.LOAD_SECONDS
    assert found.pairs == 2
    assert found.median_before == pytest.approx(0.2)
    assert found.median_after == pytest.approx(0.025)
    assert found.worst_after == pytest.approx(0.05)


TERMS = StepTerms(reading=6e-3, arithmetic=2e-3, attention=0.5e-3, overhead=1.5e-3)
LONG = StepTerms(reading=6e-3, arithmetic=2e-3, attention=10.5e-3, overhead=1.5e-3)


def answers(kind: Kind, ratio: float, terms: StepTerms = TERMS) -> Pair:
    plain = 1 / terms.total
    return Pair(kind, SPEED, plain, plain, plain * ratio, terms=terms)


def test_answers_of_another_model_correct_term_by_term() -> None:
    """A Llama as forecast alone, at 0.6 of it after a long prompt: a Qwen gets slower after one, and only then."""
    learnt = Corrections([answers(LLAMA, 1.0), answers(LLAMA, 0.6, LONG)])
    short, long = (learnt.correction(QWEN, SPEED, terms) for terms in (TERMS, LONG))
    assert short.factor == pytest.approx(1.0, abs=0.04)
    assert long.factor < 0.8
    assert long.terms is not None
    assert long.terms.attention > 1.2
    assert (long.level, long.pairs) == ("llama.cpp on this device", 2)


def test_many_hours_of_one_deployment_teach_others_no_more_than_one() -> None:
    """A Llama that is measured every hour says of a Qwen what one hour of it says, and of itself more."""
    once, often = (Corrections([answers(LLAMA, 0.7)] * count) for count in (1, 40))
    assert often.correction(QWEN, SPEED, TERMS).factor == pytest.approx(once.correction(QWEN, SPEED, TERMS).factor)
    own = [learnt.correction(LLAMA, SPEED, TERMS).factor for learnt in (once, often)]
    assert own[1] == pytest.approx(0.7, rel=0.02)
    assert abs(math.log(own[1] / 0.7)) < abs(math.log(own[0] / 0.7))


def test_answers_whose_terms_are_not_known_are_passed_over_beside_those_that_know() -> None:
    """A pair without terms, of a formula that did not tell them, changes nothing where others have them."""
    known = [answers(LLAMA, 0.7)]
    expected = Corrections(known).correction(QWEN, SPEED, TERMS)
    assert Corrections([pair(LLAMA, 100, 300), *known]).correction(QWEN, SPEED, TERMS) == expected


def test_terms_of_answers_say_nothing_of_prompts_memory_or_other_devices() -> None:
    """What answers taught stays with answers, and on its device."""
    learnt = Corrections([answers(LLAMA, 0.5)])
    assert learnt.correction(QWEN, Quantity.PREFILL_TOKENS).factor == 1.0
    assert learnt.correction(replace(QWEN, device="Raspberry Pi"), SPEED, TERMS).factor == 1.0


RATIOS = st.lists(st.floats(0.2, 5.0), min_size=1, max_size=30)
KINDS = st.sampled_from([QWEN, LLAMA, replace(QWEN, architecture="gemma3"), replace(LLAMA, quantization="F16")])


@given(RATIOS, st.sampled_from(Quantity))
def test_a_factor_lies_between_none_and_what_was_seen(ratios: list[float], quantity: Quantity) -> None:
    """Whatever the pairs, a correction never goes beyond the most extreme of them, nor beyond none."""
    found = Corrections(pair(QWEN, 100, 100 * ratio, quantity) for ratio in ratios).correction(QWEN, quantity)
    assert min(1.0, *ratios) - 1e-9 <= found.factor <= max(1.0, *ratios) + 1e-9


@given(st.lists(st.tuples(KINDS, st.floats(0.2, 5.0)), min_size=1, max_size=30), st.floats(0.5, 2.0))
def test_what_is_common_to_all_is_learnt_in_proportion(seen: list[tuple[Kind, float]], common: float) -> None:
    """A device that turns out faster by a factor moves every correction the same way, and never by more than that."""
    before = Corrections(pair(kind, 100, 100 * ratio) for kind, ratio in seen)
    after = Corrections(pair(kind, 100, 100 * min(7.9, max(0.13, ratio * common))) for kind, ratio in seen)
    for kind in (QWEN, LLAMA):
        moved = after.correction(kind, Quantity.DECODE_TOKENS).factor
        moved /= before.correction(kind, Quantity.DECODE_TOKENS).factor
        assert min(1.0, common) - 1e-9 <= moved <= max(1.0, common) + 1e-9


@given(st.lists(st.tuples(KINDS, st.floats(0.2, 5.0)), min_size=1, max_size=20), st.randoms())
def test_the_order_of_pairs_does_not_matter(seen: list[tuple[Kind, float]], chance: random.Random) -> None:
    """While they are few, pairs in any order teach the same."""
    shuffled = list(seen)
    chance.shuffle(shuffled)
    first, second = (Corrections(pair(kind, 100, 100 * ratio) for kind, ratio in own) for own in (seen, shuffled))
    for kind in (QWEN, LLAMA):
        expected = first.correction(kind, Quantity.DECODE_TOKENS).factor
        assert second.correction(kind, Quantity.DECODE_TOKENS).factor == pytest.approx(expected)


@given(st.floats(0.2, 5.0), st.integers(1, 40))
def test_repeating_what_was_seen_makes_the_next_forecast_closer(ratio: float, times: int) -> None:
    """One more pair of the same kind and ratio never takes the corrected forecast further from what was measured."""
    errors = [
        abs(math.log(ratio / Corrections([pair(QWEN, 100, 100 * ratio)] * count).correction(QWEN, SPEED).factor))
        for count in (times, times + 1)
    ]
    assert errors[1] <= errors[0] + 1e-12 <= abs(math.log(ratio)) + 1e-9


@given(st.floats(0.5, 2.0), st.floats(0.13, 7.9))
def test_one_broken_run_among_many_hardly_moves_a_forecast(ratio: float, broken: float) -> None:
    """Nine runs alike and one that was held up: the median stays."""
    runs = [pair(QWEN, 100, 100 * ratio)] * 9
    clean = Corrections(runs).correction(QWEN, SPEED).factor
    assert Corrections([*runs, pair(QWEN, 100, 100 * broken)]).correction(QWEN, SPEED).factor == pytest.approx(
        clean, rel=0.02
    )

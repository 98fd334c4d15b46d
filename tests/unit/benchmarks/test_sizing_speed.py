"""What is learnt from, what is compared, and how repeated measurements become one figure."""

from __future__ import annotations

from dataclasses import replace

import pytest
from benchmarks.sizing_models import Load
from benchmarks.sizing_speed_engine import AFTER_LONG, CASES, LONG, PIECE, SHORT, Case, Rates, long_cases
from benchmarks.sizing_speed_pairs import Seen, compare, forecast, is_in_range, learn, naive_forecast, summary

from tests.unit.planning.published import LLAMA_8B, QWEN_7B, TINY_LLAMA
from undercroft.planning.calibration import Quantity
from undercroft.planning.targets import Pool, Rate, Target

RATE = Rate(30e9, 25e9, 35e9, "as given")
HOST = Pool("host", "Processor", "cpu", 2**37, 2**37, RATE, {"fp32": Rate(4e11, 4e11, 4e11, "as given")})
TARGET = Target("test", HOST, (), Rate(2e9, 1e9, 3e9, "as given"))
MODELS = (("tiny", TINY_LLAMA), ("qwen", QWEN_7B), ("llama", LLAMA_8B))


def ran(ratio: float) -> list[Seen]:
    """Every case and load of three models in two quantizations, all at the same ratio to their forecasts."""
    found = []
    for name, shape in MODELS:
        for mix in ("Q4_K_M", "Q8_0"):
            for case in (*CASES, None):
                seen = Seen(Load(name, mix, 2304), shape, 5_000_000_000, case, 1.0)
                found.append(replace(seen, measured=forecast(seen, TARGET).value * ratio))
    return found


def test_other_files_of_the_calibrating_model_are_left_out() -> None:
    """Calibrated on one file of one model, only the two others are compared: no network is tested on itself."""
    found = compare(ran(0.7), TARGET, Load("tiny", "Q4_K_M", 2304))
    assert {one.seen.load.model for one in found} == {"qwen", "llama"}
    assert len(found) == 2 * 2 * (len(CASES) + 1)


def test_a_common_ratio_is_learnt_for_every_case() -> None:
    """A machine that runs at 0.7 of all forecasts is within 4 % after one other model, and 43 % off before.

    Answers are allowed 10 %: their terms are not told apart by a ratio that all of them share.
    """
    found = summary([one for one in compare(ran(0.7), TARGET, Load("tiny", "Q4_K_M", 2304)) if one.seen.case])
    assert found.median_before == pytest.approx(1 / 0.7 - 1)
    assert found.median_after < 0.04
    assert found.worst_after < 0.10


@pytest.mark.parametrize("changed", [*CASES, None], ids=str)
def test_every_measurement_teaches_its_own_quantity(changed: Case | None) -> None:
    """An answer, a prompt or a load that came out faster moves forecasts of its quantity, and of no other."""
    own = [one for one in ran(0.5) if one.load == Load("qwen", "Q8_0", 2304)]
    wild = [replace(one, measured=one.measured * 1.5) if one.case == changed else one for one in own]
    (moved,) = {one.quantity for one in own if one.case == changed}
    before, after = learn(own, TARGET), learn(wild, TARGET)
    for one in own:
        is_same = forecast(one, TARGET, before).value == forecast(one, TARGET, after).value
        assert is_same is (one.quantity is not moved)


def test_answers_teach_what_their_seconds_are_made_of() -> None:
    """A model that is slow only after a long prompt slows others after a long prompt, more than without one."""
    own = [one for one in ran(1.0) if one.load == Load("tiny", "Q8_0", 2304)]
    learnt = learn(
        [replace(one, measured=one.measured * 0.6) if one.case == AFTER_LONG else one for one in own], TARGET
    )
    other = {one.case: one for one in ran(1.0) if one.load == Load("qwen", "Q8_0", 2304)}
    long, short = (
        forecast(other[case], TARGET, learnt).value / other[case].measured for case in (AFTER_LONG, SHORT[0])
    )
    assert long < short - 0.02
    assert short == pytest.approx(1.0, abs=0.05)


def test_the_peer_learns_from_one_answer() -> None:
    """Bandwidth over size of the file gets the ratio of one answer, which is what it is made for."""
    seen = [replace(one, measured=3.0) if one.case == SHORT[0] else one for one in ran(1.0)]
    for one in compare(seen, TARGET, Load("qwen", "Q8_0", 2304)):
        assert one.naive_after == (None if one.naive is None else pytest.approx(one.naive * 0.5))


def test_the_peer_reads_the_whole_file() -> None:
    """Bandwidth over size for answers; it has nothing to say of prompts and loads."""
    by_case = {one.case: naive_forecast(one, TARGET) for one in ran(1.0)}
    assert by_case[SHORT[0]] == by_case[AFTER_LONG] == 6.0
    assert by_case[PIECE] is None
    assert by_case[None] is None


def test_each_case_is_a_quantity() -> None:
    """Answers, prompts and loads are learnt apart."""
    quantities = {one.case: one.quantity for one in ran(1.0)}
    assert quantities[SHORT[2]] is quantities[AFTER_LONG] is Quantity.DECODE_TOKENS
    assert quantities[LONG] is Quantity.PREFILL_TOKENS
    assert quantities[None] is Quantity.LOAD_SECONDS


def test_a_range_holds_its_ends() -> None:
    """What was measured at an end of the range lies in it."""
    rate = Rate(10.0, 8.0, 13.0, "as given")
    assert [is_in_range(rate, value) for value in (7.9, 8.0, 13.0, 13.1)] == [False, True, True, False]


def test_the_faster_half_counts() -> None:
    """Of five rounds the three fastest: their middle is the figure; the spread is that of all five."""
    rates = Rates(samples={PIECE: [50.0, 100.0, 96.0, 98.0, 10.0]})
    assert rates.rate(PIECE) == 98.0
    assert rates.spread(PIECE) == pytest.approx(0.9)
    assert Rates(samples={PIECE: [7.0]}).rate(PIECE) == 7.0


def test_the_long_prompt_and_its_answer_fit_into_the_context() -> None:
    """A network of 2,048 tokens gets a shorter prompt, so that 17 of answer fit; others get all 2,048."""
    for shape, tokens in ((replace(TINY_LLAMA, context_tokens=2048), 2030), (QWEN_7B, 2048)):
        cases = long_cases(shape)
        assert [case.prompt_tokens for case in cases] == [tokens, tokens]
        assert [case.is_decode for case in cases] == [False, True]
        assert tokens + cases[1].answer_tokens < shape.context_tokens


def test_names_of_cases_differ() -> None:
    """A row of the report says which case it is."""
    assert len({case.name for case in CASES}) == len(CASES)
    assert {case.name for case in (SHORT[0], SHORT[1])} == {"decode, 1 stream", "decode, 2 streams"}

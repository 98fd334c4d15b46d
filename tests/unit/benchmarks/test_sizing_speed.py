"""What is learnt from, what is compared, and how repeated measurements become one figure."""

from __future__ import annotations

from dataclasses import replace

import pytest
from benchmarks.sizing_models import Load
from benchmarks.sizing_speed_engine import AFTER_LONG, CASES, LONG, PIECE, SHORT, Case, Rates
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
    """A machine that runs at 0.7 of all forecasts is within 4 % after one other model, and 43 % off before."""
    found = summary([one for one in compare(ran(0.7), TARGET, Load("tiny", "Q4_K_M", 2304)) if one.seen.case])
    assert found.median_before == pytest.approx(1 / 0.7 - 1)
    assert found.worst_after < 0.04


def test_only_what_a_server_measures_is_learnt() -> None:
    """One stream, a prompt of a piece and a load teach; several streams and long prompts are forecast only."""
    own = [one for one in ran(0.5) if one.load == Load("qwen", "Q8_0", 2304)]

    def taught(changed: Case | None) -> list[float]:
        wild = [replace(one, measured=one.measured * 1.5) if one.case == changed else one for one in own]
        learnt = learn(wild, TARGET, lambda one, where: forecast(one, where).value)
        return [forecast(one, TARGET, learnt).value for one in own]

    for case in (SHORT[1], SHORT[2], LONG, AFTER_LONG):
        assert taught(case) == taught(CASES[1])
    for case in (SHORT[0], PIECE, None):
        assert taught(case) != taught(CASES[1])


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


def test_names_of_cases_differ() -> None:
    """A row of the report says which case it is."""
    assert len({case.name for case in CASES}) == len(CASES)
    assert {case.name for case in (SHORT[0], SHORT[1])} == {"decode, 1 stream", "decode, 2 streams"}

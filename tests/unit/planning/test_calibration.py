"""What is learnt from forecasts that met reality."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from undercroft.planning.calibration import Corrections, Kind, Pair, Quantity, accuracy

QWEN = Kind("llama.cpp", "EPYC", "qwen2", "Q4_K_M")
LLAMA = Kind("llama.cpp", "EPYC", "llama", "Q8_0")


def pair(kind: Kind, plain: float, measured: float, quantity: Quantity = Quantity.DECODE_TOKENS) -> Pair:
    return Pair(kind, quantity, plain, plain, measured)


def test_nothing_learnt_changes_nothing() -> None:
    """Without pairs the factor is 1 and no spread is claimed."""
    found = Corrections().correction(QWEN, Quantity.DECODE_TOKENS)
    assert (found.factor, found.spread, found.pairs) == (1.0, None, 0)


def test_one_other_model_on_the_same_device_helps() -> None:
    """A Llama that ran 20 % slower than forecast makes the next Qwen's forecast slower, by less than all of it."""
    found = Corrections([pair(LLAMA, 100, 80)]).correction(QWEN, Quantity.DECODE_TOKENS)
    assert 0.8 < found.factor < 1.0
    assert found.factor == pytest.approx(math.exp(math.log(0.8) / 2))
    assert found.level == "llama.cpp on this device"


def test_many_of_the_same_kind_outweigh_the_others() -> None:
    """Ten Qwens at 1.5 times and one Llama at half: a Qwen is corrected to about 1.5."""
    pairs = [pair(LLAMA, 100, 50), *(pair(QWEN, 100, 150) for _ in range(10))]
    found = Corrections(pairs).correction(QWEN, Quantity.DECODE_TOKENS)
    assert found.factor == pytest.approx(1.5, rel=0.03)
    assert found.pairs == 10


def test_another_device_or_quantity_teaches_nothing() -> None:
    """What was learnt on one processor or of memory says nothing about speed on another."""
    other = Kind("llama.cpp", "Raspberry Pi", "qwen2", "Q4_K_M")
    learnt = Corrections([pair(other, 100, 50), pair(QWEN, 100, 50, Quantity.PRIVATE_BYTES)])
    assert learnt.correction(QWEN, Quantity.DECODE_TOKENS).factor == 1.0


def test_a_broken_measurement_is_not_learnt_from() -> None:
    """A pair that is off by more than four times, or zero, is left out."""
    learnt = Corrections([pair(QWEN, 100, 1), pair(QWEN, 100, 0), pair(QWEN, 0, 10)])
    assert learnt.correction(QWEN, Quantity.DECODE_TOKENS).factor == 1.0


def test_accuracy_tells_before_and_after() -> None:
    """The error of the plain forecast stands beside that of the one that was given."""
    pairs = [Pair(QWEN, Quantity.LOAD_SECONDS, 12.0, 10.5, 10.0), Pair(QWEN, Quantity.LOAD_SECONDS, 8.0, 10.0, 10.0)]
    (found,) = accuracy(pairs)
    assert found.quantity is Quantity.LOAD_SECONDS
    assert found.pairs == 2
    assert found.median_before == pytest.approx(0.2)
    assert found.median_after == pytest.approx(0.025)
    assert found.worst_after == pytest.approx(0.05)


@given(st.lists(st.floats(0.3, 3.0), min_size=1, max_size=30))
def test_a_factor_lies_between_none_and_what_was_seen(ratios: list[float]) -> None:
    """Whatever the pairs, a correction never goes beyond the most extreme of them, nor beyond none."""
    found = Corrections(pair(QWEN, 100, 100 * ratio) for ratio in ratios).correction(QWEN, Quantity.DECODE_TOKENS)
    assert min(1.0, *ratios) - 1e-9 <= found.factor <= max(1.0, *ratios) + 1e-9

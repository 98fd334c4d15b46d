"""Steps of a processor: counted by hand, and what must always hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.planning.published import LLAMA_8B, MINI_LM, QWEN_30B_A3B, TINY_LLAMA
from undercroft.catalog.families import load_catalogue
from undercroft.catalog.shapes import ModelShape
from undercroft.planning.processor_steps import StepWork, prompt_attention, step_attention, step_seconds
from undercroft.planning.speed_constants import PROCESSOR_KERNELS
from undercroft.planning.traffic import Load, Matrices, attention_pairs, load_of, traffic_of

RATE = 1e11
MANY_BYTES = 1e15  # a bandwidth at which reading takes no time


def work(load: Load, sequences: int) -> StepWork:
    return StepWork(load, load, sequences, 0.0, 0.0)


def of_type(name: str) -> Load:
    return load_of([Matrices(name, 10**9, 10**9)])


def test_one_token_takes_the_operations_of_its_types() -> None:
    """A billion weights of Q4_K at 4.2 operations each and 1e11 a second: 42 ms, however fast memory is."""
    assert step_seconds(work(of_type("Q4_K"), 1), MANY_BYTES, RATE) == pytest.approx(0.042)


def test_a_slow_memory_takes_the_time_of_reading() -> None:
    """The same billion in 1 GB at 2 GB/s: half a second; the arithmetic is done meanwhile."""
    assert step_seconds(work(of_type("Q4_K"), 1), 2e9, RATE) == pytest.approx(0.5, rel=0.001)


def test_two_tokens_of_a_tiled_type_wait_for_memory_and_those_of_others_do_not() -> None:
    """Q8_0 is read four rows at a time from two tokens on and takes several times as long; Q6_K takes twice."""
    lost = {}
    for name in ("Q8_0", "Q6_K"):
        alone, two = (step_seconds(work(of_type(name), count), MANY_BYTES, RATE) for count in (1, 2))
        lost[name] = two / alone
    assert lost["Q6_K"] == pytest.approx(2 * 6.2 / 6.3)
    assert lost["Q8_0"] == pytest.approx((2 * 4.1 + 26) / 6.4)


def test_an_expert_is_multiplied_token_by_token() -> None:
    """Neither the kernels of long prompts nor tiles: each token costs what one alone does."""
    experts = load_of([Matrices("Q8_0", 10**9, 10**9)], is_experts=True)
    assert experts.prompt_operations == experts.together_operations == experts.alone_operations == 6.4e9
    assert experts.tiled_elements == 0
    mixture = traffic_of(QWEN_30B_A3B, "Q8_0")
    assert mixture.expert_load.tiled_elements == 0 < mixture.block_load.tiled_elements


def test_attention_by_hand() -> None:
    """TinyLlama with 100 keys: 22 blocks x 32 heads x 100 keys, 2,100 operations and 11.2 for each of 128 products."""
    assert attention_pairs(TINY_LLAMA, 100) == 22 * 32 * 100
    assert step_attention(TINY_LLAMA, 100) == pytest.approx(70_400 * (2100 + 11.2 * 128))
    assert prompt_attention(TINY_LLAMA, 100) == pytest.approx(70_400 * 50 * (500 + 5.6 * 128))
    assert prompt_attention(MINI_LM, 100) == pytest.approx(6 * 12 * 100 * 100 * (500 + 5.6 * 64))


def test_a_window_bounds_the_keys_that_are_met() -> None:
    """Gemma 3 1B with 8,192 tokens: 22 of 26 blocks meet 512 keys with each of 4 heads."""
    gemma = load_catalogue().find("gemma-3-1b").shape
    assert attention_pairs(gemma, 8192) == 4 * (22 * 512 + 4 * 8192)


@pytest.mark.parametrize("name", PROCESSOR_KERNELS)
def test_another_token_never_makes_a_step_shorter(name: str) -> None:
    """From one sequence to sixty-four, past the change to the kernels of long prompts; and never twice the price."""
    load = of_type(name)
    times = [step_seconds(work(load, count), 20e9, RATE) for count in range(1, 65)]
    assert times == sorted(times)
    assert times[63] < 64 * times[0]


@given(st.sampled_from([LLAMA_8B, TINY_LLAMA, QWEN_30B_A3B]), st.integers(1, 30_000), st.integers(1, 10_000))
def test_a_longer_past_is_never_cheaper(shape: ModelShape, tokens: int, more: int) -> None:
    """Each further key is met by each head."""
    assert step_attention(shape, tokens + more) > step_attention(shape, tokens)
    assert prompt_attention(shape, tokens + more) > prompt_attention(shape, tokens)

"""Steps of a processor: counted by hand, and what must always hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.planning.published import LLAMA_8B, MINI_LM, QWEN_30B_A3B, TINY_LLAMA
from undercroft.catalog.families import load_catalogue
from undercroft.catalog.shapes import ModelShape
from undercroft.planning.processor_steps import Rates, StepWork, prompt_attention, step_attention, step_time
from undercroft.planning.speed_constants import PROCESSOR_KERNELS
from undercroft.planning.traffic import Load, Matrices, attention_pairs, load_of, traffic_of

RATE = 1e11
MANY_BYTES = 1e18  # a bandwidth at which reading takes no time


def work(load: Load, sequences: int) -> StepWork:
    return StepWork(load, load, sequences, 0.0, 0.0)


def seconds(found: StepWork, bandwidth: float, core_bandwidth: float = 0.0) -> float:
    took = step_time(found, Rates(bandwidth, core_bandwidth, RATE))
    return took.reading + took.arithmetic + took.attention


def of_type(name: str) -> Load:
    return load_of([Matrices(name, 10**9, 10**9)])


def test_one_token_takes_the_operations_of_its_types() -> None:
    """A billion weights of Q4_K at 2.2 operations each and 1e11 a second: 22 ms, where memory takes no time."""
    assert seconds(work(of_type("Q4_K"), 1), MANY_BYTES) == pytest.approx(0.022)


def test_on_few_cores_arithmetic_comes_on_top_of_reading() -> None:
    """The same billion in 1 GB at 2 GB/s: half a second of reading and 22 ms of arithmetic."""
    took = step_time(work(of_type("Q4_K"), 1), Rates(2e9, 1e9, RATE))
    assert took.reading == pytest.approx(0.5)
    assert took.arithmetic == pytest.approx(0.022)


def test_on_many_cores_only_the_longer_of_the_two_counts() -> None:
    """Cores that could read eight times what memory delivers hide 22 ms of arithmetic; 600 ms of it they do not."""
    short, long = work(of_type("Q4_K"), 1), work(of_type("IQ4_XS"), 8)
    assert seconds(short, 2e9, 16e9) == pytest.approx(0.5)
    assert seconds(long, 2e9, 16e9) == pytest.approx(1 / 16 + 54.4e9 / RATE * 1)


def test_two_tokens_of_a_tiled_type_wait_for_memory_more_than_those_of_others() -> None:
    """Q8_0 takes seven times as long for two tokens as for one, Q6_K three times; two more cost both of them less."""
    lost = {}
    for name in ("Q8_0", "Q6_K"):
        alone, two, four = (seconds(work(of_type(name), count), MANY_BYTES) for count in (1, 2, 4))
        lost[name] = two / alone
        assert four - two < two - alone
    assert lost["Q6_K"] == pytest.approx((5.9 + 2 * 6.1) / 5.6)
    assert lost["Q8_0"] == pytest.approx((21 + 2 * 3.3) / 4.0)


def test_an_expert_is_multiplied_token_by_token() -> None:
    """In a step each token costs what one alone does, and nothing is waited for; a prompt has its own figure."""
    experts = load_of([Matrices("Q8_0", 10**9, 10**9)], is_experts=True)
    assert experts.together_operations == experts.alone_operations == 4.0e9
    assert experts.prompt_operations == 6.9e9
    assert experts.waiting_operations == 0
    mixture = traffic_of(QWEN_30B_A3B, "Q8_0")
    assert mixture.expert_load.waiting_operations == 0 < mixture.block_load.waiting_operations


def test_attention_by_hand() -> None:
    """TinyLlama with 100 keys: 22 blocks x 32 heads x 100 keys, 3,650 operations and 18.5 for each of 128 products."""
    assert attention_pairs(TINY_LLAMA, 100) == 22 * 32 * 100
    assert step_attention(TINY_LLAMA, 100) == pytest.approx(70_400 * (3650 + 18.5 * 128))
    assert prompt_attention(TINY_LLAMA, 100) == pytest.approx(70_400 * 50 * (500 + 7.2 * 128))
    assert prompt_attention(MINI_LM, 100) == pytest.approx(6 * 12 * 100 * 100 * (500 + 7.2 * 64))


def test_a_window_bounds_the_keys_that_are_met() -> None:
    """Gemma 3 1B with 8,192 tokens: 22 of 26 blocks meet 512 keys with each of 4 heads."""
    gemma = load_catalogue().find("gemma-3-1b").shape
    assert attention_pairs(gemma, 8192) == 4 * (22 * 512 + 4 * 8192)


@pytest.mark.parametrize("name", PROCESSOR_KERNELS)
def test_another_token_never_makes_a_step_shorter(name: str) -> None:
    """From one sequence to sixty-four, past the change to the kernels of long prompts; and never twice the price."""
    load = of_type(name)
    times = [seconds(work(load, count), 14e9) for count in range(1, 65)]
    assert times == sorted(times)
    assert times[63] < 64 * times[0]


@given(st.sampled_from([LLAMA_8B, TINY_LLAMA, QWEN_30B_A3B]), st.integers(1, 30_000), st.integers(1, 10_000))
def test_a_longer_past_is_never_cheaper(shape: ModelShape, tokens: int, more: int) -> None:
    """Each further key is met by each head."""
    assert step_attention(shape, tokens + more) > step_attention(shape, tokens)
    assert prompt_attention(shape, tokens + more) > prompt_attention(shape, tokens)

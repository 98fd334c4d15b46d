"""The speed forecast: golden arithmetic, published measurements, and what must always hold."""

from __future__ import annotations

import statistics
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.planning.published import LLAMA_7B, LLAMA_8B, MINI_LM, MINISTRAL_3B, QWEN_7B, QWEN_30B_A3B
from undercroft.catalog.shapes import ModelShape
from undercroft.hardware.catalogue import load_devices
from undercroft.planning import speed_constants as constants
from undercroft.planning.calibration import Corrections, Kind, Pair, Quantity
from undercroft.planning.forecasts import MemoryForecast, SpeedForecast, Term, Workload
from undercroft.planning.memory_llamacpp import merge_count
from undercroft.planning.speed import forecast_speed, pace_of
from undercroft.planning.steps import decode_seconds, job_of, unpacking
from undercroft.planning.targets import Pool, Rate, Target
from undercroft.planning.targets_of import target_of_device

WHOLE = 10_000  # more layers than any network has: all of it on the accelerator


def exact(value: float) -> Rate:
    return Rate(value, value, value, "as given")


def card(bandwidth: float = 100e9, fp32: float = 3.5e12, index: int = 0) -> Pool:
    compute = {"fp32": exact(fp32), "bf16": exact(10 * fp32)}
    return Pool(f"gpu{index}", "Card", "gpu", 2**36, 2**36, exact(bandwidth), compute, vendor="nvidia")


def machine(*cards: Pool, bandwidth: float = 50e9, fp32: float = 4e11) -> Target:
    host = Pool("host", "Processor", "cpu", 2**37, 2**37, exact(bandwidth), {"fp32": exact(fp32)})
    return Target("test", host, cards, exact(2e9), exact(20e9) if cards else None)


def on(target: Target, shape: ModelShape, workload: Workload, layers: int = WHOLE) -> SpeedForecast:
    return forecast_speed(shape, workload, target, MemoryForecast((), layers))


def test_decode_by_hand() -> None:
    """Llama 2 7B in F16 on a card of 100 GB/s: 13.2 GB of weights, 302 MB of cache at 576 tokens, 32 launches."""
    workload = Workload(quantization="F16", prompt_tokens=512, answer_tokens=128)
    weights = 2 * (6_738_415_616 - 32000 * 4096) + 2 * 65 * 4096
    cache = 2 * 32 * 32 * 128 * 2 * 576
    beside = 32 * constants.LAYER_OVERHEAD["gpu", "nvidia"].value + 32000 * 2e-9 + constants.STEP_SECONDS.value
    expected = weights / 100e9 + cache / 100e9 + beside
    assert on(machine(card()), LLAMA_7B, workload).decode.value == pytest.approx(1 / expected, rel=1e-6)


def test_layers_on_two_pools_run_one_after_the_other() -> None:
    """Half of the blocks on the processor: its half at its bandwidth, the card's half at the card's."""
    workload = Workload(quantization="F16", prompt_tokens=1, answer_tokens=0)
    job = job_of(LLAMA_7B, workload, machine(card(), fp32=1e15), 17)
    blocks = (2 * (6_738_415_616 - 2 * 32000 * 4096) + 2 * 64 * 4096) / 2
    output = 2 * 32000 * 4096 + 2 * 4096 / 2
    beside = constants.LAYER_OVERHEAD["cpu", ""].value + constants.WIDTH_SECONDS * 4096
    overhead = constants.LAYER_OVERHEAD["gpu", "nvidia"].value * 16 + beside * 16
    expected = blocks / 50e9 + (blocks + output) / 100e9 + overhead + 32000 * 2e-9 + constants.STEP_SECONDS.value
    assert decode_seconds(job, 1, 0) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    ("mix", "ratio"), [("Q8_0", 0.93), ("Q6_K", 0.83), ("Q4_K", 0.75), ("IQ4_XS", 0.74), ("Q2_K", 0.54)]
)
def test_the_published_ratios_to_f16_hold_on_a_device_of_their_balance(mix: str, ratio: float) -> None:
    """Bytes of a type are read at its share of F16's rate, so tokens/s does not follow one over the size."""
    pool = card(bandwidth=100e9, fp32=constants.REFERENCE_BALANCE * 100e9)
    assert unpacking(pool, mix) == pytest.approx(ratio)
    assert unpacking(pool, "F16") == 1


# Device, shape, quantization, tokens a second. Llama 2 7B: llama.cpp #4766; 8B on RTX 3090: #15802; M4: normiebench #3;
# Orin AGX: MiniCPM #331; Ministral 3 3B: pavlokhmel.com, 2026-06.
PUBLISHED = [
    ("nvidia-rtx-4090", LLAMA_7B, "F16", 61.0),
    ("nvidia-rtx-4090", LLAMA_7B, "Q8_0", 98.1),
    ("nvidia-rtx-3090", LLAMA_8B, "Q4_0", 155.0),
    ("nvidia-rtx-4090", MINISTRAL_3B, "Q4_K_M", 271.0),
    ("nvidia-rtx-4080", MINISTRAL_3B, "Q4_K_M", 210.0),
    ("nvidia-a100-80gb-sxm", MINISTRAL_3B, "Q4_K_M", 211.0),
    ("nvidia-h100-sxm", MINISTRAL_3B, "Q4_K_M", 305.0),
    ("nvidia-h200", MINISTRAL_3B, "Q4_K_M", 319.0),
    ("nvidia-jetson-agx-orin-64gb", LLAMA_8B, "Q4_K_M", 25.0),
]


def test_published_measurements_lie_in_the_range() -> None:
    """Each measured rate is within the forecast's range, and half of them within 15 % of its best figure."""
    devices, errors = load_devices(), []
    for device, shape, mix, measured in PUBLISHED:
        workload = Workload(quantization=mix, prompt_tokens=128, answer_tokens=128)
        found = on(target_of_device(devices[device]), shape, workload).decode
        assert found.low <= measured <= found.high, (device, mix, found)
        errors.append(abs(found.value / measured - 1))
    assert statistics.median(errors) < 0.15


def test_a_batch_gives_more_in_all_and_less_to_each() -> None:
    """RTX 3090, 8B Q4_0 (llama.cpp #15802): 469 tokens/s with 4 sequences, 571 with 8, inside the range."""
    target = target_of_device(load_devices()["nvidia-rtx-3090"])
    for slots, measured in ((4, 469), (8, 571)):
        workload = Workload(quantization="Q4_0", slots=slots, prompt_tokens=64, answer_tokens=128)
        found = on(target, LLAMA_8B, workload)
        assert found.decode_all.low <= measured <= found.decode_all.high
        assert found.decode_all.value > found.decode.value > found.decode_user.value


def test_a_mixture_of_experts_is_fast_alone_and_loses_more_to_a_batch() -> None:
    """One token reads 8 of 128 experts, sixteen read two thirds of them."""
    alone = on(machine(card()), QWEN_30B_A3B, Workload(quantization="Q4_K_M"))
    dense = on(machine(card()), QWEN_7B, Workload(quantization="Q4_K_M"))
    assert alone.decode.value > dense.decode.value
    busy = Workload(quantization="Q4_K_M", slots=16)
    lost = on(machine(card()), QWEN_30B_A3B, busy).decode_user.value / alone.decode.value
    assert lost < on(machine(card()), QWEN_7B, busy).decode_user.value / dense.decode.value


def test_layers_split_over_two_cards_are_no_faster_and_tensor_parallel_ones_are() -> None:
    """llama.cpp computes layer after layer; vLLM reads half of each layer on each card."""
    one, two = machine(card()), machine(card(), card(index=1))
    split = Workload(quantization="F16")
    assert on(two, LLAMA_8B, split).decode.value == pytest.approx(on(one, LLAMA_8B, split).decode.value, rel=0.01)
    parallel = Workload(engine="vllm", quantization="BF16")
    assert on(two, LLAMA_8B, parallel).decode.value > 1.4 * on(one, LLAMA_8B, parallel).decode.value


def test_an_encoder_generates_nothing_and_still_has_a_rate() -> None:
    """MiniLM embeds: no decode rate, a prefill rate and a time to its answer."""
    found = on(machine(), MINI_LM, Workload(quantization="F16", prompt_tokens=128, is_embedding=True), 0)
    assert found.decode.value == found.decode_all.value == 0
    assert found.prefill.value > 100
    assert found.first_token.value == pytest.approx(128 / found.prefill.value + constants.DOOR_SECONDS.value)


def test_loading_reads_the_file_rearranges_and_copies() -> None:
    """4.7 GB of Qwen 2.5 7B from 2 GB/s through pages at 0.8, merges at 5 us, 1.5 GB rearranged at 0.32 GB/s, 0.4 s."""
    terms = (Term("repacked weights", "host", 1_500_000_000, False, "", ""),)
    found = forecast_speed(QWEN_7B, Workload(quantization="Q4_K_M"), machine(), MemoryForecast(terms, 0))
    merges = merge_count(QWEN_7B) * 5e-6
    assert found.load.value == pytest.approx(0.4 + 4.677e9 / 2e9 + 4.677e9 / 0.8e9 + merges + 1.5 / 0.32, rel=0.01)
    assert found.load.low < found.load.value < found.load.high


def test_what_was_learnt_moves_the_figure_and_narrows_the_range() -> None:
    """Five runs 20 % slower than forecast: the next forecast is nearly 20 % lower, its range a few percent."""
    kind = Kind("llama.cpp", "Card", "llama", "Q4_K")
    pairs = [Pair(kind, Quantity.DECODE_TOKENS, 100, 100, 80 + wobble) for wobble in (-1, 0, 0, 0, 1)]
    workload = Workload(quantization="Q4_K_M")
    plain = on(machine(card()), LLAMA_8B, workload).decode
    learnt = forecast_speed(LLAMA_8B, workload, machine(card()), MemoryForecast((), WHOLE), Corrections(pairs)).decode
    assert learnt.value == pytest.approx(plain.value * 0.8, rel=0.05)
    assert learnt.high / learnt.low < plain.high / plain.low
    assert "5 runs" in learnt.source


@pytest.mark.parametrize("count", [1, 2, 5])
def test_learning_from_another_quantization_never_widens_the_range(count: int) -> None:
    """Runs of one Q8_0 move a Q4_K_M's figure; how much the two may differ is not known better than before."""
    pairs = [Pair(Kind("llama.cpp", "Card", "llama", "Q8_0"), Quantity.DECODE_TOKENS, 100, 100, 80)] * count
    workload, target = Workload(quantization="Q4_K_M"), machine(card())
    plain = on(target, LLAMA_8B, workload).decode
    learnt = forecast_speed(LLAMA_8B, workload, target, MemoryForecast((), WHOLE), Corrections(pairs)).decode
    assert learnt.value < plain.value * 0.85
    assert learnt.high / learnt.value <= plain.high / plain.value * 1.000001
    assert learnt.value / learnt.low <= plain.value / plain.low * 1.000001


def test_the_explanation_names_each_term_and_its_source() -> None:
    """Bytes, bandwidth, unpacking, launches, cache, sampling, prompt, load: all there, with where they come from."""
    devices = load_devices()
    workload = Workload(quantization="Q4_K_M", slots=4)
    text = "\n".join(on(target_of_device(devices["nvidia-l4"]), LLAMA_8B, workload).explanation)
    for words in (
        "data sheet",
        "unpacking Q4_K: 0.75",
        "embedding rows are not read",
        "us beside reading",
        "cache of 640",
    ):
        assert words in text
    for words in ("sampling over 128,256", "4 users at once", "prompt of 512", "load:", "nothing learnt yet"):
        assert words in text


MIXES = st.sampled_from(["F16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M", "Q2_K"])
SHAPES = st.sampled_from([LLAMA_8B, QWEN_7B, QWEN_30B_A3B])


@settings(max_examples=40, deadline=None)
@given(shape=SHAPES, mix=MIXES, tokens=st.integers(1, 8000), more=st.integers(1, 8000), layers=st.integers(0, 60))
def test_more_context_is_never_faster(shape: ModelShape, mix: str, tokens: int, more: int, layers: int) -> None:
    """A longer prompt takes longer to its first token and leaves a larger cache to read."""
    target = machine(card())
    short, long = (
        pace_of(shape, Workload(quantization=mix, prompt_tokens=n, context_tokens=32768), target, layers)
        for n in (tokens, tokens + more)
    )
    assert long.decode <= short.decode
    assert long.first_token >= short.first_token * 0.999999


@settings(max_examples=40, deadline=None)
@given(shape=SHAPES, mix=MIXES, factor=st.floats(1, 20), slots=st.integers(1, 64), layers=st.integers(0, 60))
def test_more_bandwidth_and_arithmetic_are_never_slower(
    shape: ModelShape, mix: str, factor: float, slots: int, layers: int
) -> None:
    """A machine that is better in everything is not slower in anything."""
    workload = Workload(quantization=mix, slots=slots)
    slow = pace_of(shape, workload, machine(card()), layers)
    fast_card = card(100e9 * factor, 3.5e12 * factor)
    fast = pace_of(shape, workload, machine(fast_card, bandwidth=50e9 * factor, fp32=4e11 * factor), layers)
    assert fast.decode >= slow.decode * 0.999999
    assert fast.decode_all >= slow.decode_all * 0.999999
    assert fast.first_token <= slow.first_token * 1.000001


@settings(max_examples=40, deadline=None)
@given(shape=SHAPES, mix=MIXES, slots=st.integers(1, 63), layers=st.integers(0, 60))
def test_another_user_never_speeds_anybody_up(shape: ModelShape, mix: str, slots: int, layers: int) -> None:
    """Each user gets no more with one more beside; the range always holds the figure."""
    target = machine(card())
    few = on(target, shape, Workload(quantization=mix, slots=slots), layers)
    many = on(target, shape, Workload(quantization=mix, slots=slots + 1), layers)
    assert many.decode_user.value <= few.decode_user.value
    for rate in (few.decode, few.decode_all, few.prefill, few.first_token, few.load):
        assert rate.low <= rate.value <= rate.high


def test_a_quantized_cache_is_read_faster() -> None:
    """At a long context half the bytes of the cache are half its time."""
    long = Workload(quantization="Q4_K_M", context_tokens=32768, prompt_tokens=30000)
    plain = pace_of(LLAMA_8B, long, machine(card()), WHOLE)
    assert pace_of(LLAMA_8B, replace(long, cache_type="q8_0"), machine(card()), WHOLE).decode > plain.decode

"""Rates of the real engine on a processor: what was measured lies in the forecast's range, before anything is learnt.

Out of `benchmarks.sizing_speed` on 2026-11-21: two threads of an EPYC with AVX-512, 50.3 GB/s, products at 368e9 FP32
operations a second. Models of the catalogue, random weights.
"""

from __future__ import annotations

import statistics

import pytest

from tests.unit.planning.published import LLAMA_8B, QWEN_30B_A3B
from undercroft.catalog.families import load_catalogue
from undercroft.planning import speed_constants as constants
from undercroft.planning.forecasts import MemoryForecast, SpeedForecast, Workload
from undercroft.planning.speed import forecast_speed
from undercroft.planning.steps import BEST, Levels, decode_terms, job_of, processor_overhead
from undercroft.planning.targets import Pool, Rate, Target

CATALOGUE = load_catalogue()
HOST = Pool(
    "host",
    "EPYC",
    "cpu",
    2**35,
    2**35,
    Rate(50.3e9, 45.3e9, 55.3e9, "measured"),
    {"fp32": Rate(368e9, 276e9, 478e9, "measured")},
)
MACHINE = Target("test", HOST, (), Rate(2e9, 1.4e9, 2.6e9, "measured"), threads=2)
# Model, quantization, tokens a second of each of one, two and four answers at once.
ANSWERS = [
    ("smollm2-135m", "Q8_0", (144.8, 50.9, 41.4)),
    ("smollm2-360m", "Q4_K_M", (68.1, 27.6, 19.7)),
    ("qwen3-0.6b", "F16", (36.3, 17.2, 12.0)),
    ("qwen3-0.6b", "Q8_0", (44.4, 13.8, 11.9)),
    ("qwen3-0.6b", "Q4_K_M", (66.5, 35.6, 22.9)),
    ("qwen3-0.6b", "IQ4_XS", (44.6, 21.4, 13.8)),
    ("qwen3-0.6b", "Q2_K", (52.3, 24.7, 16.5)),
    ("llama-3.2-1b", "Q8_0", (23.8, 8.3, 8.0)),
    ("llama-3.2-1b", "Q4_0", (38.3, 20.0, 12.9)),
    ("gemma-3-1b", "Q4_K_M", (24.1, 10.3, 7.4)),
    ("qwen2.5-1.5b", "IQ4_XS", (19.3, 8.6, 5.5)),
]
# Model, quantization, tokens a second of a prompt of 512, and of an answer after 2,048.
LONG = [
    ("qwen3-0.6b", "Q6_K", 205.9, 21.9),
    ("llama-3.2-1b", "Q4_K_M", 89.7, 18.2),
    ("gemma-3-1b", "Q8_0", 102.5, 26.2),
    ("qwen2.5-1.5b", "Q4_0", 67.4, 20.2),
]


def on(model: str, workload: Workload) -> SpeedForecast:
    return forecast_speed(CATALOGUE.find(model).shape, workload, MACHINE, MemoryForecast((), 0))


def test_measured_answers_lie_in_the_range() -> None:
    """Each of 33 rates is within the forecast's range, and half of them within 10 % of its best figure."""
    errors = []
    for model, mix, rates in ANSWERS:
        for slots, measured in zip((1, 2, 4), rates, strict=True):
            found = on(model, Workload(quantization=mix, slots=slots, prompt_tokens=32, answer_tokens=33)).decode_user
            assert found.low <= measured <= found.high, (model, mix, slots, found)
            errors.append(abs(found.value / measured - 1))
    assert statistics.median(errors) < 0.10


@pytest.mark.parametrize(("model", "mix", "prompt", "answer"), LONG)
def test_measured_prompts_and_answers_after_them_lie_in_the_range(
    model: str, mix: str, prompt: float, answer: float
) -> None:
    """A piece of a prompt is computed, and a long one is looked back on, within the forecast's range."""
    found = on(model, Workload(quantization=mix, prompt_tokens=512)).prefill
    assert found.low <= prompt <= found.high
    after = on(model, Workload(quantization=mix, prompt_tokens=2048, answer_tokens=17)).decode
    assert after.low <= answer <= after.high


def test_a_smaller_file_is_not_always_faster() -> None:
    """Alone on two cores Q4_K_M and Q4_0 answer faster than IQ4_XS and Q2_K, whose arithmetic nothing hides."""
    rates = {
        mix: on("qwen3-0.6b", Workload(quantization=mix)).decode.value for mix in ("Q4_K_M", "Q4_0", "IQ4_XS", "Q2_K")
    }
    assert min(rates["Q4_K_M"], rates["Q4_0"]) > max(rates["IQ4_XS"], rates["Q2_K"])


def test_what_layers_take_by_hand() -> None:
    """32 layers of 4,096 values, three sequences; 48 layers of 2,048 whose tokens each go to 8 experts."""
    part = job_of(LLAMA_8B, Workload(quantization="Q4_0"), MACHINE, 0).parts[0]
    each = constants.LAYER_OVERHEAD["cpu", ""].value
    assert processor_overhead(LLAMA_8B, part, 3, BEST) == pytest.approx(32 * (each + 35e-9 * 4096 + 34e-6 * 2))
    expected = 48 * (each + 35e-9 * 2048 + 16e-6 * 8)
    assert processor_overhead(QWEN_30B_A3B, part, 1, BEST) == pytest.approx(expected)
    slow, fast = (processor_overhead(LLAMA_8B, part, 3, Levels(overhead=level)) for level in (-1, 1))
    assert fast < processor_overhead(LLAMA_8B, part, 3, BEST) < slow


def test_networks_differ_in_every_term() -> None:
    """The slow end of what is peculiar to a network makes reading, arithmetic, attention and layers slower alike."""
    job = job_of(LLAMA_8B, Workload(quantization="Q4_0"), MACHINE, 0)
    best, slow = (decode_terms(job, 2, 1000, levels) for levels in (BEST, Levels(network=-1)))
    slower = constants.NETWORK_SPREAD.high
    assert slow.reading == pytest.approx(best.reading * slower)
    assert slow.arithmetic == pytest.approx(best.arithmetic * slower)
    assert slow.attention == pytest.approx(best.attention * slower)
    assert best.overhead < slow.overhead < best.overhead * slower  # sampling and the server's loop stay

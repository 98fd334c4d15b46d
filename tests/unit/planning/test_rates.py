"""Rates of devices that name few of them: computers without graphics, and makers who name the narrowest type alone."""

from __future__ import annotations

import pytest

from tests.unit.planning.published import LLAMA_7B, LLAMA_8B, TINY_LLAMA
from undercroft.catalog.shapes import ModelShape
from undercroft.hardware.catalogue import load_devices
from undercroft.planning.forecasts import MemoryForecast, SpeedForecast, Workload
from undercroft.planning.speed import forecast_speed
from undercroft.planning.steps import job_of, tensor_rate
from undercroft.planning.targets_of import target_of_device

DEVICES = load_devices()


def on(device: str, shape: ModelShape, workload: Workload) -> SpeedForecast:
    target = target_of_device(DEVICES[device])
    return forecast_speed(shape, workload, target, MemoryForecast((), shape.layers + 1 if target.accelerators else 0))


def test_a_raspberry_pi_computes_on_its_cores() -> None:
    """It has no accelerator; prompts of 7B Q4_0 at 8.1 tokens/s (llama.cpp #6928), 1.1B Q8_0 at 35 (llamafile)."""
    assert target_of_device(DEVICES["raspberry-pi-5-8gb"]).accelerators == ()
    for shape, mix, measured in ((LLAMA_7B, "Q4_0", 8.1), (TINY_LLAMA, "Q8_0", 35.0)):
        found = on("raspberry-pi-5-8gb", shape, Workload(quantization=mix, prompt_tokens=109)).prefill
        assert found.low <= measured <= found.high, (mix, found)


def test_a_raspberry_pi_answers_as_measured() -> None:
    """Llama 3.1 8B in Q4_K_M at 1.87 to 2.17 tokens/s (geerlingguy, ai-benchmarks #7)."""
    found = on("raspberry-pi-5-8gb", LLAMA_8B, Workload(quantization="Q4_K_M", prompt_tokens=32)).decode
    assert found.low <= 1.87 < 2.17 <= found.high
    assert found.value == pytest.approx(2.0, rel=0.2)


@pytest.mark.parametrize(
    ("device", "tera"), [("nvidia-dgx-spark", 125.0), ("nvidia-jetson-thor", 258.75), ("nvidia-l4", 121.0)]
)
def test_sixteen_bits_take_twice_the_time_of_eight_and_four_that_of_four(device: str, tera: float) -> None:
    """llama.cpp multiplies prompts in 16 bits: a quarter of the 4-bit rate where no other is named."""
    target = target_of_device(DEVICES[device])
    job = job_of(LLAMA_8B, Workload(quantization="Q4_K_M"), target, 33)
    name, rate = tensor_rate(job, target.accelerators[0])
    assert name in ("bf16", "fp16")
    assert rate.value == pytest.approx(tera * 1e12)

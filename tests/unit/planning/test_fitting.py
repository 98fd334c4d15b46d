"""What earlier loads taught reaches the plan of the next one."""

from __future__ import annotations

import pytest

from tests.unit.planning.published import QWEN_7B
from undercroft.hardware.catalogue import load_devices
from undercroft.planning.calibration import Corrections, Pair, Quantity
from undercroft.planning.fitting import memory_factors
from undercroft.planning.forecasts import Workload
from undercroft.planning.speed import kind_of
from undercroft.planning.targets_of import target_of_device

DEVICES = load_devices()


@pytest.mark.parametrize(
    ("device", "quantity"), [("nvidia-l4", Quantity.GPU_BYTES), ("amd-epyc-9554", Quantity.PRIVATE_BYTES)]
)
def test_a_load_teaches_the_plan_of_the_same_kind_most(device: str, quantity: Quantity) -> None:
    """A pair that a load left is found at its finest level, on a card as on a processor."""
    target, work = target_of_device(DEVICES[device]), Workload(quantization="Q4_K_M")
    kind = kind_of(QWEN_7B, work, target, QWEN_7B.layers + 1 if target.accelerators else 0)
    learnt = Corrections([Pair(kind, quantity, 1e9, 1e9, 1.5e9)] * 9)
    factor = memory_factors(QWEN_7B, work, target, learnt)[quantity]
    assert factor == learnt.correction(kind, quantity).factor
    assert factor > 1.4

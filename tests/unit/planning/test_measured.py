"""Stored measurements as rates of a forecast."""

from __future__ import annotations

import pytest

from undercroft.hardware.machine import Accelerator, Disk, HostMemory, Machine, Processor
from undercroft.hardware.measurements import Measurement
from undercroft.planning.measured import measured_of
from undercroft.planning.speed_constants import PRODUCT_OPERATIONS
from undercroft.planning.targets_of import target_of_machine

AT = "2026-11-21T10:00:00.000Z"
MACHINE = Machine(
    processor=Processor("EPYC", "x86_64", 2, 4, frozenset({"avx2"})),
    memory=HostMemory(8 * 1024**3, 6 * 1024**3, 8 * 1024**3, None, 0),
    disks=(Disk("/home/me", "/home", "ext4", 10**12, 10**11, False, None),),
    accelerators=(Accelerator("nvidia", 0, "NVIDIA L4", 24 * 1024**3),),
)


def figure(kind: str, device: str, variant: str, value: float, **detail: float) -> Measurement:
    return Measurement(kind, device, value, variant, detail, AT)  # type: ignore[arg-type]


def test_each_rate_takes_its_own_measurement() -> None:
    """Reads by all threads, the cold disk, products by type of weights, copies to the card; with their dates."""
    found = [
        figure("memory-bandwidth", "EPYC", "read, 1 thread", 20e9),
        figure("memory-bandwidth", "EPYC", "read, all threads", 40e9, slowest=30e9),
        figure("memory-bandwidth", "EPYC", "copy, all threads", 50e9),
        figure("disk-read", "/home", "cold", 2e9),
        figure("disk-read", "/home", "warm", 9e9),
        figure("matrix", "EPYC", "f32", 80e9),
        figure("matrix", "EPYC", "q4_K", 99e9),
        figure("gpu-copy", "NVIDIA L4", "host to device", 12e9),
    ]
    measured = measured_of(found, MACHINE)
    assert measured.memory is not None
    assert (measured.memory.value, measured.memory.low) == (40e9, 30e9)
    assert measured.memory.source == "measured here 2026-11-21"
    assert measured.disk is not None
    assert measured.disk.value == 2e9
    assert measured.gpu_copy is not None
    assert measured.gpu_copy.value == 12e9
    assert {name: rate.value for name, rate in measured.matrix.items()} == {"f32": 80e9, "q4_k": 99e9}
    assert target_of_machine(MACHINE, measured, {}).host.bandwidth.value == 40e9


def test_figures_of_another_machine_do_not_count() -> None:
    """A home that was moved keeps its measurements, and none of them is of this processor, disk or card."""
    found = [
        figure("memory-bandwidth", "Xeon", "read, all threads", 400e9),
        figure("disk-read", "/mnt", "cold", 2e9),
        figure("matrix", "Xeon", "f32", 80e9),
        figure("gpu-copy", "NVIDIA H100", "host to device", 50e9),
    ]
    measured = measured_of(found, MACHINE)
    assert (measured.memory, measured.disk, measured.matrix, measured.gpu_copy) == (None, None, {}, None)
    assert "hardware measure" in target_of_machine(MACHINE, measured, {}).host.bandwidth.source


def test_a_product_that_reads_faster_than_a_plain_read_says_the_bandwidth() -> None:
    """The engine's kernels with one token stream weights; where they got 54 GB/s, memory gives 54 GB/s."""
    found = [
        figure("memory-bandwidth", "EPYC", "read, all threads", 30e9),
        figure("matrix-vector", "EPYC", "f16", 54e9),
        figure("matrix-vector", "EPYC", "q4_K", 38e9),
        figure("matrix-vector", "Xeon", "f16", 200e9),
    ]
    measured = measured_of(found, MACHINE)
    assert measured.memory is not None
    assert measured.memory.value == 54e9


def test_arithmetic_is_counted_in_what_products_of_known_types_reached() -> None:
    """Products that take the table's operations at 2e11 a second say that rate, whatever one of them did."""
    rates = {name: 2 * 2e11 / operations for name, operations in PRODUCT_OPERATIONS.items()}
    found = [figure("matrix", "EPYC", name, rate) for name, rate in rates.items()]
    compute = target_of_machine(MACHINE, measured_of(found, MACHINE), {}).host.compute["fp32"]
    assert compute.value == pytest.approx(2e11)
    assert compute.low < compute.value < compute.high
    held_up = [figure("matrix", "EPYC", "f32", 1e9), *found[1:]]
    assert target_of_machine(MACHINE, measured_of(held_up, MACHINE), {}).host.compute["fp32"].value == compute.value
    nothing_known = [figure("matrix", "EPYC", "mystery", 1e12)]
    assert "guessed" in target_of_machine(MACHINE, measured_of(nothing_known, MACHINE), {}).host.compute["fp32"].source

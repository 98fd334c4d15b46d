"""Targets made of what there is: of a detected machine and what was measured on it, or of devices of the catalogue.

Rates are what a decode step can really get, not what a data sheet promises: a figure from a data sheet is multiplied
with the share of it that streaming reads reach, a measured one is taken as it is.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from undercroft.core.errors import InvalidError
from undercroft.hardware.devices import Device
from undercroft.hardware.machine import Accelerator, Machine, Processor
from undercroft.planning.speed_constants import PRODUCT_OPERATIONS
from undercroft.planning.targets import Pool, Rate, Target

_GIB = 1024**3
MOST_PER_HOST = 8

# Share of the data sheet's bandwidth that streaming reads reach: best, low, high. From llama.cpp's and vLLM's published
# decode rates of F16 weights: RTX 4090 0.80 (llama.cpp #4766), A100 40 GB 0.77 (johnmusgrave.com vLLM sweep, v0.23),
# M4 0.80 at Q4_K_M (normiebench #3); STREAM on servers reaches 0.75 to 0.85 of the channels' sum.
_STREAMING: Mapping[str, tuple[float, float, float]] = {
    "gpu": (0.88, 0.74, 0.96),
    "unified": (0.86, 0.62, 0.96),
    "npu": (0.60, 0.35, 0.85),
    "cpu": (0.75, 0.55, 0.88),
    # Cores of a small computer: 8B Q4_K_M at 1.87 to 2.17 tokens/s on a Raspberry Pi 5 (geerlingguy, ai-benchmarks #7).
    "soc": (0.62, 0.48, 0.80),
}
# A CUDA context takes 107 MiB (RTX 4060 Ti) to 555 MiB (RTX PRO 6000); measured, shared/design/facts.
_SMALL_CONTEXT_BYTES, _LARGE_CONTEXT_BYTES = 300 * 1024**2, 555 * 1024**2
_LARGE_CARD_BYTES = 32 * _GIB

# Kept for the operating system and everything else, of memory that a new machine has.
_RESERVE_SHARE, _RESERVE_LEAST_BYTES = 0.05, 1.25 * _GIB

# Metal's recommendedMaxWorkingSetSize: 10,923 MB of 16 GiB (llama-cpp-python #687), 75 % of 64 GiB (gpustack #1375).
_APPLE_SHARE, _APPLE_SMALL_SHARE, _APPLE_SMALL_BYTES = 0.75, 2 / 3, 36 * _GIB

# Where nothing was measured: one core of a current server reads 25 GB/s, two read 30 (measured, EPYC, 2026-11).
_FIRST_CORE_BANDWIDTH, _NEXT_CORE_BANDWIDTH, _MOST_BANDWIDTH = 25e9, 5e9, 80e9
# Single-precision operations a cycle and core by instruction set (two multiply-add units of that width), at 3 GHz.
_OPERATIONS_PER_CYCLE = (("avx512f", 64), ("avx2", 32), ("sve", 32), ("neon", 16))
_ASSUMED_HERTZ = 3e9
# Of a processor whose products were measured, how far a type may lie from the middle of all, assumption.
_SLOWER_TYPE, _FASTER_TYPE = 0.75, 1.30

# Share of its power that an idle card takes: L4 16 of 72 W, A100 50 of 400 W, RTX 4090 20 of 450 W (nvidia-smi).
_IDLE_SHARE = 0.12
_HOST_FEATURES = frozenset({"avx2", "f16c", "fma"})

_NVME_BANDWIDTH = Rate(3.0e9, 1.5e9, 6.0e9, "assumption: a PCIe 4.0 NVMe disk, cold")
_FLASH_BANDWIDTH = Rate(0.8e9, 0.25e9, 2.0e9, "assumption: NVMe or eMMC of a small computer, cold")
_PCIE_BANDWIDTH = Rate(20e9, 10e9, 50e9, "assumption: PCIe 4.0 x16, one way")


@dataclass(frozen=True, slots=True)
class Host:
    """The computer that a card is put into, where only the card was named.

    Args:
        name: In words.
        memory_bytes: Main memory.
        bandwidth: Of it, bytes a second, data sheet.
        cores: Physical.
        price_usd: Without cards.
        watts: At full load, without cards.
        idle_watts: When nothing runs.
    """

    name: str
    memory_bytes: int
    bandwidth: float
    cores: int
    price_usd: float
    watts: float
    idle_watts: float


# Prices are assumptions for a complete computer without accelerators; change them with --assume host-price=….
WORKSTATION = Host("workstation: 8 cores, 64 GiB DDR5-5600", 64 * _GIB, 89.6e9, 8, 1400.0, 150.0, 60.0)
SERVER = Host("server: 32 cores, 256 GiB DDR5-4800 in 8 channels", 256 * _GIB, 307.2e9, 32, 9000.0, 450.0, 180.0)


@dataclass(frozen=True, slots=True)
class Measured:
    """What ``undercroft hardware measure`` found here; empty where it never ran.

    Args:
        memory: Bytes a second, all threads.
        disk: Bytes a second of a cold read.
        matrix: Type of weights as there (``f32``, ``q4_k``) → operations a second of a product with many tokens.
        gpu_copy: Bytes a second between host and accelerators.
    """

    memory: Rate | None = None
    disk: Rate | None = None
    matrix: Mapping[str, Rate] = field(default_factory=dict)
    gpu_copy: Rate | None = None


def target_of_machine(machine: Machine, measured: Measured, devices: Mapping[str, Device]) -> Target:
    """This machine as a target, with the memory that is free now.

    Args:
        machine: As detected.
        measured: Here.
        devices: The catalogue; figures of accelerators come from it.
    """
    processor, memory = machine.processor, machine.memory
    host = Pool(
        id="host",
        name=processor.name,
        kind="cpu",
        total_bytes=memory.total_bytes,
        available_bytes=min(memory.available_bytes, memory.total_bytes),
        bandwidth=measured.memory or _guessed_bandwidth(processor),
        compute={"fp32": _measured_compute(measured.matrix) or _guessed_compute(processor)},
    )
    pools = tuple(_detected_pool(a, devices) for a in machine.accelerators if (a.memory_bytes or 0) > 0)
    kinds = {pool.kind for pool in pools}
    return Target(
        name="this machine",
        host=host,
        accelerators=pools if len(kinds) <= 1 else tuple(pool for pool in pools if pool.kind == "gpu"),
        disk_bandwidth=measured.disk or _NVME_BANDWIDTH,
        link_bandwidth=(measured.gpu_copy or _PCIE_BANDWIDTH) if pools else None,
        watts=sum(pool.watts for pool in pools) + WORKSTATION.watts,
        idle_watts=WORKSTATION.idle_watts,
        features=processor.features,
        threads=max(1, processor.physical_cores),
    )


def target_of_device(device: Device, count: int = 1, *, host_price_usd: float | None = None) -> Target:
    """A machine with one or several of a device; of a computer (SoC, processor) it is that computer alone.

    Args:
        device: Of the catalogue.
        count: Accelerators in one host; 1 for what is a computer by itself.
        host_price_usd: In place of the default host's.

    Raises:
        InvalidError: More accelerators than a host takes, or several of a whole computer.
    """
    if count < 1 or (count > 1 and is_computer(device)) or count > MOST_PER_HOST:
        expected = "1" if is_computer(device) else f"1 to {MOST_PER_HOST}"
        raise InvalidError(
            "bad-count",
            f"{device.name} was wanted {count} times in one machine, expected {expected}",
            hint="give --machines N for several equal machines",
        )
    if is_computer(device):
        return _computer(device)
    host = host_for(device, count)
    card = _card_pool(device)
    pools = tuple(replace(card, id=f"gpu{index}") for index in range(count))
    host_price = host.price_usd if host_price_usd is None else host_price_usd
    price = None if device.purchase is None else device.purchase.usd * count + host_price
    return Target(
        name=device.name if count == 1 else f"{count} x {device.name}",
        host=_host_pool(host),
        accelerators=pools,
        disk_bandwidth=_NVME_BANDWIDTH,
        link_bandwidth=_PCIE_BANDWIDTH,
        price_usd=price,
        watts=device.watts * count + host.watts,
        idle_watts=device.watts * _IDLE_SHARE * count + host.idle_watts,
        features=_HOST_FEATURES,
        threads=host.cores,
    )


def is_computer(device: Device) -> bool:
    """Whether it runs without being put into a host."""
    return device.kind in ("soc", "cpu", "npu") or device.is_unified


def host_for(device: Device, count: int) -> Host:
    """The default host of a card: a workstation for up to two that fit into one, else a server."""
    is_modest = device.watts <= 600 and device.memory_bytes <= _LARGE_CARD_BYTES
    return WORKSTATION if is_modest and count <= 2 else SERVER


def _computer(device: Device) -> Target:
    kind = {"npu": "npu"}.get(device.kind, "unified" if device.is_unified else "cpu")
    total = device.memory_bytes or WORKSTATION.memory_bytes
    available = total - int(max(_RESERVE_SHARE * total, min(_RESERVE_LEAST_BYTES, total / 4)))
    if device.vendor == "apple":
        available = min(available, int(total * _apple_share(total)))
    reading = "soc" if (kind, device.kind) == ("cpu", "soc") else kind
    bandwidth = _from_data_sheet(device.bandwidth_bytes or WORKSTATION.bandwidth, reading)
    compute = _compute(device)
    host = Pool("host", device.name, "cpu", total, available, bandwidth, compute, device_id=device.id)
    pools: tuple[Pool, ...] = ()
    if kind != "cpu":
        # A computer's own graphics or neural unit computes in the same memory; nothing is copied.
        weak = {"fp32": Rate(2e11, 5e10, 8e11, "assumption: the processor cores of such a computer")}
        host = Pool("host", f"{device.name}, processor cores", "cpu", total, available, bandwidth, weak)
        context = _SMALL_CONTEXT_BYTES if device.vendor == "nvidia" else 0
        pools = (
            Pool(
                "gpu0",
                device.name,
                kind,
                total,
                available,
                bandwidth,
                compute,
                context,
                device.watts,
                device.id,
                device.vendor,
            ),
        )
    board = 0.0 if device.kind == "soc" else 80.0
    price = _computer_price(device)
    return Target(
        device.name,
        host,
        pools,
        _NVME_BANDWIDTH if total > 16 * _GIB else _FLASH_BANDWIDTH,
        None,
        price,
        (device.watts or 65.0) + board,
        (device.watts or 65.0) * 0.2 + board * 0.5,
    )


def _apple_share(total_bytes: int) -> float:
    """What macOS lets the GPU hold unless `iogpu.wired_limit_mb` says otherwise."""
    return _APPLE_SHARE if total_bytes > _APPLE_SMALL_BYTES else _APPLE_SMALL_SHARE


def _computer_price(device: Device) -> float | None:
    if device.purchase is None:
        return None
    # Board, memory, disk, case and power supply around a processor that is sold alone.
    around = {"processor": SERVER.price_usd / 2 if device.watts > 150 else WORKSTATION.price_usd / 2, "card": 0.0}
    return device.purchase.usd + around.get(device.purchase.what, 0.0)


def _card_pool(device: Device) -> Pool:
    usable = device.reported_bytes or int(device.memory_bytes * 0.97)
    context = _LARGE_CONTEXT_BYTES if device.memory_bytes > _LARGE_CARD_BYTES else _SMALL_CONTEXT_BYTES
    return Pool(
        id="gpu0",
        name=device.name,
        kind="gpu",
        total_bytes=usable,
        available_bytes=usable,
        bandwidth=_from_data_sheet(device.bandwidth_bytes, "gpu"),
        compute=_compute(device),
        context_bytes=context,
        watts=device.watts,
        device_id=device.id,
        vendor=device.vendor,
    )


def _detected_pool(accelerator: Accelerator, devices: Mapping[str, Device]) -> Pool:
    device = devices.get(accelerator.catalogue_id or "")
    total = accelerator.memory_bytes or 0
    kind = "unified" if accelerator.is_unified else "gpu"
    unknown = Rate(300e9, 50e9, 2000e9, "unknown device: not in the catalogue")
    return Pool(
        id=f"gpu{accelerator.index}",
        name=accelerator.name,
        kind=kind,
        total_bytes=total,
        available_bytes=accelerator.free_bytes if accelerator.free_bytes is not None else total,
        bandwidth=_from_data_sheet(device.bandwidth_bytes, kind) if device else unknown,
        compute=_compute(device) if device else {},
        context_bytes=_LARGE_CONTEXT_BYTES if total > _LARGE_CARD_BYTES else _SMALL_CONTEXT_BYTES,
        watts=accelerator.power_limit_watts or (device.watts if device else 0.0),
        device_id=device.id if device else "",
        vendor=accelerator.vendor,
    )


def _host_pool(host: Host) -> Pool:
    available = host.memory_bytes - int(max(_RESERVE_SHARE * host.memory_bytes, _RESERVE_LEAST_BYTES))
    peak = host.cores * _ASSUMED_HERTZ * 32
    compute = {"fp32": Rate(peak, peak * 0.5, peak * 2, "assumption: the default host, AVX2 at 3 GHz")}
    bandwidth = _from_data_sheet(host.bandwidth, "cpu")
    return Pool("host", host.name, "cpu", host.memory_bytes, available, bandwidth, compute)


def _from_data_sheet(peak: float, kind: str) -> Rate:
    best, low, high = _STREAMING[kind]
    words = f"{peak / 1e9:,.0f} GB/s of the data sheet x {best:g} that streaming reads reach"
    return Rate(peak * best, peak * low, peak * high, words)


def _compute(device: Device) -> dict[str, Rate]:
    source = f"data sheet of {device.name}"
    return {name: Rate(t * 1e12, t * 1e12, t * 1e12, source) for name, t in device.tflops.items() if t > 0}


def _measured_compute(matrix: Mapping[str, Rate]) -> Rate | None:
    """The rate that a processor's arithmetic is counted in, out of products whose operations a weight are known."""
    found = [
        (rate.value / 2 * operations, rate.source)  # a multiply-add was counted as two operations
        for name, operations in PRODUCT_OPERATIONS.items()
        if (rate := matrix.get(name)) is not None
    ]
    if not found:
        return None
    value = statistics.median(figure for figure, _ in found)
    source = f"{found[0][1]}, products of {len(found)} types of weights"
    return Rate(value, value * _SLOWER_TYPE, value * _FASTER_TYPE, source)


def _guessed_bandwidth(processor: Processor) -> Rate:
    cores = max(1, processor.physical_cores)
    value = min(_FIRST_CORE_BANDWIDTH + _NEXT_CORE_BANDWIDTH * (cores - 1), _MOST_BANDWIDTH)
    return Rate(value, value * 0.4, value * 2.0, "guessed from the cores; measure: undercroft hardware measure")


def _guessed_compute(processor: Processor) -> Rate:
    per_cycle = next((n for feature, n in _OPERATIONS_PER_CYCLE if feature in processor.features), 8)
    value = max(1, processor.physical_cores) * _ASSUMED_HERTZ * per_cycle
    words = f"guessed: {per_cycle} operations a cycle and core at 3 GHz; measure: undercroft hardware measure"
    return Rate(value, value * 0.5, value * 1.5, words)

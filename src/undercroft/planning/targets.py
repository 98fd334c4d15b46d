"""Where a model would run: memory pools and rates, the same for a detected machine and for devices of the catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Rate:
    """A figure with a range and where it comes from.

    Args:
        value: Best single figure.
        low: Lower end of the range.
        high: Upper end of the range.
        source: ``measured 2026-11-21``, ``maker's data sheet`` …
    """

    value: float
    low: float
    high: float
    source: str


@dataclass(frozen=True, slots=True)
class Pool:
    """One memory with the processor that computes on it.

    Args:
        id: ``host``, ``gpu0`` …
        name: As people call it.
        kind: ``cpu``, ``gpu``, ``unified``, ``npu``.
        total_bytes: All of it.
        available_bytes: That a model may take now, or of a new device would have.
        bandwidth: Bytes a second that a decode step reads from it.
        compute: Dtype → operations a second (a multiply-add is two).
        context_bytes: Taken by the runtime before a model is loaded (a CUDA context); 0 for a host.
        watts: At full load.
        device_id: Entry of the catalogue; empty for none.
        vendor: As `undercroft.hardware.machine.Vendor`, or empty.
    """

    id: str
    name: str
    kind: str
    total_bytes: int
    available_bytes: int
    bandwidth: Rate
    compute: Mapping[str, Rate] = field(default_factory=dict)
    context_bytes: int = 0
    watts: float = 0.0
    device_id: str = ""
    vendor: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """A machine to plan for.

    Args:
        name: ``this machine``, ``2 x NVIDIA L4``.
        host: Main memory and CPU.
        accelerators: None, one or several of the same kind.
        disk_bandwidth: Bytes a second of a cold read.
        link_bandwidth: Bytes a second between host and accelerators; None for none.
        price_usd: Of all of it, with the host it needs; None is not known.
        watts: Of all of it at full load.
        idle_watts: Of all of it when nothing runs.
        features: Instruction sets of the host, which decide what llama.cpp repacks; empty is not known.
        threads: That an engine computes with; 0 is not known.
    """

    name: str
    host: Pool
    accelerators: tuple[Pool, ...]
    disk_bandwidth: Rate
    link_bandwidth: Rate | None = None
    price_usd: float | None = None
    watts: float = 0.0
    idle_watts: float = 0.0
    features: frozenset[str] = frozenset()
    threads: int = 0

"""What a machine is, as detected; a forecast is made for one of these or for a device of the catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Vendor = Literal["nvidia", "amd", "intel", "habana", "apple", "google", "qualcomm", "other"]


@dataclass(frozen=True, slots=True)
class Processor:
    """The CPU.

    Args:
        name: As the system calls it.
        architecture: ``x86_64``, ``aarch64``, ``arm64``.
        physical_cores: That this process may use; count.
        logical_cores: That this process may use; count.
        features: Instruction sets that matter: ``avx2``, ``avx512f``, ``avx512_vnni``, ``amx_int8``, ``neon``.
        sockets: Count.
        catalogue_id: Device of our catalogue with the same name; None for none.
    """

    name: str
    architecture: str
    physical_cores: int
    logical_cores: int
    features: frozenset[str]
    sockets: int = 1
    catalogue_id: str | None = None


@dataclass(frozen=True, slots=True)
class HostMemory:
    """Main memory, after the limits of a control group.

    Args:
        total_bytes: That this process may use at most: the smaller of the machine's and its control group's.
        available_bytes: That it could take now without swapping.
        machine_bytes: Of the whole machine.
        limit_bytes: Of the control group; None where there is none.
        swap_used_bytes: In swap now.
        numa_nodes: Memory per node, bytes; one entry for an ordinary machine.
    """

    total_bytes: int
    available_bytes: int
    machine_bytes: int
    limit_bytes: int | None
    swap_used_bytes: int
    numa_nodes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Disk:
    """A file system that matters to us.

    Args:
        path: Where it was looked at.
        mount: Mount point.
        kind: ``ext4``, ``xfs``, ``nfs`` …
        total_bytes: Size.
        free_bytes: For an ordinary user.
        is_network: It lies on another machine.
        is_rotating: A spinning disk; None where it cannot be told.
    """

    path: str
    mount: str
    kind: str
    total_bytes: int
    free_bytes: int
    is_network: bool
    is_rotating: bool | None


@dataclass(frozen=True, slots=True)
class Accelerator:
    """A GPU, NPU or the like.

    Args:
        vendor: Who made it.
        index: As its driver numbers it.
        name: As its driver calls it.
        memory_bytes: Its own memory, or the shared memory of a machine whose memory is one; None is not known.
        free_bytes: Of it, now; None is not known.
        is_unified: Its memory is the host's (Jetson, Apple, integrated graphics).
        catalogue_id: Device of our catalogue with the same name; None for none.
        compute_capability: ``8.9`` (NVIDIA), ``gfx942`` (AMD); empty is not known.
        power_limit_watts: None is not known.
        power_draw_watts: Now; None is not known.
        temperature_celsius: Now; None is not known.
        has_ecc: Error correction is on; None is not known.
        mig_instances: Names of the parts that it is divided into; empty for a whole one.
        throttle_reasons: Why its clock is lowered now, in the driver's words.
        driver_version: Empty is not known.
        runtime_version: CUDA or ROCm that the driver supports; empty is not known.
        processes: Process id → memory in bytes, of those that use it now.
        facts: What else its driver says.
        bandwidth_bytes: Of its memory at its highest clock, bytes a second, as its driver says; None is not known.
    """

    vendor: Vendor
    index: int
    name: str
    memory_bytes: int | None
    free_bytes: int | None = None
    is_unified: bool = False
    catalogue_id: str | None = None
    compute_capability: str = ""
    power_limit_watts: float | None = None
    power_draw_watts: float | None = None
    temperature_celsius: float | None = None
    has_ecc: bool | None = None
    mig_instances: tuple[str, ...] = ()
    throttle_reasons: tuple[str, ...] = ()
    driver_version: str = ""
    runtime_version: str = ""
    processes: Mapping[int, int] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    bandwidth_bytes: float | None = None


@dataclass(frozen=True, slots=True)
class Machine:
    """All of it. ``notes`` says what could not be looked at, and why.

    ``model`` is what the board or computer calls itself: ``Raspberry Pi 5 Model B Rev 1.0``; empty is not known.
    """

    processor: Processor
    memory: HostMemory
    disks: tuple[Disk, ...]
    accelerators: tuple[Accelerator, ...]
    is_container: bool = False
    notes: tuple[str, ...] = ()
    model: str = ""

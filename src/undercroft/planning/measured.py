"""What ``undercroft hardware measure`` stored, as the rates that a forecast takes. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from undercroft.hardware.machine import Machine
from undercroft.hardware.measurements import Measurement, find
from undercroft.planning.targets import Rate
from undercroft.planning.targets_of import Measured

# Assumptions on how far an engine's rate lies from the measured one: reads of a large buffer repeat within a tenth;
# cold reads of a disk depend on where the file lies and on who else reads.
_MEMORY_SPREAD, _DISK_SPREAD, _ARITHMETIC_SPREAD, _COPY_SPREAD = 0.10, 0.30, 0.15, 0.15


def measured_of(found: Sequence[Measurement], machine: Machine) -> Measured:
    """The rates of this machine; a figure of another processor, in a home that was moved, does not count.

    Args:
        found: As `undercroft.hardware.measurements.newest` gives them.
        machine: As detected.
    """
    processor = machine.processor.name
    mounts = {disk.mount for disk in machine.disks}
    cold = [one for one in found if one.kind == "disk-read" and one.device in mounts]
    names = {accelerator.name for accelerator in machine.accelerators}
    copies = [one for one in found if one.kind == "gpu-copy" and one.device in names]
    products = [one for one in found if (one.kind, one.device) == ("matrix", processor)]
    return Measured(
        memory=_rate(_fastest_read(found, processor), _MEMORY_SPREAD),
        disk=_rate(find(cold, "disk-read", variant="cold"), _DISK_SPREAD),
        matrix={one.variant.lower(): rate for one in products if (rate := _rate(one, _ARITHMETIC_SPREAD))},
        gpu_copy=_rate(find(copies, "gpu-copy", variant="host to device"), _COPY_SPREAD),
    )


def _fastest_read(found: Sequence[Measurement], processor: str) -> Measurement | None:
    """The plain read, or a product with one token where that got more: its kernels ask for more memory at a time."""
    reads = [one for one in found if (one.kind, one.device) == ("matrix-vector", processor)]
    plain = find(found, "memory-bandwidth", device=processor, variant="read, all threads")
    return max([*reads, *([plain] if plain else [])], key=lambda one: one.value, default=None)


def _rate(one: Measurement | None, spread: float) -> Rate | None:
    if one is None or one.value <= 0:
        return None
    low = min(one.value * (1 - spread), float(one.detail.get("slowest", one.value)))
    return Rate(one.value, low, one.value * (1 + spread), f"measured here {one.at[:10]}")

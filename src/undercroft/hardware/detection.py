"""Looks at this machine: one detector a vendor, then names matched with the catalogue."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from undercroft.core.errors import InvalidError
from undercroft.hardware import amd, apple, habana, jetson, kernel_devices, nvidia
from undercroft.hardware.catalogue import load_devices, match_device
from undercroft.hardware.computer import is_container, read_model
from undercroft.hardware.devices import Device
from undercroft.hardware.disks import read_disk
from undercroft.hardware.machine import Accelerator, Disk, HostMemory, Machine, Processor
from undercroft.hardware.main_memory import read_memory
from undercroft.hardware.processors import read_processor
from undercroft.hardware.vendor_tools import Found

# In this order: the first that tells of a device wins. A Jetson's board says which one it is, its driver says "Orin";
# a vendor's own tool says more than the kernel.
DETECTORS: tuple[Callable[[], Found], ...] = (
    jetson.detect,
    nvidia.detect,
    amd.detect,
    habana.detect,
    apple.detect,
    kernel_devices.detect,
)


def detect(home: Path | None = None) -> Machine:
    """This machine, as far as it can be looked at; what could not be looked at stands in its ``notes``.

    Args:
        home: Root of a home: its disk is looked at, and its ``devices.yaml`` completes the catalogue.
    """
    found = [detector() for detector in DETECTORS]
    devices, notes = _devices(home)
    disks, disk_notes = _disks(home)
    return completed(
        processor=read_processor(),
        memory=read_memory(),
        disks=disks,
        found=found,
        devices=devices,
        notes=(*notes, *disk_notes),
        model=read_model(),
        is_container=is_container(),
    )


def completed(
    *,
    processor: Processor,
    memory: HostMemory,
    disks: tuple[Disk, ...],
    found: list[Found],
    devices: Mapping[str, Device],
    notes: tuple[str, ...] = (),
    model: str = "",
    is_container: bool = False,
) -> Machine:
    """Puts together what was found: shared memory filled in, devices seen twice left out, names matched. Pure."""
    accelerators: list[Accelerator] = []
    for accelerator in (a for part in found for a in part.accelerators):
        if not any(_is_same(accelerator, seen) for seen in accelerators):
            accelerators.append(_matched(_with_shared_memory(accelerator, memory), devices))
    return Machine(
        processor=replace(processor, catalogue_id=_processor_id(processor, model, memory, devices)),
        memory=memory,
        disks=disks,
        accelerators=tuple(accelerators),
        is_container=is_container,
        notes=(*notes, *(note for part in found for note in part.notes)),
        model=model,
    )


def _is_same(one: Accelerator, other: Accelerator) -> bool:
    """The same device seen through two detectors: at one PCI address, or the one shared-memory GPU of a vendor."""
    addresses = one.facts.get("pci"), other.facts.get("pci")
    if all(addresses):
        return addresses[0] == addresses[1]
    return one.vendor == other.vendor and one.is_unified and other.is_unified and not any(addresses)


def _with_shared_memory(accelerator: Accelerator, memory: HostMemory) -> Accelerator:
    if not accelerator.is_unified:
        return accelerator
    return replace(
        accelerator,
        memory_bytes=accelerator.memory_bytes or memory.total_bytes,
        free_bytes=accelerator.free_bytes if accelerator.free_bytes is not None else memory.available_bytes,
    )


def _matched(accelerator: Accelerator, devices: Mapping[str, Device]) -> Accelerator:
    found = match_device(
        accelerator.name,
        devices,
        kinds=("gpu", "accelerator", "soc", "npu"),
        memory_bytes=None if accelerator.is_unified else accelerator.memory_bytes,
    )
    return replace(accelerator, catalogue_id=found)


def _processor_id(processor: Processor, model: str, memory: HostMemory, devices: Mapping[str, Device]) -> str | None:
    return match_device(processor.name, devices, kinds=("cpu", "soc")) or match_device(
        model, devices, kinds=("soc",), memory_bytes=None
    )


def _devices(home: Path | None) -> tuple[dict[str, Device], tuple[str, ...]]:
    try:
        return load_devices(home), ()
    except InvalidError as error:  # a slip in the user's file must not blind the server
        return load_devices(), (f"{error.message}; the built-in catalogue is used",)


def _disks(home: Path | None) -> tuple[tuple[Disk, ...], tuple[str, ...]]:
    disks: list[Disk] = []
    notes = []
    for path in (home, Path("/")) if home is not None else (Path("/"),):
        try:
            disk = read_disk(path)
        except OSError as error:
            notes.append(f"the disk of {path} cannot be looked at: {error.strerror or error}")
            continue
        if all(disk.mount != seen.mount for seen in disks):
            disks.append(disk)
    return tuple(disks), tuple(notes)

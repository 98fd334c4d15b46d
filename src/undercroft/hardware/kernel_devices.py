"""Accelerators that the Linux kernel itself knows: GPUs under ``/sys/class/drm``, NPUs under ``/sys/class/accel``.

No tool and no library of a vendor is needed. It also tells of hardware whose driver is missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from undercroft.hardware.machine import Accelerator, Vendor
from undercroft.hardware.readings import as_bytes
from undercroft.hardware.vendor_tools import Found

_SYS = Path("/sys")

_VENDORS: dict[str, Vendor] = {
    "0x10de": "nvidia",
    "0x1002": "amd",
    "0x1022": "amd",
    "0x8086": "intel",
    "0x1da3": "habana",
    "0x17cb": "qualcomm",
}

# PCI ids, as in the kernel's own drivers (i915, xe, ivpu, amdxdna) and pci.ids.
_NAMES = {
    ("0x8086", "0x56a0"): "Intel Arc A770",
    ("0x8086", "0x56a1"): "Intel Arc A750",
    ("0x8086", "0x56c0"): "Intel Data Center GPU Flex 170",
    ("0x8086", "0xe20b"): "Intel Arc B580",
    ("0x8086", "0xe20c"): "Intel Arc B570",
    ("0x8086", "0x7d1d"): "Intel AI Boost NPU (Meteor Lake)",
    ("0x8086", "0xad1d"): "Intel AI Boost NPU (Arrow Lake)",
    ("0x8086", "0x643e"): "Intel AI Boost NPU (Lunar Lake)",
    ("0x8086", "0xb03e"): "Intel AI Boost NPU (Panther Lake)",
    ("0x1002", "0x740f"): "AMD Instinct MI210",
    ("0x1002", "0x74a1"): "AMD Instinct MI300X",
    ("0x1002", "0x74a5"): "AMD Instinct MI325X",
    ("0x1002", "0x150e"): "AMD Radeon 890M (Strix Point)",
    ("0x1002", "0x1586"): "AMD Radeon 8060S (Strix Halo)",
    ("0x1022", "0x1502"): "AMD XDNA NPU (Phoenix, Hawk Point)",
    ("0x1022", "0x17f0"): "AMD XDNA 2 NPU (Strix)",
}
_SHARED_MEMORY = frozenset((("0x1002", "0x150e"), ("0x1002", "0x1586")))
_TOO_SMALL_BYTES = 2 * 1024**3  # a display that borrows a little of the host's memory; no model runs there
_TOOL = {"nvidia": "nvidia-smi", "amd": "amd-smi or rocm-smi", "habana": "hl-smi"}


@dataclass(frozen=True, slots=True)
class KernelDevice:
    """One device as the kernel shows it.

    Args:
        kind: ``gpu`` or ``npu``.
        vendor: PCI vendor, ``0x8086``; empty where it is not on PCI.
        device: PCI device, ``0xe20b``.
        driver: ``xe``, ``amdgpu``, ``intel_vpu`` …; empty where none has taken it.
        address: PCI address.
        total_bytes: Of its own memory; None is not known.
        used_bytes: Of it, now; None is not known.
    """

    kind: str
    vendor: str
    device: str
    driver: str
    address: str
    total_bytes: int | None = None
    used_bytes: int | None = None


def detect(root: Path = _SYS) -> Found:
    """GPUs and NPUs that the kernel knows; a discrete one whose vendor's driver is missing is told of in the notes."""
    devices = list(_read_class(root, "drm", "card", "gpu")) + list(_read_class(root, "accel", "accel", "npu"))
    lonely = list(_without_driver(root, {device.address for device in devices}))
    return decide(devices, lonely)


def decide(devices: list[KernelDevice], lonely: list[KernelDevice]) -> Found:
    """Accelerators out of what the kernel shows; displays of servers and virtual machines are none. Pure."""
    accelerators: list[Accelerator] = []
    notes = []
    for device in devices:
        name = _NAMES.get((device.vendor, device.device), "")
        vendor = _VENDORS.get(device.vendor)
        if device.driver == "nouveau":
            notes.append(f"nvidia: the GPU at {device.address} has the driver nouveau, which cannot compute")
        if vendor is None or vendor == "habana" or not (name or _is_worth(device)):
            continue
        accelerators.append(_accelerator(device, vendor, name, len(accelerators)))
    for device in lonely:
        vendor = _VENDORS[device.vendor]
        notes.append(
            f"{vendor}: a device {device.device} is on the bus at {device.address}, and no driver has taken it"
            + (f"; {_TOOL[vendor]} comes with the driver" if vendor in _TOOL else "")
        )
    return Found(tuple(accelerators), tuple(notes))


def _is_worth(device: KernelDevice) -> bool:
    return device.kind == "npu" or (device.total_bytes or 0) >= _TOO_SMALL_BYTES


def _accelerator(device: KernelDevice, vendor: Vendor, name: str, index: int) -> Accelerator:
    is_shared = device.kind == "npu" or (device.vendor, device.device) in _SHARED_MEMORY
    total, used = (None, None) if is_shared else (device.total_bytes, device.used_bytes)
    return Accelerator(
        vendor=vendor,
        index=index,
        name=name or f"{vendor.upper()} {device.kind.upper()} {device.device}",
        memory_bytes=total,
        free_bytes=max(0, total - used) if total is not None and used is not None else None,
        is_unified=is_shared,
        facts={"pci": device.address, "driver": device.driver or "none", "kind": device.kind},
    )


def _read_class(root: Path, name: str, prefix: str, kind: str) -> Iterator[KernelDevice]:
    for entry in sorted((root / "class" / name).glob(f"{prefix}[0-9]*")):
        if re.fullmatch(rf"{prefix}\d+", entry.name) and (entry / "device").exists():
            yield _read_device(entry / "device", kind)


def _read_device(folder: Path, kind: str) -> KernelDevice:
    resolved = folder.resolve()
    driver = resolved / "driver"
    return KernelDevice(
        kind=kind,
        vendor=_read(resolved / "vendor"),
        device=_read(resolved / "device"),
        driver=driver.resolve().name if driver.exists() else "",
        address=resolved.name,
        total_bytes=as_bytes(_read(resolved / "mem_info_vram_total")) or as_bytes(_read(resolved / "lmem_total_bytes")),
        used_bytes=as_bytes(_read(resolved / "mem_info_vram_used")),
    )


def _without_driver(root: Path, seen: set[str]) -> Iterator[KernelDevice]:
    """Display controllers and processing accelerators on the bus that no driver has taken."""
    for folder in sorted((root / "bus/pci/devices").glob("*")):
        kind = _read(folder / "class")[:6]
        if kind not in ("0x0300", "0x0302", "0x1200") or folder.name in seen or (folder / "driver").exists():
            continue
        if _read(folder / "vendor") in _VENDORS:
            yield _read_device(folder, "npu" if kind == "0x1200" else "gpu")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()[:64]
    except OSError:
        return ""

"""NVIDIA Jetson computers whose GPU no ``nvidia-smi`` tells of: by the device tree and the release file of L4T."""

from __future__ import annotations

import re
from pathlib import Path

from undercroft.hardware.machine import Accelerator
from undercroft.hardware.readings import as_bytes, as_number, as_text
from undercroft.hardware.vendor_tools import Found

_ROOT = Path("/")
_RELEASE = re.compile(r"# R(\d+) \(release\), REVISION: ([\d.]+)")
_CAPABILITY = {"thor": "11.0", "orin": "8.7", "xavier": "7.2"}
_MEMORY = re.compile(r"\bRAM (\d+)/(\d+)MB")
_POWER = re.compile(r"\b(?:VDD_IN|VIN) (\d+)mW")
_HEAT = re.compile(r"\bgpu@(-?[\d.]+)C", re.IGNORECASE)


def detect(root: Path = _ROOT) -> Found:
    """The GPU of a Jetson; none on another machine."""
    model, release = _read(root / "proc/device-tree/model"), _read(root / "etc/nv_tegra_release")
    found = describe(model, release)
    return Found((found,)) if found else Found()


def describe(model: str, release: str) -> Accelerator | None:
    """A Jetson's GPU from the name of its board and ``/etc/nv_tegra_release``; None where the board is no Jetson."""
    name = as_text(model.replace("\x00", ""))
    if "jetson" not in name.lower():
        return None
    version = _RELEASE.search(release)
    capability = next((number for word, number in _CAPABILITY.items() if word in name.lower()), "")
    return Accelerator(
        vendor="nvidia",
        index=0,
        name=name,
        memory_bytes=None,
        is_unified=True,
        compute_capability=capability,
        driver_version=f"L4T {version[1]}.{version[2]}" if version else "",
    )


def parse_tegrastats(line: str) -> dict[str, float]:
    """What one line of ``tegrastats`` says now; what it does not say is not there. Never raises.

    Returns:
        ``used_bytes`` and ``total_bytes`` of the shared memory, ``power_watts`` of the module, ``gpu_celsius``.
    """
    values: dict[str, float | None] = {}
    if memory := _MEMORY.search(line):
        values["used_bytes"] = as_bytes(memory[1][:9], unit="MiB")
        values["total_bytes"] = as_bytes(memory[2][:9], unit="MiB")
    if power := _POWER.search(line):
        milliwatts = as_number(power[1][:9])
        values["power_watts"] = None if milliwatts is None else milliwatts / 1000
    if heat := _HEAT.search(line):
        values["gpu_celsius"] = as_number(heat[1][:9])
    return {name: value for name, value in values.items() if value is not None}


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""

"""Energy as meters of this machine count it: of its processors (RAPL) and its NVIDIA GPUs (NVML). Linux.

Where there is no meter, or none that may be read, there is no figure: nothing is estimated.

Source: https://docs.kernel.org/power/powercap/powercap.html for RAPL's files; NVML API reference for
``nvmlDeviceGetTotalEnergyConsumption`` (millijoules since the driver was loaded).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from undercroft.hardware.nvml import NvmlProblemError, read_energy

POWER_CAPS = Path("/sys/class/powercap")
# Packages of processors; their parts (core, uncore, memory) are counted in them or stand beside them.
_PACKAGE = re.compile(r"intel-rapl:\d+")
_GPUS = "GPUs (NVML)"
_PROCESSORS = "processor packages (RAPL)"


@dataclass(frozen=True, slots=True)
class Reading:
    """One meter at one time.

    Args:
        joules: Since some beginning.
        range_joules: Where it begins again at 0; None where it never does.
    """

    joules: float
    range_joules: float | None


class EnergyCounter:
    """Adds up what the meters count from its making on.

    It has to look before a meter begins again twice, which is every some minutes under full load.

    Args:
        read: Meter → its reading; empty where there is none.
    """

    def __init__(self, read: Callable[[], Mapping[str, Reading]]) -> None:
        self._read = read
        self._last = read()
        self._joules = 0.0

    @property
    def meters(self) -> str:
        """What is counted, in words; empty where nothing is."""
        kinds = {_GPUS if name.startswith("gpu") else _PROCESSORS for name in self._last}
        return " and ".join(sorted(kinds, reverse=True))

    def look(self) -> float | None:
        """Joules since its making; None where there is no meter that may be read."""
        now = self._read()
        for name, last in self._last.items():
            found = now.get(name)
            if found is not None:
                self._joules += _between(last, found)
        self._last = {name: now.get(name, last) for name, last in self._last.items()}
        return self._joules if self._last else None


def read_meters(power_caps: Path = POWER_CAPS) -> dict[str, Reading]:
    """Every meter that may be read: ``intel-rapl:0``, ``gpu-0``.

    Args:
        power_caps: Where the kernel shows them.
    """
    found: dict[str, Reading] = {}
    try:
        zones = sorted(zone for zone in power_caps.iterdir() if _PACKAGE.fullmatch(zone.name))
    except OSError:
        zones = []
    for zone in zones:
        try:
            used, most = (_microjoules(zone / name) for name in ("energy_uj", "max_energy_range_uj"))
        except (OSError, ValueError):
            continue  # most kernels show it to root only
        found[zone.name] = Reading(used / 1e6, most / 1e6)
    try:
        gpus = read_energy()
    except NvmlProblemError:
        gpus = {}
    return {**found, **{f"gpu-{index}": Reading(joules, None) for index, joules in gpus.items()}}


def _microjoules(path: Path) -> int:
    return int(path.read_text(encoding="ascii"))


def _between(last: Reading, now: Reading) -> float:
    if now.joules >= last.joules:
        return now.joules - last.joules
    return now.joules + (last.range_joules or 0.0) - last.joules if last.range_joules else 0.0

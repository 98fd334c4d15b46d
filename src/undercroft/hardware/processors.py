"""The CPU: its name, its instruction sets, and how much of it this process may use."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

from undercroft.hardware.control_groups import read_limits
from undercroft.hardware.machine import Processor
from undercroft.hardware.vendor_tools import run_tool

_CPUINFO = Path("/proc/cpuinfo")
_TOPOLOGY = Path("/sys/devices/system/cpu")

# What the kernel calls an instruction set → what we call it, where the two differ (ARM).
_RENAMED = {"asimd": "neon", "asimddp": "dotprod"}
_FEATURES = frozenset(
    (
        *("sse4_2", "avx", "avx2", "fma", "f16c", "avx_vnni"),
        *("avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16", "avx512_fp16"),
        *("amx_tile", "amx_int8", "amx_bf16"),
        *("neon", "dotprod", "i8mm", "bf16", "sve", "sve2", "sme"),
    )
)

# What macOS calls an instruction set → what we call it.
_SYSCTL_FEATURES = {
    "hw.optional.AdvSIMD": "neon",
    "hw.optional.arm.FEAT_DotProd": "dotprod",
    "hw.optional.arm.FEAT_I8MM": "i8mm",
    "hw.optional.arm.FEAT_BF16": "bf16",
    "hw.optional.arm.FEAT_SME": "sme",
    "hw.optional.avx2_0": "avx2",
    "hw.optional.avx512f": "avx512f",
}

# (implementer, part) → name, as `lscpu` knows them: an ARM kernel says the numbers only.
_ARM_CORES = {
    ("0x41", "0xd03"): "Cortex-A53",
    ("0x41", "0xd05"): "Cortex-A55",
    ("0x41", "0xd07"): "Cortex-A57",
    ("0x41", "0xd08"): "Cortex-A72",
    ("0x41", "0xd0b"): "Cortex-A76",
    ("0x41", "0xd0c"): "Neoverse-N1",
    ("0x41", "0xd40"): "Neoverse-V1",
    ("0x41", "0xd42"): "Cortex-A78AE",
    ("0x41", "0xd49"): "Neoverse-N2",
    ("0x41", "0xd4f"): "Neoverse-V2",
    ("0x41", "0xd83"): "Neoverse-V3AE",
    ("0x41", "0xd84"): "Neoverse-V3",
    ("0x4e", "0x004"): "NVIDIA Carmel",
    ("0x51", "0x001"): "Qualcomm Oryon",
    ("0xc0", "0xac3"): "Ampere-1",
}


@dataclass(frozen=True, slots=True)
class CpuInfo:
    """What ``/proc/cpuinfo`` says.

    Args:
        name: Empty where it says none.
        features: Those instruction sets that matter to us.
        sockets: Packages; 1 where it does not say.
    """

    name: str
    features: frozenset[str]
    sockets: int


def compute_threads() -> int:
    """Threads to compute with: physical cores that this process may use.

    Hyper-threads add nothing to matrix products; a container may have fewer than the machine.
    """
    quota = read_limits().processors
    return usable_cores(_physical_cores(), quota)


def usable_cores(cores: int, quota: float | None) -> int:
    """Whole cores under a quota, rounded up; at least one."""
    return max(1, cores if quota is None else min(cores, math.ceil(quota)))


def read_processor() -> Processor:
    """The CPU of this machine, as far as this process may use it."""
    info = parse_cpuinfo(_read(_CPUINFO)) if _CPUINFO.exists() else _of_sysctl()
    quota = read_limits().processors
    return Processor(
        name=info.name or platform.processor() or platform.machine() or "unknown",
        architecture=platform.machine(),
        physical_cores=usable_cores(_physical_cores(), quota),
        logical_cores=usable_cores(len(_allowed()), quota),
        features=info.features,
        sockets=info.sockets,
    )


def parse_cpuinfo(text: str) -> CpuInfo:
    """Name, instruction sets and sockets of ``/proc/cpuinfo``, x86 and ARM; what is missing is empty."""
    values: dict[str, set[str]] = {}
    for line in text.splitlines():
        key, separator, value = line.partition(":")
        if separator:
            values.setdefault(key.strip().lower(), set()).add(value.strip())
    words = {word for key in ("flags", "features") for text in values.get(key, ()) for word in text.lower().split()}
    return CpuInfo(
        name=_name(values),
        features=frozenset(_RENAMED.get(word, word) for word in words) & _FEATURES,
        sockets=max(1, len(values.get("physical id", ()))),
    )


def parse_sysctl(text: str) -> CpuInfo:
    """Name, instruction sets and sockets of ``sysctl machdep.cpu hw.optional hw.packages`` (macOS)."""
    values = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)
    found = {name for key, name in _SYSCTL_FEATURES.items() if values.get(key, "").strip() == "1"}
    sockets = values.get("hw.packages", "1").strip()
    return CpuInfo(
        name=" ".join(values.get("machdep.cpu.brand_string", "").split()),
        features=frozenset(found),
        sockets=max(1, int(sockets)) if sockets.isascii() and sockets.isdigit() and len(sockets) < 4 else 1,
    )


def _of_sysctl() -> CpuInfo:
    answer = run_tool(["sysctl", "machdep.cpu", "hw.optional", "hw.packages"])
    return parse_sysctl(answer.text)


def _name(values: dict[str, set[str]]) -> str:
    given = sorted(values.get("model name", ()))
    if given:
        return " ".join(given[0].split())
    implementers = values.get("cpu implementer", set())
    parts = sorted(values.get("cpu part", ()))
    known = {_ARM_CORES[(i, p)] for i in implementers for p in parts if (i, p) in _ARM_CORES}
    return " + ".join(sorted(known))


def count_cores(siblings: Iterable[str], logical: int) -> int:
    """Physical cores out of ``thread_siblings_list`` of each usable CPU; ``logical`` where nothing is known.

    Args:
        siblings: Texts such as ``0,32`` or ``4-5``: the same text for the hyper-threads of one core.
        logical: CPUs that may be used; count.
    """
    known = {text.strip() for text in siblings if text.strip()}
    return len(known) if known else max(1, logical)


def _physical_cores() -> int:
    allowed = _allowed()
    if not _TOPOLOGY.is_dir():
        return psutil.cpu_count(logical=False) or len(allowed)
    return count_cores((_read(_TOPOLOGY / f"cpu{n}/topology/thread_siblings_list") for n in allowed), len(allowed))


def usable_processors() -> int:
    """Logical processors that this process may use; count."""
    return len(_allowed())


def _allowed() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""

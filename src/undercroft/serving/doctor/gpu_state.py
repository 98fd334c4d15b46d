"""How the GPUs are now: who holds their memory, what slows them down, whether their memory fails."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import psutil

from undercroft.core.units import format_bytes
from undercroft.hardware.machine import Accelerator
from undercroft.serving.doctor.findings import Check, Verdict, fail, fine, warn
from undercroft.serving.doctor.scene import Scene

# A desktop's windows take some memory of its GPU; that is no mistake.
_FEW_BYTES = 512 * 1024**2
_NO_GPU = "no GPU"


def judge_holders(
    accelerators: Sequence[Accelerator], ours: Collection[int], names: Mapping[int, str]
) -> list[Verdict]:
    """Whether programs that are not ours hold much memory of a GPU.

    Args:
        accelerators: With their processes.
        ours: Process ids of our engines.
        names: Process id → name, as far as known.
    """
    verdicts = []
    for gpu in accelerators:
        others = {pid: size for pid, size in gpu.processes.items() if pid not in ours}
        if sum(others.values()) < _FEW_BYTES:
            continue
        listed = ", ".join(
            f"{pid} ({names.get(pid, 'name not known')}) {format_bytes(size)}"
            for pid, size in sorted(others.items(), key=lambda item: -item[1])[:4]
        )
        rest = f" and {len(others) - 4} more" if len(others) > 4 else ""
        verdicts.append(
            warn(
                f"GPU {gpu.index} is held by other processes: {listed}{rest}",
                f"ps -fp {_largest(others)}; kill {_largest(others)}",
            )
        )
    return verdicts or [fine("no other process holds memory of a GPU" if accelerators else _NO_GPU)]


def judge_throttling(accelerators: Sequence[Accelerator]) -> list[Verdict]:
    """Whether heat or a power limit lowers a GPU's clock now; a GPU that is idle or set by hand is not throttled."""
    verdicts = []
    for gpu in accelerators:
        reasons = [r for r in gpu.throttle_reasons if any(w in r.lower() for w in ("therm", "power", "slowdown"))]
        if not reasons:
            continue
        heat = f" at {gpu.temperature_celsius:.0f} °C" if gpu.temperature_celsius is not None else ""
        saw = f"GPU {gpu.index} lowers its clock{heat}: {', '.join(reasons)}"
        if all("sw power" in reason.lower() for reason in reasons):
            verdicts.append(
                warn(
                    saw,
                    f"nvidia-smi -i {gpu.index} -q -d POWER, then raise it: nvidia-smi -i {gpu.index} -pl WATTS",
                    why="It has reached its power limit. At full load that is usual; tokens/s end there.",
                )
            )
        else:
            verdicts.append(warn(saw, f"clean fans and filters; look at: nvidia-smi -i {gpu.index} -q -d TEMPERATURE"))
    return verdicts or [fine("no GPU is slowed down by heat or power" if accelerators else _NO_GPU)]


def judge_gpu_errors(accelerators: Sequence[Accelerator]) -> list[Verdict]:
    """Whether a GPU's memory has had errors that could not be corrected, or waits for a row to be remapped."""
    verdicts = []
    for gpu in accelerators:
        count, remapping = _number(gpu.facts.get("ecc uncorrected", "")), gpu.facts.get("row remapping", "")
        look = f"nvidia-smi -i {gpu.index} -q -d ECC,ROW_REMAPPER"
        if remapping == "failed":
            verdicts.append(
                fail(f"GPU {gpu.index}: a failing row of its memory cannot be replaced", f"{look}; have it exchanged")
            )
        elif count:
            saw = f"GPU {gpu.index}: {count} memory errors that could not be corrected"
            verdicts.append(fail(saw, f"{look}; restart the machine; where it happens again, have it exchanged"))
        elif remapping == "pending":
            verdicts.append(
                warn(f"GPU {gpu.index}: a row of its memory waits to be replaced", f"{look}; restart the machine")
            )
    return verdicts or [fine("no GPU tells of memory errors" if accelerators else _NO_GPU)]


def judge_persistence(accelerators: Sequence[Accelerator], variables: Mapping[str, str]) -> Verdict:
    """Whether the driver lets an NVIDIA GPU sleep whenever nobody uses it."""
    off = [gpu.index for gpu in accelerators if gpu.facts.get("persistence", "").lower() == "disabled"]
    if not off:
        return fine("no GPU has its persistence mode off" if accelerators else _NO_GPU)
    as_root = "" if variables.get("USER", "root") == "root" else "sudo "
    return warn(f"persistence mode is off: GPU {', '.join(map(str, off))}", f"{as_root}nvidia-smi -pm 1")


def _largest(processes: Mapping[int, int]) -> int:
    return max(processes, key=lambda pid: processes[pid])


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else 0


def _our_processes(status: dict[str, Any] | None) -> set[int]:
    pids = {r["pid"] for d in (status or {}).get("deployments", []) for r in d["replicas"] if r.get("pid")}
    for pid in tuple(pids):
        try:
            pids.update(child.pid for child in psutil.Process(pid).children(recursive=True))
        except psutil.Error:
            continue
    return pids


def _look_at_holders(scene: Scene) -> list[Verdict]:
    accelerators = scene.machine().accelerators
    held = {pid for gpu in accelerators for pid in gpu.processes}
    names = {pid: name for pid in held if (name := scene.read(f"proc/{pid}/comm").strip())}
    return judge_holders(accelerators, _our_processes(scene.status()) if held else (), names)


CHECKS = (
    Check(
        "GPU holders",
        "processes of others that hold GPU memory: pid, name, MiB",
        "Models that would fit do not, or run partly on the CPU.",
        _look_at_holders,
    ),
    Check(
        "GPU clock",
        "throttling by heat, by the power limit or by a failing power supply",
        "Tokens/s fall under load, with no error anywhere.",
        lambda scene: judge_throttling(scene.machine().accelerators),
    ),
    Check(
        "GPU memory errors",
        "uncorrected ECC errors; rows of memory that wait to be replaced, or could not be",
        "Weights change while they are used: wrong answers, then an engine that crashes.",
        lambda scene: judge_gpu_errors(scene.machine().accelerators),
    ),
    Check(
        "GPU persistence",
        "NVIDIA's persistence mode",
        "The driver starts anew with each first use: seconds more for each load, and settings are lost.",
        lambda scene: judge_persistence(scene.machine().accelerators, scene.variables),
    ),
)

"""The CPU: instruction sets, clock, heat, and how much of it a container may use."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from undercroft.core.units import format_duration
from undercroft.hardware.control_groups import read_limits
from undercroft.serving.doctor.findings import Check, Verdict, fine, warn
from undercroft.serving.doctor.scene import Scene

# Drivers whose "powersave" follows the load, as other drivers' "schedutil" does.
# Source: kernel documentation, admin-guide/pm/intel_pstate and amd-pstate, active mode.
_LIVELY_DRIVERS = ("intel_pstate", "amd-pstate-epp", "amd_pstate_epp")
_HOT_RATIO = 0.01
_CAPPED_RATIO = 0.9
_THROTTLED_RATIO = 0.05
_FEW_PERIODS = 1000


def judge_instructions(architecture: str, features: Collection[str]) -> Verdict:
    """Whether the CPU has the instructions that quantized models are computed with."""
    if architecture in ("x86_64", "AMD64"):
        missing = [f for f in ("avx", "avx2", "fma", "f16c") if f not in features]
        if missing:
            return warn(
                f"this CPU has no {', no '.join(name.upper() for name in missing)}",
                "in a virtual machine, pass the CPU through (QEMU: -cpu host); else use newer hardware",
            )
        best = [f for f in ("avx512_vnni", "avx_vnni", "amx_int8") if f in features]
        return fine(f"AVX2{''.join(f', {f.upper()}' for f in best)}")
    if architecture in ("aarch64", "arm64") and features and "dotprod" not in features:
        return warn(
            "this CPU has no dot product instructions (ARMv8.2 and later have)",
            "choose small models in Q4_0, or newer hardware (Raspberry Pi 5, any Apple M, Graviton 2)",
        )
    return fine(f"{architecture}: nothing that is needed is missing")


@dataclass(frozen=True, slots=True)
class Scaling:
    """How the clock of one CPU is chosen.

    Args:
        driver: ``intel_pstate``, ``acpi-cpufreq`` …
        governor: ``powersave``, ``schedutil`` …
        preference: ``power``, ``balance_performance`` …; empty where there is none.
        limit_khz: Highest clock allowed now; 0 is not known.
        most_khz: Highest clock of the hardware; 0 is not known.
    """

    driver: str
    governor: str
    preference: str
    limit_khz: int
    most_khz: int


def judge_clock(scalings: Sequence[Scaling]) -> Verdict:
    """Whether the clock is kept low on purpose."""
    mend = "cpupower frequency-set -g performance (or power-profiles: powerprofilesctl set performance)"
    for scaling in scalings:
        if scaling.governor == "powersave" and scaling.driver not in _LIVELY_DRIVERS:
            return warn(f"the governor is 'powersave' ({scaling.driver}): the lowest clock, always", mend)
        if scaling.preference == "power":
            return warn("the CPU prefers saving power over speed (energy_performance_preference is 'power')", mend)
        if 0 < scaling.limit_khz < _CAPPED_RATIO * scaling.most_khz:
            saw = f"the clock is capped at {scaling.limit_khz / 1e6:.1f} of {scaling.most_khz / 1e6:.1f} GHz"
            return warn(saw, f"cpupower frequency-set -u {scaling.most_khz}")
    return fine(f"governor {scalings[0].governor}" if scalings else "the clock is not ours to set here")


def judge_heat(throttled_seconds: Sequence[float], uptime_seconds: float) -> Verdict:
    """Whether heat has slowed the CPU down.

    Args:
        throttled_seconds: Since the start, per CPU that tells it.
        uptime_seconds: Since the start.
    """
    if not throttled_seconds or uptime_seconds <= 0:
        return fine("this CPU does not tell of throttling")
    worst = max(throttled_seconds)
    if worst > _HOT_RATIO * uptime_seconds:
        share = 100 * worst / uptime_seconds
        return warn(
            f"heat slowed a core down for {format_duration(worst)} since the start ({share:.0f} % of the time)",
            "clean fans and filters, give it air; watch: turbostat, sensors",
        )
    return fine("heat has not slowed it down")


def judge_quota(quota: float | None, threads: int, cores: int, periods: int, throttled: int) -> list[Verdict]:
    """Whether engines compute with more threads than they may use.

    Args:
        quota: Processors that the control group allows; None for no limit.
        threads: As set in engines.threads; 0 is chosen by us.
        cores: Physical cores that this process may use.
        periods: Scheduling periods that the control group has counted.
        throttled: Of them, those in which it had to stop and wait.
    """
    verdicts = []
    usable = cores if quota is None else min(float(cores), quota)
    if threads > max(1, -(-usable // 1)):
        saw = f"engines.threads is {threads}, and {usable:g} processors may be used"
        verdicts.append(warn(saw, "set engines.threads to 0: as many as may be used"))
    if quota is not None and quota < 1:
        verdicts.append(warn(f"this container may use {quota:g} of a processor", "podman run --cpus 2 … or more"))
    if periods >= _FEW_PERIODS and throttled > _THROTTLED_RATIO * periods:
        saw = f"the control group was stopped in {100 * throttled / periods:.0f} % of its periods"
        verdicts.append(warn(saw, "give it more processors: podman run --cpus N …, or fewer engines.threads"))
    allowed = "all processors may be used" if quota is None else f"{quota:g} processors may be used"
    return verdicts or [fine(f"{allowed}, {cores} physical cores")]


def parse_cpu_stat(text: str) -> tuple[int, int]:
    """Periods, and those that were throttled, out of a control group's ``cpu.stat``; 0 where it does not say."""
    values = dict(line.split(" ", 1) for line in text.splitlines() if line.count(" ") == 1)
    periods, throttled = values.get("nr_periods", "0"), values.get("nr_throttled", "0")
    return (int(periods), int(throttled)) if periods.isdigit() and throttled.isdigit() else (0, 0)


def observe_scalings(scene: Scene) -> list[Scaling]:
    """One for each CPU whose clock the kernel chooses."""
    found = []
    for path in scene.find("sys/devices/system/cpu/cpu[0-9]*/cpufreq"):
        folder = str(path.relative_to(scene.root))
        governor = scene.read(f"{folder}/scaling_governor").strip()
        if governor:
            found.append(
                Scaling(
                    driver=scene.read(f"{folder}/scaling_driver").strip(),
                    governor=governor,
                    preference=scene.read(f"{folder}/energy_performance_preference").strip(),
                    limit_khz=_whole(scene.read(f"{folder}/scaling_max_freq")),
                    most_khz=_whole(scene.read(f"{folder}/cpuinfo_max_freq")),
                )
            )
    return found


def observe_heat(scene: Scene) -> tuple[list[float], float]:
    """Seconds that each CPU was throttled, and the seconds since the start."""
    paths = scene.find("sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/*_throttle_total_time_ms")
    seconds = [_whole(scene.read(str(path.relative_to(scene.root)))) / 1000 for path in paths]
    first = scene.read("proc/uptime").split(" ")[0]
    return seconds, float(first) if first.replace(".", "", 1).isdigit() else 0.0


def _whole(text: str) -> int:
    stripped = text.strip()
    return int(stripped) if stripped.isascii() and stripped.isdigit() else 0


def _look_at_instructions(scene: Scene) -> Verdict:
    processor = scene.machine().processor
    return judge_instructions(processor.architecture, processor.features)


def _look_at_quota(scene: Scene) -> list[Verdict]:
    stats = (scene.read(f"sys/fs/cgroup/{name}") for name in ("cpu.stat", "cpu/cpu.stat", "cpu,cpuacct/cpu.stat"))
    periods, throttled = parse_cpu_stat(next((text for text in stats if "nr_periods" in text), ""))
    quota = read_limits(scene.root / "proc").processors
    cores = scene.machine().processor.physical_cores
    return judge_quota(quota, scene.settings.engines.threads, cores, periods, throttled)


CHECKS = (
    Check(
        "instruction sets",
        "AVX, AVX2, FMA, F16C on x86; dot products on ARM",
        "Models compute several times slower, or the engine ends with an illegal instruction.",
        _look_at_instructions,
    ),
    Check(
        "CPU clock",
        "the frequency governor, the energy preference, a capped clock",
        "The processor computes at a fraction of its speed, whatever the load.",
        lambda scene: judge_clock(observe_scalings(scene)),
    ),
    Check(
        "CPU heat",
        "time that cores were throttled by heat since the start",
        "Tokens/s fall after some minutes of load, with no error anywhere.",
        lambda scene: judge_heat(*observe_heat(scene)),
    ),
    Check(
        "CPU quota",
        "the control group's quota and how often it was reached, against `engines.threads`",
        "Threads stop in the middle of a matrix product and all others wait for them.",
        _look_at_quota,
    ),
)

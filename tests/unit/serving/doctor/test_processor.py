"""The CPU, on files as the kernel shows them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from undercroft.serving.doctor.processor import (
    judge_clock,
    judge_heat,
    judge_instructions,
    judge_quota,
    observe_heat,
    observe_scalings,
    parse_cpu_stat,
)
from undercroft.serving.doctor.scene import Scene

X86 = {"avx", "avx2", "fma", "f16c"}


@pytest.mark.parametrize(
    ("architecture", "features", "level", "saw"),
    [
        ("x86_64", X86 - {"avx2", "fma"}, "warning", "this CPU has no AVX2, no FMA"),
        ("x86_64", set(), "warning", "this CPU has no AVX, no AVX2, no FMA, no F16C"),
        ("x86_64", X86 | {"avx512_vnni"}, "ok", "AVX2, AVX512_VNNI"),
        ("aarch64", {"neon"}, "warning", "no dot product"),
        ("aarch64", {"neon", "dotprod"}, "ok", "nothing that is needed is missing"),
        ("riscv64", set(), "ok", "nothing that is needed is missing"),
    ],
)
def test_missing_instructions_are_named(architecture: str, features: set[str], level: str, saw: str) -> None:
    """AVX2 and its kin on x86, dot products on ARM; nothing is asked of others."""
    verdict = judge_instructions(architecture, features)
    assert (verdict.level, saw in verdict.saw) == (level, True)


def cpufreq(driver: str, governor: str, *, limit: int = 3700000, preference: str = "") -> dict[str, str]:
    folder = "sys/devices/system/cpu/cpu0/cpufreq"
    files = {
        f"{folder}/scaling_driver": f"{driver}\n",
        f"{folder}/scaling_governor": f"{governor}\n",
        f"{folder}/scaling_max_freq": f"{limit}\n",
        f"{folder}/cpuinfo_max_freq": "3700000\n",
    }
    return files | ({f"{folder}/energy_performance_preference": f"{preference}\n"} if preference else {})


@pytest.mark.parametrize(
    ("files", "saw"),
    [
        (cpufreq("acpi-cpufreq", "powersave"), "'powersave' (acpi-cpufreq)"),
        (cpufreq("intel_pstate", "powersave", preference="power"), "saving power over speed"),
        (cpufreq("acpi-cpufreq", "schedutil", limit=1200000), "capped at 1.2 of 3.7 GHz"),
    ],
)
def test_a_clock_that_is_kept_low_is_warned_of(
    made_scene: Callable[..., Scene], files: dict[str, str], saw: str
) -> None:
    """The lowest clock always, the wish to save power, a cap."""
    verdict = judge_clock(observe_scalings(made_scene(files)))
    assert (verdict.level, saw in verdict.saw) == ("warning", True)
    assert verdict.mend.startswith("cpupower frequency-set")


@pytest.mark.parametrize(
    "files",
    [
        cpufreq("intel_pstate", "powersave", preference="balance_performance"),
        cpufreq("amd-pstate-epp", "powersave", preference="performance"),
        cpufreq("acpi-cpufreq", "performance"),
        cpufreq("acpi-cpufreq", "schedutil", limit=3600000),
        {},
    ],
)
def test_a_clock_that_follows_the_load_is_silent(made_scene: Callable[..., Scene], files: dict[str, str]) -> None:
    """ "powersave" of intel_pstate follows the load; a virtual machine has no clock of its own."""
    assert judge_clock(observe_scalings(made_scene(files))).level == "ok"


@pytest.mark.parametrize(("milliseconds", "level"), [("40000", "warning"), ("900", "ok"), ("0", "ok")])
def test_heat_counts_from_one_percent_of_the_time(
    made_scene: Callable[..., Scene], milliseconds: str, level: str
) -> None:
    """Forty seconds of an hour are too much, one is not."""
    folder = "sys/devices/system/cpu/cpu1/thermal_throttle"
    files = {
        "proc/uptime": "3600.00 7000.12\n",
        f"{folder}/core_throttle_total_time_ms": f"{milliseconds}\n",
        f"{folder}/package_throttle_total_time_ms": "0\n",
        f"{folder}/core_throttle_count": "12\n",
    }
    assert judge_heat(*observe_heat(made_scene(files))).level == level


def test_a_cpu_that_does_not_tell_of_heat_is_silent(made_scene: Callable[..., Scene]) -> None:
    """AMD's, ARM's and virtual ones do not."""
    assert judge_heat(*observe_heat(made_scene({"proc/uptime": "3600.00 7000.12\n"}))).level == "ok"


@pytest.mark.parametrize(
    ("quota", "threads", "saw"),
    [
        (2.0, 8, "engines.threads is 8, and 2 processors may be used"),
        (None, 12, "engines.threads is 12, and 8 processors may be used"),
        (0.5, 0, "this container may use 0.5 of a processor"),
    ],
)
def test_more_threads_than_processors_are_warned_of(quota: float | None, threads: int, saw: str) -> None:
    """Under a quota, above the cores, and a container that may use next to nothing."""
    assert [(v.level, v.saw) for v in judge_quota(quota, threads, 8, 0, 0)] == [("warning", saw)]


@pytest.mark.parametrize(("quota", "threads"), [(None, 0), (None, 8), (2.0, 2), (1.5, 2), (4.0, 0)])
def test_threads_within_the_quota_are_silent(quota: float | None, threads: int) -> None:
    """Part of a processor counts as a whole one."""
    assert [v.level for v in judge_quota(quota, threads, 8, 100_000, 100)] == ["ok"]


def test_a_quota_that_is_reached_often_is_warned_of() -> None:
    """Counted by the control group; a few periods say nothing."""
    stat = "usage_usec 96122\nnr_periods 20000\nnr_throttled 6000\nthrottled_usec 822\n"
    (verdict,) = judge_quota(2.0, 0, 8, *parse_cpu_stat(stat))
    assert verdict.saw == "the control group was stopped in 30 % of its periods"
    assert judge_quota(2.0, 0, 8, 100, 90)[0].level == "ok"
    assert parse_cpu_stat("usage_usec 96122\n") == (0, 0)

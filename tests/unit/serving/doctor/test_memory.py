"""Main memory, on files as the kernel shows them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.unit.serving.doctor.conftest import GIB, MEMORY
from undercroft.hardware.machine import HostMemory
from undercroft.serving.doctor.findings import Check
from undercroft.serving.doctor.memory import (
    CHECKS,
    count_kills,
    judge_huge_pages,
    judge_kills,
    judge_memory,
    judge_memory_errors,
    judge_needs,
    judge_swap,
    parse_meminfo,
    parse_pressure,
    parse_swaps,
)
from undercroft.serving.doctor.needs import Need
from undercroft.serving.doctor.scene import Scene

HEADER = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"


def check(name: str) -> Check:
    return next(c for c in CHECKS if c.name == name)


def test_little_free_memory_is_warned_of() -> None:
    """Below 2 GiB hardly any model loads; a container's limit is said with the machine's size."""
    inside = HostMemory(1 * GIB, GIB // 2, 32 * GIB, GIB, 0)
    verdict = judge_memory(inside, 0.0)
    assert verdict.level == "warning"
    assert verdict.saw == "512.0 MiB free of 1.0 GiB; the control group allows no more, the machine has 32.0 GiB"
    assert judge_memory(MEMORY, 0.0).level == "ok"


def test_processes_that_wait_for_memory_are_warned_of() -> None:
    """From the kernel's pressure file: a tenth of the last minute."""
    text = "some avg10=40.00 avg60=22.51 avg300=3.10 total=42\nfull avg10=1.00 avg60=0.90 avg300=0.10 total=4\n"
    assert judge_memory(MEMORY, parse_pressure(text)).level == "warning"
    assert judge_memory(MEMORY, parse_pressure(text.replace("22.51", "0.00"))).level == "ok"
    assert parse_pressure("") == 0.0


@pytest.mark.parametrize(
    ("line", "swappiness", "saw"),
    [
        ("/dev/nvme0n1p3 partition\t8388604\t3145728\t-2\n", 60, "3.0 GiB of swap in use, swappiness 60"),
        ("/swapfile file 8388604 0 -2\n", 180, "swappiness is 180"),
        ("/dev/zram0 partition\t16777212\t12582912\t100\n", 180, "12.0 GiB lie compressed in memory (zram)"),
    ],
)
def test_swap_that_hurts(made_scene: Callable[..., Scene], line: str, swappiness: int, saw: str) -> None:
    """Gigabytes on a disk, a kernel that swaps early, weights that are compressed."""
    scene = made_scene({"proc/swaps": HEADER + line, "proc/sys/vm/swappiness": f"{swappiness}\n"})
    verdict = check("swap").look(scene)
    assert (verdict.level, saw in verdict.saw) == ("warning", True)  # type: ignore[union-attr]


@pytest.mark.parametrize("line", ["", "/swapfile file 8388604 1024 -2\n", "/dev/zram0 partition 8388604 1048576 100\n"])
def test_swap_that_does_not(line: str) -> None:
    """None, a little, or zram as a desktop uses it."""
    assert judge_swap(parse_swaps(HEADER + line), 60, 32 * GIB).level == "ok"


MEMINFO = """MemTotal:       32768000 kB
HugePages_Total:    4096
HugePages_Free:     4096
Hugepagesize:       2048 kB
"""


def test_huge_pages_that_hurt() -> None:
    """Reserved and unused, switched off, or made at any price."""
    idle = judge_huge_pages("madvise", "madvise", parse_meminfo(MEMINFO), 32 * GIB)
    assert [(v.saw, v.mend) for v in idle] == [
        ("8.0 GiB are reserved as huge pages that nobody uses", "sysctl vm.nr_hugepages=0")
    ]
    assert judge_huge_pages("never", "madvise", {}, GIB)[0].level == "warning"
    assert judge_huge_pages("always", "always", {}, GIB)[0].level == "warning"


def test_huge_pages_that_do_not(made_scene: Callable[..., Scene]) -> None:
    """The kernel's defaults, and a system that does not tell."""
    folder = "sys/kernel/mm/transparent_hugepage"
    files = {
        f"{folder}/enabled": "always [madvise] never\n",
        f"{folder}/defrag": "always defer defer+madvise [madvise] never\n",
        "proc/meminfo": MEMINFO.replace("4096", "0"),
    }
    found = check("huge pages").look(made_scene(files))
    assert [v.saw for v in found] == ["transparent huge pages: madvise"]  # type: ignore[union-attr]
    assert judge_huge_pages("", "", {}, GIB)[0].level == "ok"


def need(gib: float, **options: object) -> Need:
    return replace(Need("bot", "qwen", int(gib * GIB), "at least", 1, True), **options)  # type: ignore[arg-type]


def test_a_model_larger_than_the_container_is_a_problem() -> None:
    """It names the deployment, what it needs, and what there is."""
    inside = HostMemory(4 * GIB, 4 * GIB, 32 * GIB, 4 * GIB, 0)
    (verdict,) = judge_needs([need(5)], inside)
    assert (verdict.level, verdict.mend) == ("problem", "undercroft plan qwen")
    assert verdict.saw == "bot needs at least 5.0 GiB, this container has 4.0 GiB"


def test_models_that_do_not_fit_together_are_a_warning() -> None:
    """Replicas count; what is loaded on demand does not."""
    assert judge_needs([need(12, replicas=3)], MEMORY)[0].level == "warning"
    assert judge_needs([need(12), need(12, deployment="b"), need(12, deployment="c")], MEMORY)[0].level == "warning"
    assert judge_needs([need(20), need(20, is_always_loaded=False)], MEMORY)[0].level == "ok"
    assert judge_needs([], MEMORY)[0].level == "ok"


def test_kills_for_want_of_memory_are_counted_once() -> None:
    """The control group's kills are among the machine's; other counters of that name's beginning do not count."""
    vmstat = "nr_free_pages 120\noom_kill 3\noom_kill_other 9\n"
    events = "low 0\nhigh 0\nmax 12\noom 2\noom_kill 2\noom_group_kill 0\n"
    verdict = judge_kills(count_kills(vmstat, events))
    assert (verdict.level, verdict.saw) == ("warning", "memory ran out: 3 processes were killed since the start")
    assert judge_kills(count_kills("oom_kill 0\n", "")).level == "ok"
    assert judge_kills(count_kills("", "")).level == "ok"


@pytest.mark.parametrize(("counts", "level"), [(("0", "0"), "ok"), (("0", "7"), "warning"), (("1", "7"), "problem")])
def test_failing_memory_modules(made_scene: Callable[..., Scene], counts: tuple[str, str], level: str) -> None:
    """Errors that were corrected announce those that cannot be."""
    folder = "sys/devices/system/edac/mc/mc0"
    scene = made_scene({f"{folder}/ue_count": f"{counts[0]}\n", f"{folder}/ce_count": f"{counts[1]}\n"})
    assert check("memory errors").look(scene).level == level  # type: ignore[union-attr]


def test_memory_without_error_counters_is_silent() -> None:
    """Most desktops have none."""
    assert judge_memory_errors(0, 0).level == "ok"

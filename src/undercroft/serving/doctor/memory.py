"""Main memory: free, swapped, reserved, failing, and enough for what is deployed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from undercroft.core.units import format_bytes
from undercroft.hardware.machine import HostMemory
from undercroft.serving.doctor.findings import Check, Verdict, fail, fine, warn
from undercroft.serving.doctor.needs import Need, read_needs
from undercroft.serving.doctor.scene import Scene

_FEW_BYTES = 2 * 1024**3
_SWAPPED_BYTES = 256 * 1024**2
_EAGER_SWAPPINESS = 100
_PRESSED_PERCENT = 10.0


def judge_memory(memory: HostMemory, pressure_percent: float) -> Verdict:
    """Whether there is memory for a model now.

    Args:
        memory: After the limits of a control group.
        pressure_percent: Share of the last minute in which some process waited for memory.
    """
    text = f"{format_bytes(memory.available_bytes)} free of {format_bytes(memory.total_bytes)}"
    if memory.limit_bytes is not None:
        text += f"; the control group allows no more, the machine has {format_bytes(memory.machine_bytes)}"
    if memory.available_bytes < _FEW_BYTES:
        return warn(text, "stop other programs (ps aux --sort=-rss), or choose a smaller model or context")
    if pressure_percent > _PRESSED_PERCENT:
        text += f"; processes waited for memory {pressure_percent:.0f} % of the last minute"
        return warn(text, "undercroft status, then unload what is not needed: undercroft deployment stop NAME")
    return fine(text)


def parse_pressure(text: str) -> float:
    """The share of the last minute out of ``/proc/pressure/memory``; 0 where it is not told."""
    found = re.search(r"^some .*?avg60=(\d+\.\d+)", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


@dataclass(frozen=True, slots=True)
class SwapArea:
    """A line of ``/proc/swaps``.

    Args:
        name: ``/dev/zram0``, ``/swapfile``.
        used_bytes: In use now.
    """

    name: str
    used_bytes: int

    @property
    def is_compressed_memory(self) -> bool:
        return self.name.startswith("/dev/zram")


def parse_swaps(text: str) -> list[SwapArea]:
    """``/proc/swaps``: sizes stand there in KiB."""
    rows = [line.split() for line in text.splitlines()[1:]]
    return [SwapArea(row[0], int(row[3]) * 1024) for row in rows if len(row) >= 5 and row[3].isdigit()]


def judge_swap(areas: Sequence[SwapArea], swappiness: int, total_bytes: int) -> Verdict:
    """Whether models may lie on a disk instead of in memory.

    Args:
        areas: What there is to swap to.
        swappiness: 0 to 200; 60 where nobody changed it.
        total_bytes: Main memory.
    """
    on_disk = sum(area.used_bytes for area in areas if not area.is_compressed_memory)
    compressed = sum(area.used_bytes for area in areas if area.is_compressed_memory)
    text = f"{format_bytes(on_disk)} of swap in use, swappiness {swappiness}"
    if on_disk >= _SWAPPED_BYTES:
        return warn(text, "sysctl vm.swappiness=10; load less, then: swapoff -a && swapon -a")
    if compressed >= total_bytes // 4:
        return warn(
            f"{format_bytes(compressed)} lie compressed in memory (zram)",
            "load a smaller model or context; a new plan: undercroft plan MODEL",
            why="Weights hardly compress: the CPU packs and unpacks instead of computing.",
        )
    if any(not area.is_compressed_memory for area in areas) and swappiness > _EAGER_SWAPPINESS:
        return warn(f"swappiness is {swappiness}: memory goes to the disk early", "sysctl vm.swappiness=10")
    return fine(text if areas else "no swap")


def judge_huge_pages(enabled: str, defrag: str, meminfo: Mapping[str, int], total_bytes: int) -> list[Verdict]:
    """Whether huge pages are kept back from models, or make a load stall.

    Args:
        enabled: Chosen mode of transparent huge pages: ``always``, ``madvise``, ``never``; empty is not known.
        defrag: Chosen effort to make them.
        meminfo: ``/proc/meminfo``; sizes in bytes, ``HugePages_Free`` a count.
        total_bytes: Main memory.
    """
    verdicts = []
    idle_bytes = meminfo.get("HugePages_Free", 0) * meminfo.get("Hugepagesize", 0)
    if idle_bytes >= max(256 * 1024**2, total_bytes // 50):
        verdicts.append(
            warn(
                f"{format_bytes(idle_bytes)} are reserved as huge pages that nobody uses",
                "sysctl vm.nr_hugepages=0",
                why="That memory is taken from models, and no list of processes shows it.",
            )
        )
    if enabled == "never":
        verdicts.append(
            warn(
                "transparent huge pages are off",
                "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled",
                why="Gigabytes in pages of 4 KiB: some percent of the speed goes into looking addresses up.",
            )
        )
    if enabled == "always" and defrag == "always":
        verdicts.append(
            warn(
                "the kernel tidies memory up whenever a huge page is asked for (defrag is 'always')",
                "echo defer+madvise > /sys/kernel/mm/transparent_hugepage/defrag",
                why="Loads and first tokens stall while memory is moved about.",
            )
        )
    return verdicts or [fine(f"transparent huge pages: {enabled or 'not known here'}")]


def chosen(text: str) -> str:
    """The word in brackets: ``always [madvise] never`` is ``madvise``; empty where there is none."""
    found = re.search(r"\[([\w+-]+)\]", text)
    return found[1] if found else ""


def parse_meminfo(text: str) -> dict[str, int]:
    """``/proc/meminfo``: sizes in bytes, counts as they are."""
    values = {}
    for line in text.splitlines():
        found = re.fullmatch(r"([\w()]+):\s+(\d+)( kB)?", line.strip())
        if found:
            values[found[1]] = int(found[2]) * (1024 if found[3] else 1)
    return values


def judge_needs(needs: Sequence[Need], memory: HostMemory) -> list[Verdict]:
    """Whether what is deployed can fit at all.

    Args:
        needs: Of deployments that are wanted and compute in main memory.
        memory: After the limits of a control group.
    """
    most = memory.total_bytes
    verdicts = [
        fail(
            f"{need.deployment} needs {need.how} {format_bytes(need.one_bytes)}, "
            f"this {_place(memory)} has {format_bytes(most)}",
            f"undercroft plan {need.model}",
            why="It ends while it loads, or takes everything else with it.",
        )
        for need in needs
        if need.one_bytes > most
    ]
    wanted = sum(need.one_bytes * need.replicas for need in needs if need.is_always_loaded)
    if not verdicts and wanted > most:
        saw = f"all deployments together need {format_bytes(wanted)}, this {_place(memory)} has {format_bytes(most)}"
        verdicts.append(warn(saw, "undercroft deployment change NAME --load on-demand, or smaller models"))
    return verdicts or [fine(f"{format_bytes(wanted)} of {format_bytes(most)} are wanted by deployments")]


def _place(memory: HostMemory) -> str:
    return "container" if memory.limit_bytes is not None else "machine"


def judge_kills(kills: int) -> Verdict:
    """Whether the kernel had to end processes because memory ran out."""
    if kills:
        return warn(
            f"memory ran out: {kills} {'process was' if kills == 1 else 'processes were'} killed since the start",
            "dmesg | grep -i 'out of memory' says which; then: undercroft status",
        )
    return fine("memory never ran out since the start")


def judge_memory_errors(uncorrected: int, corrected: int) -> Verdict:
    """Whether memory modules fail.

    Args:
        uncorrected: Errors since the start that could not be corrected.
        corrected: Errors since the start that were.
    """
    mend = "edac-util -v (or ras-mc-ctl --errors) names the module: replace it"
    if uncorrected:
        return fail(f"{uncorrected} errors of main memory could not be corrected since the start", mend)
    if corrected:
        return warn(f"{corrected} errors of main memory were corrected since the start", mend)
    return fine("main memory tells of no errors")


def count_kills(vmstat: str, events: str) -> int:
    """Kills out of ``/proc/vmstat`` and a control group's ``memory.events``: the larger, since one holds the other."""
    found = re.findall(r"^oom_kill (\d+)$", f"{vmstat}\n{events}", re.MULTILINE)
    return max(map(int, found), default=0)


def _look_at_needs(scene: Scene) -> list[Verdict]:
    machine = scene.machine()
    return judge_needs(read_needs(scene.home, scene.settings.engines, machine), machine.memory)


def _look_at_swap(scene: Scene) -> Verdict:
    text = scene.read("proc/sys/vm/swappiness").strip()
    areas = parse_swaps(scene.read("proc/swaps"))
    return judge_swap(areas, int(text) if text.isdigit() else 60, scene.machine().memory.machine_bytes)


def _look_at_huge_pages(scene: Scene) -> list[Verdict]:
    folder = "sys/kernel/mm/transparent_hugepage"
    return judge_huge_pages(
        chosen(scene.read(f"{folder}/enabled")),
        chosen(scene.read(f"{folder}/defrag")),
        parse_meminfo(scene.read("proc/meminfo")),
        scene.machine().memory.machine_bytes,
    )


def _look_at_memory_errors(scene: Scene) -> Verdict:
    def total(name: str) -> int:
        texts = (
            scene.read(str(p.relative_to(scene.root))) for p in scene.find(f"sys/devices/system/edac/mc/mc*/{name}")
        )
        return sum(int(text) for text in texts if text.strip().isdigit())

    return judge_memory_errors(total("ue_count"), total("ce_count"))


CHECKS = (
    Check(
        "memory",
        "free memory, the control group's limit, how long processes wait for memory",
        "A model loads from disk again and again, or not at all.",
        lambda scene: judge_memory(scene.machine().memory, parse_pressure(scene.read("proc/pressure/memory"))),
    ),
    Check(
        "memory for models",
        "what the deployments need against what this machine or container may use",
        "The last model to load is killed, refused, or pushes out another one.",
        _look_at_needs,
    ),
    Check(
        "swap",
        "swap in use, swappiness, zram",
        "Each token waits for the disk: a hundred times slower, with no error anywhere.",
        _look_at_swap,
    ),
    Check(
        "huge pages",
        "transparent huge pages, reserved huge pages that nobody uses",
        "Memory is missing, or slower than it could be.",
        _look_at_huge_pages,
    ),
    Check(
        "out of memory",
        "processes that the kernel killed because memory ran out (`/proc/vmstat`, the control group's `memory.events`)",
        "It happens again with the next peak, and takes an engine with all its requests.",
        lambda scene: judge_kills(count_kills(scene.read("proc/vmstat"), scene.read("sys/fs/cgroup/memory.events"))),
    ),
    Check(
        "memory errors",
        "corrected and uncorrected errors of memory modules (EDAC)",
        "Weights and the database change in memory: wrong answers, damaged files.",
        _look_at_memory_errors,
    ),
)

"""Running the checks: none can end or hold up the others."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from undercroft.core.errors import UnavailableError
from undercroft.serving.doctor.examination import examine, wait_for_checks
from undercroft.serving.doctor.findings import Check, Finding, Verdict, fail, fine, warn
from undercroft.serving.doctor.scene import Scene
from undercroft.serving.doctor.table import CHECKS


def check(name: str, look: Callable[[Scene], Verdict]) -> Check:
    return Check(name, "something", "It hurts.", look)


def test_problems_come_first(made_scene: Callable[..., Scene]) -> None:
    """Then warnings, then what is fine, each in the order of the table; the reason is the check's or the verdict's."""
    checks = [
        check("a", lambda _: fine("good")),
        check("b", lambda _: warn("so so", "do b", why="For another reason.")),
        check("c", lambda _: fail("bad", "do c")),
        check("d", lambda _: warn("so so", "do d")),
    ]
    assert examine(made_scene(), checks) == [
        Finding("c", "problem", "bad", "It hurts.", "do c"),
        Finding("b", "warning", "so so", "For another reason.", "do b"),
        Finding("d", "warning", "so so", "It hurts.", "do d"),
        Finding("a", "ok", "good"),
    ]


def test_a_check_that_breaks_does_not_end_the_others(made_scene: Callable[..., Scene]) -> None:
    """A defect is a warning of its own; an error with a sentence and a hint is a problem with both."""

    def break_down(_: Scene) -> Verdict:
        raise ZeroDivisionError("by zero")

    def refuse(_: Scene) -> Verdict:
        raise UnavailableError("keeper-silent", "the keeper does not answer", hint="end it")

    checks = [check("a", break_down), check("b", refuse), check("c", lambda _: fine("good"))]
    by_name = {finding.name: finding for finding in examine(made_scene(), checks)}
    assert by_name["a"].saw == "could not be looked at: ZeroDivisionError: by zero"
    assert (by_name["b"].level, by_name["b"].mend) == ("problem", "end it")
    assert by_name["c"].level == "ok"


@pytest.fixture
def stuck() -> Iterator[threading.Event]:
    """Set at the end, so that threads that wait for it end with the test."""
    event = threading.Event()
    yield event
    event.set()


def test_a_check_that_hangs_is_given_up(made_scene: Callable[..., Scene], stuck: threading.Event) -> None:
    """Those that hang share one warning; the others are as ever."""

    def hang(_: Scene) -> Verdict:
        stuck.wait()
        return fine("at last")

    checks = [check("a", hang), check("b", lambda _: fine("good")), check("c", hang)]
    findings = examine(made_scene(patience_seconds=1.0), checks)
    assert [(f.name, f.saw) for f in findings] == [("unfinished", "not finished within 1 s: a, c"), ("b", "good")]


class Busy(threading.Condition):
    """Somebody ends a check in every wait, so many times; then nobody does."""

    def __init__(self, results: dict[str, object], ends: int) -> None:
        super().__init__()
        self.results, self.left = results, ends

    def wait(self, timeout: float | None = None) -> bool:
        if self.left:
            self.left -= 1
            self.results[str(self.left)] = None
            return True
        return False


@pytest.mark.parametrize(("ends", "wanted", "unused"), [(9, 9, 0), (9, 12, 0), (9, 5, 4)])
def test_checks_are_waited_for_while_any_ends(ends: int, wanted: int, unused: int) -> None:
    """Not one patience for all: a busy machine is slow with each of them, and none of them hangs."""
    results: dict[str, object] = {}
    busy = Busy(results, ends)
    wait_for_checks(busy, results, wanted, patience_seconds=60.0)
    assert (len(results), busy.left) == (min(ends, wanted), unused)


def test_the_machine_is_looked_at_once(made_scene: Callable[..., Scene]) -> None:
    """All checks share what costs much; a machine that was given is the one they see."""
    scene = made_scene()
    checks = [check(str(i), lambda s: fine(str(id(s.machine())))) for i in range(8)]
    assert len({finding.saw for finding in examine(scene, checks)}) == 1


def test_every_check_is_whole_and_has_a_name_of_its_own() -> None:
    """Names are unique; what is looked at and why it hurts are said, the reason as a sentence."""
    assert len({c.name for c in CHECKS}) == len(CHECKS)
    for c in CHECKS:
        assert c.looks_at, c.name
        assert c.why[0].isupper(), c.name
        assert c.why.endswith("."), c.name


def test_every_check_survives_an_empty_machine(made_scene: Callable[..., Scene]) -> None:
    """Where nothing can be read, no check breaks, and no home and no folder is made by looking."""
    scene = made_scene()
    findings = examine(scene, CHECKS)
    assert {finding.name for finding in findings} == {c.name for c in CHECKS}
    assert [f for f in findings if "could not be looked at" in f.saw] == []
    assert not scene.home.root.exists()


def test_every_check_survives_nonsense(made_scene: Callable[..., Scene]) -> None:
    """Files that hold something else than they should break no check."""
    noise = "\x00\xff [ nonsense 12 : -1 \n" * 5
    names = (
        *(
            "proc/swaps",
            "proc/meminfo",
            "proc/vmstat",
            "proc/uptime",
            "proc/net/tcp",
            "proc/self/limits",
            "proc/1/comm",
        ),
        *("proc/self/status", "proc/self/cgroup", "proc/self/mountinfo", "proc/driver/nvidia/version"),
        *("proc/pressure/memory", "proc/sys/vm/swappiness", "proc/sys/user/max_user_namespaces"),
        *("sys/kernel/mm/transparent_hugepage/enabled", "sys/fs/cgroup/cpu.stat", "sys/fs/cgroup/memory.events"),
        *("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "sys/devices/system/edac/mc/mc0/ue_count"),
        "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_total_time_ms",
        "sys/bus/pci/devices/0000:01:00.0/class",
        "dev/nvidiactl",
    )
    findings = examine(made_scene(dict.fromkeys(names, noise)), CHECKS)
    assert [f for f in findings if "could not be looked at" in f.saw] == []

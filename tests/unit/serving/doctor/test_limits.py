"""Limits, on ``/proc/PID/limits`` as the kernel writes it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.unit.serving.doctor.conftest import GIB
from undercroft.serving.doctor.limits import (
    CHECKS,
    judge_address_space,
    judge_locked_memory,
    judge_open_files,
    judge_processes,
    parse_limits,
)
from undercroft.serving.doctor.scene import Scene

TEXT = """Limit                     Soft Limit           Hard Limit           Units
Max cpu time              unlimited            unlimited            seconds
Max data size             unlimited            unlimited            bytes
Max processes             96365                96365                processes
Max open files            1024                 524288               files
Max locked memory         8388608              8388608              bytes
Max address space         unlimited            unlimited            bytes
"""


def limits(name: str, soft: str, hard: str) -> str:
    """The text with one line changed."""
    lines = [line for line in TEXT.splitlines() if not line.startswith(f"Max {name} ")]
    return "\n".join([*lines, f"Max {name:<22}{soft:<21}{hard:<21}units"]) + "\n"


def test_limits_are_read() -> None:
    """Numbers and "unlimited", names of several words."""
    found = parse_limits(TEXT)
    assert (found["open files"].soft, found["open files"].hard) == (1024, 524288)
    assert found["address space"].soft is None
    assert parse_limits("") == {}


def test_few_open_files_are_warned_of() -> None:
    """The hard limit counts, since the server raises the soft one; a door that runs has what it has."""
    assert judge_open_files(parse_limits(limits("open files", "1024", "1024")), [])[0].saw == "at most 1024 open files"
    assert judge_open_files(parse_limits(TEXT), [1024])[0].saw == "the door that runs may open 1024 files only"


@pytest.mark.parametrize("doors", [[], [65536, None]])
def test_enough_open_files_are_silent(doors: list[int | None]) -> None:
    """A low soft limit under a high hard one is the usual state of a shell."""
    assert [v.level for v in judge_open_files(parse_limits(TEXT), doors)] == ["ok"]


def test_few_processes_are_warned_of_but_not_to_root(made_scene: Callable[..., Scene]) -> None:
    """Root goes past that limit; who this process is stands in its status file."""
    few = limits("processes", "100", "100")
    check = next(c for c in CHECKS if c.name == "processes")
    for uid, level in (("1000", "warning"), ("0", "ok")):
        files = {"proc/self/limits": few, "proc/self/status": f"Name:\tpython\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\n"}
        assert check.look(made_scene(files)).level == level  # type: ignore[union-attr]
    assert judge_processes(parse_limits(TEXT), is_root=False).level == "ok"


def test_locked_memory_matters_to_several_gpus_only() -> None:
    """One GPU, or none, needs none."""
    low = parse_limits(TEXT)
    assert judge_locked_memory(low, 2).mend.startswith("ulimit -l unlimited")
    assert judge_locked_memory(low, 1).level == "ok"
    assert judge_locked_memory(parse_limits(limits("locked memory", "unlimited", "unlimited")), 8).level == "ok"


@pytest.mark.parametrize(("name", "flag"), [("address space", "-v"), ("data size", "-d")])
def test_a_limited_address_space_is_warned_of(name: str, flag: str) -> None:
    """A limit below main memory keeps a model out that would fit; one above it does not."""
    low = parse_limits(limits(name, str(4 * GIB), "unlimited"))
    verdict = judge_address_space(low, 32 * GIB)
    assert (verdict.level, verdict.mend) == ("warning", f"ulimit {flag} unlimited")
    assert judge_address_space(low, 2 * GIB).level == "ok"
    assert judge_address_space(parse_limits(TEXT), 32 * GIB).level == "ok"

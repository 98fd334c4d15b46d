from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest
from benchmarks import machine, product
from benchmarks.processes import MissingError, started, wait_until

EVERYWHERE = set().union(*machine.apart())


def test_a_program_that_ends_says_why(tmp_path: Path) -> None:
    """The last line of what it printed is in the message."""
    command = [sys.executable, "-c", "import sys; print('first', flush=True); sys.exit('the port is taken')"]
    with (
        pytest.raises(MissingError, match="ended with status 1: the port is taken"),
        started(command, is_ready=lambda: False, cores=EVERYWHERE),
    ):
        raise AssertionError("the block must not run")


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    """A program and its children are gone after the block, and run where they were told to."""
    core, mark = {max(EVERYWHERE)}, tmp_path / "mark"
    text = f"import subprocess; child = subprocess.Popen(['sleep', '600']); open({str(mark)!r}, 'w'); child.wait()"
    with started([sys.executable, "-c", text], is_ready=mark.exists, cores=core) as pid:
        pids = machine.tree(pid)
        assert len(pids) == 2
        assert os.sched_getaffinity(pids[1]) == core
    wait_until(lambda: all(_is_gone(one) for one in pids), "a child is left", seconds=10)


def _is_gone(pid: int) -> bool:
    return not os.path.exists(f"/proc/{pid}") or _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def test_waiting_ends() -> None:
    """What never becomes so is said with the time that was given."""
    with pytest.raises(MissingError, match=r"the engine is not ready after 0\.01 s"):
        wait_until(lambda: False, "the engine is not ready", seconds=0.01)


def test_cpu_time_and_memory_are_those_of_a_process() -> None:
    """Work is seen as CPU time; a process that is gone counts as nothing."""
    before = machine.cpu_seconds([os.getpid()])
    own = time.process_time()
    while time.process_time() - own < 0.05:
        pass
    assert machine.cpu_seconds([os.getpid()]) - before >= 0.04
    assert machine.memory_bytes(os.getpid()) > 5_000_000
    assert machine.cpu_seconds([2**22 - 1]) == 0.0
    assert machine.tree(2**22 - 1) == []


def test_settings_from_outside_do_not_reach_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A benchmark measures the defaults, whatever the shell that runs it has set."""
    monkeypatch.setenv("UNDERCROFT_LIMITS__QUEUE_REQUESTS", "1")
    variables = product.environment(tmp_path, 4711)
    own = {name: value for name, value in variables.items() if name.startswith("UNDERCROFT_")}
    assert own == {"UNDERCROFT_HOME": str(tmp_path), "UNDERCROFT_GATEWAY__PORT": "4711"}

"""Programs of others: no network, their own exit status, and never longer alive than we are."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.support.engines import wait_until

SEALED = [sys.executable, "-P", "-m", "undercroft.optimize.sealed_program", str(os.getpid())]


def _can_seal() -> bool:
    code = "from undercroft.engines.sealing import namespaces; namespaces.enter_empty_network()"
    return subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0


def test_it_has_no_network_and_its_words_and_status_come_through() -> None:
    """stdin, stdout, stderr and the exit status are the program's; its only interface is a loopback without bytes."""
    code = (
        "import sys, threading; threading.Thread(target=lambda: None).start()\n"
        "print(sys.stdin.read() + open('/proc/self/net/dev').read()); print('told', file=sys.stderr); sys.exit(7)"
    )
    done = subprocess.run([*SEALED, sys.executable, "-c", code], input="read ", capture_output=True, text=True)
    assert done.returncode == 7
    assert done.stdout.startswith("read ")
    assert "told" in done.stderr
    if _can_seal():
        assert [line.split(":")[0].strip() for line in done.stdout.splitlines()[2:] if ":" in line] == ["lo"]
    else:
        assert "not sealed from the network" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_it_ends_with_whoever_started_it(number: signal.Signals) -> None:
    """Killing the one that was started takes the program along."""
    process = subprocess.Popen([*SEALED, "/bin/sleep", "600"])
    wait_until(lambda: [p.name() for p in psutil.Process(process.pid).children()] == ["sleep"], what="it runs")
    (child,) = psutil.Process(process.pid).children()
    process.send_signal(number)
    process.wait(timeout=30)
    wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, what="it ended")


def test_it_ends_with_the_parent_of_whoever_started_it() -> None:
    """Killing the parent takes what it has started along, down to the program."""
    code = "import os, subprocess, sys; subprocess.run([*sys.argv[1:5], str(os.getpid()), '/bin/sleep', '600'])"
    parent = subprocess.Popen([sys.executable, "-c", code, *SEALED])
    wait_until(
        lambda: [p.name() for p in psutil.Process(parent.pid).children(recursive=True)][1:] == ["sleep"], what="it runs"
    )
    started = psutil.Process(parent.pid).children(recursive=True)
    parent.kill()
    parent.wait(timeout=30)
    wait_until(
        lambda: all(not one.is_running() or one.status() == psutil.STATUS_ZOMBIE for one in started), what="both ended"
    )


def test_one_whose_parent_has_ended_before_it_began_does_nothing(tmp_path: Path) -> None:
    """The kernel tells of ends that are to come, so one that came before is looked for."""
    gone = subprocess.Popen(["/bin/true"])
    gone.wait()
    done = subprocess.run([*SEALED[:-1], str(gone.pid), "/bin/touch", str(tmp_path / "made")], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "made").exists()


def test_a_signal_that_ends_it_is_passed_on() -> None:
    """Whoever waits sees that it crashed, and how."""
    code = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV); import ctypes; ctypes.string_at(0)"
    done = subprocess.run([*SEALED, sys.executable, "-c", code], check=False, capture_output=True)
    assert done.returncode == -signal.SIGSEGV


def test_a_program_that_is_not_there_is_told() -> None:
    """The status is the one that shells give."""
    done = subprocess.run([*SEALED, "/no/such/program"], check=False, capture_output=True, text=True)
    assert done.returncode == 127
    assert "/no/such/program" in done.stderr

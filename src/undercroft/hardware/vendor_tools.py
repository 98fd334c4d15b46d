"""Runs the tools of hardware vendors, which may be missing, forbidden, slow or broken."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from undercroft.core.environment import clean_environment
from undercroft.hardware.machine import Accelerator

_FOLDERS = ("/opt/rocm/bin", "/usr/lib/wsl/lib", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/bin", "/bin")
_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Found:
    """What a detector found.

    Args:
        accelerators: In the order of their driver.
        notes: What could not be looked at, and why; nothing where the vendor's hardware is simply not there.
    """

    accelerators: tuple[Accelerator, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ToolAnswer:
    """What a tool said.

    Args:
        is_there: Whether the tool is installed.
        text: Its output; empty where it failed.
        problem: Why it failed, one line; empty where it did not.
    """

    is_there: bool
    text: str = ""
    problem: str = ""


def run_tool(command: Sequence[str], *, timeout_seconds: float = _SECONDS) -> ToolAnswer:
    """Runs a tool in a clean environment and in plain English, and waits for it.

    Args:
        command: Name of the tool and its arguments; it is looked for in PATH and where vendors install to.
        timeout_seconds: After which it is killed: a driver that hangs must not hang us.
    """
    variables = clean_environment()
    program = shutil.which(command[0], path=":".join((variables.get("PATH", ""), *_FOLDERS)))
    if program is None:
        return ToolAnswer(is_there=False)
    try:
        process = subprocess.Popen(
            [program, *command[1:]],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            env={**variables, "LC_ALL": "C"},
            start_new_session=True,
        )
    except OSError as error:
        return ToolAnswer(True, problem=f"{command[0]} cannot be run: {error.strerror or error}")
    with process:
        try:
            output, complaint = process.communicate(timeout=timeout_seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # with its children, which may hold the pipes open
            return ToolAnswer(True, problem=f"{command[0]} did not answer within {timeout_seconds:.0f} s")
    text = output.decode("utf-8", errors="replace")
    if process.returncode != 0:
        lines = (text + "\n" + complaint.decode("utf-8", errors="replace")).strip().splitlines()
        last = lines[-1].strip()[:200] if lines else f"exit status {process.returncode}"
        return ToolAnswer(True, problem=f"{command[0]}: {last}")
    return ToolAnswer(True, text=text)

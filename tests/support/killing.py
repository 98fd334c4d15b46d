"""Programs of our own that are killed in the middle of what they do."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def begin(module: str, *arguments: str | Path, prefix: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    """A process that has imported everything and works now.

    Args:
        module: Says ``ready`` and then begins; it repeats what it does, so that it is always in the middle of it.
        arguments: Of the module.
        prefix: Words before the command.
    """
    process = subprocess.Popen(
        [*prefix, sys.executable, "-m", module, *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n", process.communicate()[1]
    return process


def kill_at_random(
    process: subprocess.Popen[str], chance: random.Random, *, most_seconds: float, least_seconds: float = 0.0
) -> None:
    """Ends a process the hard way at a random moment."""
    try:
        process.wait(chance.uniform(least_seconds, most_seconds))
    except subprocess.TimeoutExpired:
        process.kill()
    process.communicate()
    assert process.returncode == -9, "it ended by itself"

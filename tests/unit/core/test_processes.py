"""Processes that must not outlive who started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

_GONE = os.getpid()  # alive, but parent of no process whose shell started it


@pytest.mark.parametrize(
    "words",
    [
        ["undercroft.gateway.control"],
        ["undercroft.gateway.door", "--listen-fd", "0"],
        ["undercroft.recovery.scheduled"],
        ["undercroft.watch.probes.scheduled", "--probe", "five", "--run", "1"],
        ["undercroft.watch.promotion.trial", "--model", "support@2"],
    ],
    ids=["control", "door", "backup", "probe", "trial"],
)
def test_parent_that_ended_while_it_began(words: list[str], tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-m", *words, "--home", str(tmp_path), "--parent", str(_GONE)]
    ended = subprocess.run(["sh", "-c", '"$@"; echo $?', "sh", *command], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == [str(128 + signal.SIGKILL)], ended.stderr
    assert not list(tmp_path.iterdir())

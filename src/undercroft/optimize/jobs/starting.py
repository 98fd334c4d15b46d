"""Starts the process that does jobs. Imports nothing of what it does, so that commands stay quick."""

from __future__ import annotations

import subprocess
import sys

from undercroft.core.home import Home

_WORKER = "undercroft.optimize.jobs.worker"


def start_worker(home: Home) -> None:
    """Starts the process in a session of its own, so that it outlives whoever starts it.

    Args:
        home: Prepared.
    """
    command = [sys.executable, "-P", "-m", _WORKER, "--home", str(home.root)]
    with (home.logs / "jobs.log").open("ab", buffering=0) as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/"
        )
    process.returncode = 0  # it goes on without us; Popen must not complain that nobody waited for it

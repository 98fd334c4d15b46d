"""Starts the process that does jobs. Imports nothing of what it does, so that commands stay quick."""

from __future__ import annotations

import subprocess
import sys
import threading

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
    # It goes on without us. Where we go on longer than it, somebody has to take note of its end.
    threading.Thread(target=process.wait, name="job-worker", daemon=True).start()

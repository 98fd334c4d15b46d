"""What people order of a job that there is: cancel it, begin it again. Written down before anything is done."""

from __future__ import annotations

import signal
import time

from undercroft.core.errors import UnavailableError
from undercroft.core.home import Home
from undercroft.core.processes import ProcessIdentity
from undercroft.optimize.jobs import store
from undercroft.optimize.jobs.folders import JobFolder
from undercroft.optimize.jobs.starting import start_worker
from undercroft.optimize.jobs.store import Job
from undercroft.storage.database import Database

_PATIENCE_SECONDS = 10.0
_POLL_SECONDS = 0.05


def cancel(home: Home, database: Database, job: str, *, actor: str, reason: str | None = None) -> Job:
    """Ends a job for good, with its process, and removes what it had in hand. Its log stays.

    Raises:
        NotFoundError: There is none.
        ConflictError: It has ended already.
        UnavailableError: ``job-stays``: its process cannot be ended.
    """
    with database.write() as connection:
        before = store.cancel(connection, job, actor=actor, reason=reason)
    if before.process is not None:
        _end(before.id, before.process)
    JobFolder(home, before.id).clear()
    with database.read() as connection:
        if store.queued(connection):
            start_worker(home)
        return store.find(connection, before.id)


def resume(home: Home, database: Database, job: str, *, actor: str, reason: str | None = None) -> Job:
    """Puts a job that failed, was interrupted or cancelled back into the queue.

    Raises:
        NotFoundError: There is none.
        ConflictError: It runs, waits, is done, or its name was taken.
    """
    with database.write() as connection:
        found = store.resume(connection, job, actor=actor, reason=reason)
    JobFolder(home, found.id).reserve_early()
    start_worker(home)
    return found


def _end(job: str, process: ProcessIdentity) -> None:
    """Asks a process to end and, where it does not hear, ends it."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        process.send(number)
        process.send(signal.SIGCONT)  # one that was stopped hears nothing else
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while process.is_alive() and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        if not process.is_alive():
            return
    raise UnavailableError("job-stays", f"process {process.pid} of job {job} cannot be ended", hint="undercroft doctor")

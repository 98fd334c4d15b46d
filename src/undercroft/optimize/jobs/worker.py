"""The process that does a job: the one that waits longest, and then it starts another one for the next.

python -P -m undercroft.optimize.jobs.worker --home HOME

One of them works in a home at a time: it holds a lock, and whoever finds it held ends at once. The lock is let go
before the queue is looked at for the last time, so a job that is asked for at that moment is seen by one of the two.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from undercroft.core.clock import to_iso, utc_now
from undercroft.core.errors import ConflictError, UnavailableError, UndercroftError
from undercroft.core.home import Home
from undercroft.core.ids import NAME_PATTERN
from undercroft.core.processes import identify
from undercroft.optimize.jobs import store
from undercroft.optimize.jobs.folders import JobFolder
from undercroft.optimize.jobs.running import explained, run_job
from undercroft.optimize.jobs.starting import start_worker
from undercroft.optimize.jobs.states import State
from undercroft.optimize.jobs.store import Job
from undercroft.storage.database import Database

_NICENESS = 10  # what is served goes before


class _EndedError(BaseException):
    """Somebody asked this process to end. Not an `Exception`, so that no step takes it for its own."""


def work(home: Home) -> None:
    """Does the job that waits longest, where nobody works in this home; then starts a process for the next."""
    database = Database(home.database_file)
    try:
        with _alone(home) as is_alone:
            if is_alone:
                sweep(home, database)
                with database.write() as connection:
                    process = identify(os.getpid())
                    assert process is not None  # this process is alive
                    job = store.claim(connection, process)
                if job is not None and not _attempt(home, database, job):
                    return
        with database.read() as connection:
            has_more = is_alone and bool(store.queued(connection))
    finally:
        database.close()
    if has_more:
        start_worker(home)


def sweep(home: Home, database: Database) -> None:
    """Removes what jobs have in hand that have ended: their process was killed before it could."""
    for root in sorted(home.jobs.iterdir()):
        if not NAME_PATTERN.fullmatch(root.name) or not root.is_dir() or JobFolder(home, root.name).is_clear():
            continue
        with database.read() as connection:
            known = {job.id: job.stored for job in store.list_all(connection)}
        if known.get(root.name, State.DONE) in (State.DONE, State.CANCELLED):
            JobFolder(home, root.name).clear()


@contextlib.contextmanager
def _alone(home: Home) -> Iterator[bool]:
    """Whether this process is the one that works in the home, as long as the block lasts."""
    descriptor = os.open(home.jobs / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def _attempt(home: Home, database: Database, job: Job) -> bool:
    """Does a job and notes what came of it; whether this process may go on to the next."""
    folder = JobFolder(home, job.id)
    try:
        try:
            with explained(job.id, job.result):
                folder.prepare()
                _log_to(folder.log)
            _tell(f"attempt {job.attempts}: {job.kind} for model {job.result}, process {os.getpid()}")
            run_job(home, database, job, tell=_tell)
        except UndercroftError as error:
            _note_failure(database, folder, job, error)
        except Exception as error:  # noqa: BLE001  (the boundary of a job)
            traceback.print_exc()
            problem = UnavailableError(
                "job-crashed",
                f"job {job.id} ended by a fault of the program: {type(error).__name__}: {str(error)[:200]}",
                hint=f"its log says more: {folder.log}",
            )
            _note_failure(database, folder, job, problem)
        else:
            folder.clear()
    except _EndedError:
        _tell("asked to end")
        with database.read() as connection:
            if store.find(connection, job.id).stored is not State.CANCELLED:
                return False  # somebody stops this machine: the job is seen as interrupted, and can be resumed
        folder.clear()
    return True


def _note_failure(database: Database, folder: JobFolder, job: Job, error: UndercroftError) -> None:
    """Writes down why; steps that are whole stay for the next attempt."""
    folder.release_room()
    _tell(str(error))
    folder.clear_progress()
    try:
        with database.write() as connection:
            store.fail(connection, job, error)
    except ConflictError:
        folder.clear()  # cancelled meanwhile


def _log_to(log: Path) -> None:
    """Everything that this process says goes to the job's log, what libraries of C say, too."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
    finally:
        os.close(descriptor)


def _tell(line: str) -> None:
    with contextlib.suppress(OSError):  # a full disk is told by the step, not by the log
        print(f"{to_iso(utc_now())} {line}", flush=True)


def _end(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough: what follows is clearing up
    raise _EndedError


def main() -> None:
    """Reads the command line and works."""
    parser = argparse.ArgumentParser(prog="undercroft-job")
    parser.add_argument("--home", required=True)
    home = Home(Path(parser.parse_args().home))
    signal.signal(signal.SIGTERM, _end)
    os.nice(_NICENESS)
    try:
        work(home)
    except UndercroftError as error:
        sys.exit(str(error))
    except _EndedError:
        sys.exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    main()

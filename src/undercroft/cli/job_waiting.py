"""Waits for a job in the foreground, and says what came of it."""

from __future__ import annotations

import sys

import typer

from undercroft.cli.job_progress import follow
from undercroft.cli.job_text import duration
from undercroft.cli.lineage_text import proofs
from undercroft.cli.output import print_json, print_wrapped
from undercroft.core.errors import ConflictError, UnavailableError
from undercroft.core.home import Home
from undercroft.core.units import format_bytes
from undercroft.optimize.jobs import store
from undercroft.optimize.jobs.folders import JobFolder
from undercroft.optimize.jobs.states import State
from undercroft.optimize.jobs.store import Job
from undercroft.registry import entries
from undercroft.storage.database import Database


def say_begun(job: Job, *, as_json: bool) -> None:
    """Says that a job is in the queue, and how to look after it."""
    if as_json:
        print_json(job.to_dict())
        return
    typer.echo(f"Job {job.id} makes model {job.result}.\nFollow it: undercroft job follow {job.id}")


def wait(home: Home, database: Database, job: Job, *, as_json: bool) -> None:
    """Follows a job to its end. Ctrl-C ends the waiting and not the job.

    Raises:
        UndercroftError: What the job failed with.
        UnavailableError: ``job-interrupted``: its process is gone.
        ConflictError: ``job-cancelled``.
    """
    try:
        ended = follow(home, database, job.id, is_quiet=as_json)
    except KeyboardInterrupt:
        print(
            f"\nJob {job.id} goes on. Follow it: undercroft job follow {job.id}\n"
            f"End it: undercroft job cancel {job.id}",
            file=sys.stderr,
        )
        raise
    if ended.problem is not None:
        raise store.error_of(ended.problem)
    if ended.state is State.CANCELLED:
        raise ConflictError("job-cancelled", f"job {ended.id} was cancelled", hint=f"undercroft job resume {ended.id}")
    if ended.state is State.INTERRUPTED:
        raise UnavailableError(
            "job-interrupted",
            f"the process of job {ended.id} ended without a word; its log is {JobFolder(home, ended.id).log}",
            hint=f"undercroft job resume {ended.id}",
        )
    _say_done(database, ended, as_json=as_json)


def _say_done(database: Database, job: Job, *, as_json: bool) -> None:
    with database.read() as connection:
        made = entries.find(connection, job.result)
        parents = [entries.find(connection, parent.name) for parent in job.parents]
    if as_json:
        print_json({**job.to_dict(), "model": made.to_dict() if made is not None else None})
        return
    if made is None:  # removed since: the job was followed later
        typer.echo(f"Job {job.id} is done; its model {job.result} is not here any more.")
        return
    before = parents[0].size_bytes if parents and parents[0] is not None else 0
    share = f", {made.size_bytes / before:.0%} of {format_bytes(before)}".replace("%", " %") if before else ""
    took = f", in {duration(job)}" if duration(job) else ""
    print_wrapped(f"Model {made.name} is registered: {format_bytes(made.size_bytes)}{share}{took}.")
    for text in proofs(made.lineage):
        print_wrapped(f"  {text}", indent="    ")
    if job.note:
        print_wrapped(f"Note: {job.note}.")
    typer.echo(f"Look at it: undercroft model show {made.name}")

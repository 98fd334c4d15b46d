"""``undercroft job``: what makes models in the background, and what came of it."""

from __future__ import annotations

from typing import Annotated

import typer

from undercroft.cli.actor import current_actor
from undercroft.cli.job_progress import in_short, in_words
from undercroft.cli.job_text import how_far_json, job_rows, next_line
from undercroft.cli.job_waiting import say_begun, wait
from undercroft.cli.opening import open_database
from undercroft.cli.output import AsJson, Reason, harmless, print_json, print_table, print_wrapped
from undercroft.core.home import Home
from undercroft.optimize.jobs import orders, store
from undercroft.optimize.jobs.folders import HowFar, JobFolder, read_progress
from undercroft.optimize.jobs.starting import start_worker
from undercroft.optimize.jobs.states import State
from undercroft.optimize.jobs.store import Job

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)

Which = Annotated[str, typer.Argument(metavar="JOB", help="Its id; the beginning of it will do.")]
Detach = Annotated[bool, typer.Option("--detach", help="Do not wait for it.")]


@app.command("list")
def list_jobs(as_json: AsJson = False) -> None:
    """Show every job, the newest first: how it is and how far."""
    home, database = open_database()
    with database.read() as connection:
        found = store.list_all(connection)
    if as_json:
        print_json([{**job.to_dict(), "progress": how_far_json(_how_far(home, job))} for job in found])
        return
    print_table(
        ["=job", "=state", "kind", "makes", "from", "asked for (UTC)"],
        [
            [
                job.id,
                in_short(job.state, _how_far(home, job)),
                job.kind.replace("+", " + "),
                job.result,
                ", ".join(parent.name for parent in job.parents),
                job.created_at[:16].replace("T", " "),
            ]
            for job in found
        ],
        empty="There is no job. Try: undercroft optimize quantize MODEL --to Q4_K_M",
    )
    stopped = next((job for job in found if job.state is State.INTERRUPTED), None)
    if stopped is not None:
        typer.echo(f"The process of {stopped.id} is gone. Try: undercroft job resume {stopped.id}")


@app.command()
def show(job: Which, as_json: AsJson = False) -> None:
    """Show one job: what it was asked to do, how far it is, and why it failed."""
    home, database = open_database()
    with database.read() as connection:
        found = store.find(connection, job)
    how_far = _how_far(home, found)
    folder = JobFolder(home, found.id)
    if as_json:
        report = {"report": str(folder.report)} if folder.report.is_dir() else {}
        print_json({**found.to_dict(), "progress": how_far_json(how_far), "log": str(folder.log), **report})
        return
    for label, value in job_rows(found, in_words(found.state, how_far), folder):
        print_wrapped(f"{label:10} {harmless(value)}", indent=" " * 11)
    if how_far is not None and how_far.note:
        typer.echo(f"{'doing':10} {harmless(how_far.note)}")
    hint = (found.problem or {}).get("hint") or next_line(found)
    if hint:
        typer.echo(f"Try: {hint}")


@app.command()
def follow(job: Which, as_json: AsJson = False) -> None:
    """Watch a job until it ends; Ctrl-C stops watching, and the job goes on."""
    home, database = open_database()
    with database.read() as connection:
        found = store.find(connection, job)
    if found.state is State.QUEUED:
        start_worker(home)  # where the process before it was killed, nobody else would
    wait(home, database, found, as_json=as_json)


@app.command()
def cancel(job: Which, because: Reason = None, as_json: AsJson = False) -> None:
    """End a job for good and remove what it had in hand. Its log stays."""
    home, database = open_database()
    ended = orders.cancel(home, database, job, actor=current_actor(), reason=because)
    if as_json:
        print_json(ended.to_dict())
        return
    typer.echo(f"Job {ended.id} is cancelled; what it had in hand is removed.")


@app.command()
def resume(job: Which, detach: Detach = False, because: Reason = None, as_json: AsJson = False) -> None:
    """Go on with a job that failed, was interrupted or cancelled: with the step that was not finished."""
    home, database = open_database()
    begun = orders.resume(home, database, job, actor=current_actor(), reason=because)
    if detach:
        say_begun(begun, as_json=as_json)
        return
    wait(home, database, begun, as_json=as_json)


def _how_far(home: Home, job: Job) -> HowFar | None:
    return read_progress(JobFolder(home, job.id)) if job.state is State.RUNNING else None

"""What people read of jobs, and of recipes before they are done."""

from __future__ import annotations

from typing import Any

from undercroft.cli.lineage_text import Rows, step_texts
from undercroft.core.clock import from_iso
from undercroft.core.units import format_bytes, format_duration
from undercroft.optimize.jobs.folders import HowFar, JobFolder
from undercroft.optimize.jobs.room import Forecast
from undercroft.optimize.jobs.states import State
from undercroft.optimize.jobs.store import Job


def job_rows(job: Job, how_far: str, folder: JobFolder) -> Rows:
    """A job, a label and a value a row.

    Args:
        job: It.
        how_far: Its state and how far it is, in words.
        folder: Of the job.
    """
    rows = [
        ("job", job.id),
        ("state", how_far),
        ("makes", f"model {job.result}"),
        *(("reads", f"model {parent.name}, {parent.digest[:19]}…") for parent in job.parents),
        *(("step", text) for text in step_texts(job.recipe.get("steps", []))),
        ("asked for", f"{job.created_at} by {job.actor}" + (f": {job.reason}" if job.reason else "")),
    ]
    if job.started_at is not None:
        rows.append(("begun", job.started_at + (f", attempt {job.attempts}" if job.attempts > 1 else "")))
    if job.ended_at is not None:
        rows.append(("ended", job.ended_at + (f", after {took}" if (took := duration(job)) else "")))
    if job.note:
        rows.append(("note", job.note))
    if job.problem is not None:
        first, *more = f"{job.problem['code']}: {job.problem['message']}".splitlines()
        rows += [("problem", first), *(("", line) for line in more)]
    elif job.state is State.INTERRUPTED:
        rows.append(("problem", "its process ended without a word; what it had finished is kept"))
    if folder.card_page.exists():
        rows.append(("card", str(folder.card_page)))
    if folder.report.is_dir():
        rows.append(("report", str(folder.report)))
    return [*rows, ("log", str(folder.log))]


def duration(job: Job) -> str:
    """How long its last attempt took; empty where it has not ended."""
    if job.started_at is None or job.ended_at is None or job.ended_at < job.started_at:
        return ""
    return format_duration((from_iso(job.ended_at) - from_iso(job.started_at)).total_seconds())


def next_line(job: Job) -> str | None:
    """The command that comes next; None where there is none."""
    return {
        State.DONE: f"undercroft model show {job.result}",
        State.FAILED: f"undercroft job resume {job.id}",
        State.INTERRUPTED: f"undercroft job resume {job.id}",
        State.RUNNING: f"undercroft job follow {job.id}",
        State.QUEUED: f"undercroft job follow {job.id}",
    }.get(job.state)


def forecast_rows(forecast: Forecast, seconds: float | None, *, free_bytes: int, available_bytes: int) -> Rows:
    """What a recipe will take, beside what there is."""
    disk = f"{format_bytes(forecast.wanted_disk_bytes)} needed, {format_bytes(free_bytes)} free"
    memory = f"{format_bytes(forecast.memory_bytes)} needed, {format_bytes(available_bytes)} available"
    time = f"about {format_duration(seconds)}" if seconds is not None else "not known"
    return [("size", format_bytes(forecast.result_bytes)), ("disk", disk), ("memory", memory), ("time", time)]


def how_far_json(how_far: HowFar | None) -> dict[str, Any] | None:
    """How far a job is, as plain data."""
    if how_far is None:
        return None
    names = ("step", "steps", "done", "total", "unit", "note", "left_seconds")
    return {name: getattr(how_far, name) for name in names}

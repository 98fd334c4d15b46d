"""The rows of jobs. Every change and its journal entry are one transaction, guarded by the state before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from undercroft.core.clock import to_iso, utc_now
from undercroft.core.errors import (
    ConflictError,
    InvalidError,
    NotFoundError,
    RefusedError,
    UnavailableError,
    UndercroftError,
)
from undercroft.core.ids import new_id
from undercroft.core.processes import ProcessIdentity
from undercroft.optimize.jobs.states import ACTIVE, State, check_can_cancel, check_can_resume, seen
from undercroft.storage import journal
from undercroft.storage.tables import jobs, models

_KINDS: dict[str, type[UndercroftError]] = {
    kind.__name__: kind for kind in (InvalidError, RefusedError, NotFoundError, ConflictError, UnavailableError)
}


@dataclass(frozen=True, slots=True)
class Parent:
    """A model that a job reads.

    Args:
        name: When the job was asked for.
        digest: Of its files, then.
    """

    name: str
    digest: str

    def to_dict(self) -> dict[str, str]:
        """Plain data for JSON."""
        return {"name": self.name, "digest": self.digest}


@dataclass(frozen=True, slots=True)
class Job:
    """A job as its row says.

    Args:
        id: ``job_k3v9x0ap2m7q``.
        kind: What its steps do.
        recipe: `undercroft.optimize.recipes.Recipe` as plain data.
        parents: Models that it reads.
        result: The name that the new model gets.
        stored: Its state as it was written down; see `state`.
        step: Which of its steps is being done, from 0.
        attempts: How many times it was begun.
        process: What does it, or did; None where it was never begun.
        created_at: ISO 8601, UTC; so are the others.
        started_at: Of the last attempt; None where there was none.
        ended_at: None where it has not ended.
        actor: Who asked for it.
        reason: Why, in the actor's words.
        problem: Why it failed: ``kind``, ``code``, ``message``, ``hint``.
        note: What is to be known of the result; else empty.
    """

    id: str
    kind: str
    recipe: Mapping[str, Any]
    parents: tuple[Parent, ...]
    result: str
    stored: State
    step: int
    attempts: int
    process: ProcessIdentity | None
    created_at: str
    started_at: str | None
    ended_at: str | None
    actor: str
    reason: str | None
    problem: Mapping[str, Any] | None
    note: str

    @property
    def state(self) -> State:
        """How it really is: ``interrupted`` where its process is gone."""
        return seen(self.stored, has_process=self.process is not None and self.process.is_alive())

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "id": self.id,
            "kind": self.kind,
            "state": str(self.state),
            "parents": [parent.to_dict() for parent in self.parents],
            "result": self.result,
            "recipe": dict(self.recipe),
            "step": self.step,
            "attempts": self.attempts,
            "pid": self.process.pid if self.process is not None else None,
            "created_at": self.created_at,
            "started_at": self.started_at,
            "ended_at": self.ended_at,
            "actor": self.actor,
            "reason": self.reason,
            "problem": dict(self.problem) if self.problem is not None else None,
            "note": self.note,
        }


def error_of(problem: Mapping[str, Any]) -> UndercroftError:
    """The error that a job ended with, as it was raised in its process."""
    kind = _KINDS.get(problem["kind"], UnavailableError)
    return kind(problem["code"], problem["message"], hint=problem["hint"])


def problem_of(error: UndercroftError) -> dict[str, Any]:
    """What `error_of` reads."""
    kind = next((name for name, kind in _KINDS.items() if isinstance(error, kind)), UnavailableError.__name__)
    return {"kind": kind, "code": error.code, "message": error.message, "hint": error.hint}


def find(connection: Connection, job: str) -> Job:
    """One job.

    Args:
        connection: Of the database.
        job: Its id, or the beginning of it that no other has.

    Raises:
        NotFoundError: ``no-such-job``.
        InvalidError: ``which-job``: several begin so.
    """
    query = select(jobs).where(jobs.c.id.startswith(job, autoescape=True)).limit(2)
    rows = connection.execute(query).all() if job else []
    if not rows:
        raise NotFoundError("no-such-job", f"there is no job {job[:40]!r}", hint=_hint(connection, job))
    if len(rows) > 1 and job not in (row.id for row in rows):
        raise InvalidError("which-job", f"several jobs begin with {job[:40]!r}", hint="undercroft job list")
    return _read(next((row for row in rows if row.id == job), rows[0]))


def _hint(connection: Connection, name: str) -> str:
    """Which job it is that makes a model of that name, as a person may have meant."""
    query = select(jobs.c.id).where(jobs.c.result == name).order_by(jobs.c.created_at.desc(), jobs.c.id)
    made_by = connection.execute(query).scalars().first()
    return "undercroft job list" if made_by is None else f"job {made_by} makes the model of that name"


def list_all(connection: Connection) -> list[Job]:
    """Every job, the newest first."""
    return [_read(row) for row in connection.execute(select(jobs).order_by(jobs.c.created_at.desc(), jobs.c.id))]


def queued(connection: Connection) -> list[str]:
    """Ids of jobs that wait, the next one first."""
    query = select(jobs.c.id).where(jobs.c.state == State.QUEUED).order_by(jobs.c.queued_at, jobs.c.id)
    return list(connection.execute(query).scalars())


def check_name_free(connection: Connection, name: str, *, but: str | None = None) -> None:
    """Makes sure that a job may give a name, before any work.

    Args:
        connection: Of the database.
        name: Of the model that it would make.
        but: The job that asks, which may have it.

    Raises:
        ConflictError: ``model-exists`` or ``name-wanted``.
    """
    if connection.execute(select(models.c.name).where(models.c.name == name)).first() is not None:
        raise ConflictError(
            "model-exists", f"there is a model {name!r} already", hint="give another name with --name, or as to:"
        )
    query = select(jobs.c.id).where(jobs.c.result == name, jobs.c.state.in_(ACTIVE), jobs.c.id != (but or ""))
    other = connection.execute(query).scalars().first()
    if other is not None:
        raise ConflictError(
            "name-wanted", f"job {other} makes a model {name!r} already", hint=f"undercroft job show {other}"
        )


def add(
    connection: Connection,
    *,
    kind: str,
    recipe: Mapping[str, Any],
    parents: Sequence[Parent],
    result: str,
    actor: str,
    reason: str | None,
) -> Job:
    """Writes a job down, at the end of the queue.

    Raises:
        ConflictError: The name of the result is not free.
    """
    check_name_free(connection, result)
    now, job = to_iso(utc_now()), new_id("job")
    row: dict[str, Any] = {
        "id": job,
        "kind": kind,
        "recipe": dict(recipe),
        "parents": [parent.to_dict() for parent in parents],
        "result": result,
        "state": State.QUEUED,
        "step": 0,
        "attempts": 0,
        "created_at": now,
        "queued_at": now,
        "actor": actor,
        "reason": reason,
        "note": "",
    }
    connection.execute(insert(jobs).values(**row))
    after = {name: row[name] for name in ("kind", "recipe", "parents", "result")}
    journal.record(connection, actor=actor, action="job.create", subject=job, after=after, reason=reason)
    return find(connection, job)


def claim(connection: Connection, process: ProcessIdentity) -> Job | None:
    """Gives the job that waits longest to a process; None where none waits."""
    waiting = queued(connection)
    if not waiting:
        return None
    connection.execute(
        update(jobs)
        .where(jobs.c.id == waiting[0])
        .values(
            state=State.RUNNING,
            attempts=jobs.c.attempts + 1,
            pid=process.pid,
            pid_started=process.started,
            started_at=to_iso(utc_now()),
            ended_at=None,
            problem=None,
        )
    )
    return find(connection, waiting[0])


def begin_step(connection: Connection, job: Job, step: int) -> None:
    """Notes which step a process is at.

    Raises:
        ConflictError: ``job-taken``: it is this process's no more.
    """
    _change(connection, job, step=step)


def finish(connection: Connection, job: Job, *, note: str, after: Mapping[str, Any]) -> None:
    """Notes that a job's model has its name; in the transaction that gives it.

    Args:
        connection: Of the transaction.
        job: As it was claimed.
        note: What is to be known of the result.
        after: For the journal.

    Raises:
        ConflictError: ``job-taken``: it was cancelled meanwhile.
    """
    _change(connection, job, state=State.DONE, note=note, ended_at=to_iso(utc_now()))
    journal.record(connection, actor=job.actor, action="job.done", subject=job.id, after=dict(after), reason=job.reason)


def fail(connection: Connection, job: Job, error: UndercroftError) -> None:
    """Notes why a job could not be done.

    Raises:
        ConflictError: ``job-taken``: it was cancelled meanwhile.
    """
    problem = problem_of(error)
    _change(connection, job, state=State.FAILED, problem=problem, ended_at=to_iso(utc_now()))
    after = {"code": problem["code"], "message": problem["message"]}
    journal.record(connection, actor=job.actor, action="job.fail", subject=job.id, after=after)


def cancel(connection: Connection, job: str, *, actor: str, reason: str | None) -> Job:
    """Notes that a job is not wanted any more; its process is ended by the caller.

    Returns:
        The job as it was before.

    Raises:
        NotFoundError: ``no-such-job``.
        ConflictError: ``job-ended``.
    """
    found = find(connection, job)
    check_can_cancel(found.id, found.state)
    connection.execute(
        update(jobs).where(jobs.c.id == found.id).values(state=State.CANCELLED, ended_at=to_iso(utc_now()))
    )
    before = {"state": str(found.state), "result": found.result}
    journal.record(connection, actor=actor, action="job.cancel", subject=found.id, before=before, reason=reason)
    return found


def resume(connection: Connection, job: str, *, actor: str, reason: str | None) -> Job:
    """Puts a job that has ended without a result at the end of the queue.

    Raises:
        NotFoundError: ``no-such-job``.
        ConflictError: ``job-not-resumable``, or the name of its result is not free any more.
    """
    found = find(connection, job)
    state = found.state
    check_can_resume(found.id, state)
    check_name_free(connection, found.result, but=found.id)
    values = {"state": State.QUEUED, "queued_at": to_iso(utc_now()), "ended_at": None, "problem": None}
    connection.execute(update(jobs).where(jobs.c.id == found.id).values(**values))
    before = {"state": str(state), "step": found.step, "attempts": found.attempts}
    journal.record(connection, actor=actor, action="job.resume", subject=found.id, before=before, reason=reason)
    return find(connection, found.id)


def _change(connection: Connection, job: Job, **values: Any) -> None:
    """Changes the row of a job that runs, as long as it is still that process's."""
    assert job.process is not None  # a job that runs was claimed
    mine = (jobs.c.id == job.id, jobs.c.state == State.RUNNING, jobs.c.pid == job.process.pid)
    changed = connection.execute(
        update(jobs).where(*mine, jobs.c.pid_started == job.process.started).values(**values)
    ).rowcount
    if changed != 1:
        raise ConflictError("job-taken", f"job {job.id} was cancelled or begun again while it ran")


def _read(row: Row[Any]) -> Job:
    has_process = row.pid is not None and row.pid_started is not None
    return Job(
        id=row.id,
        kind=row.kind,
        recipe=row.recipe,
        parents=tuple(Parent(**parent) for parent in row.parents),
        result=row.result,
        stored=State(row.state),
        step=row.step,
        attempts=row.attempts,
        process=ProcessIdentity(row.pid, row.pid_started) if has_process else None,
        created_at=row.created_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        actor=row.actor,
        reason=row.reason,
        problem=row.problem,
        note=row.note,
    )

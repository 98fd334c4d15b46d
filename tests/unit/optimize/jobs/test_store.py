"""The rows of jobs: asked for, claimed, ended, begun again; each change with its journal entry."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from sqlalchemy import Connection

from tests.support.ggufs import write_chat_model
from undercroft.core.errors import ConflictError, InvalidError, NotFoundError, UnavailableError
from undercroft.core.home import Home
from undercroft.core.processes import ProcessIdentity, identify
from undercroft.optimize.jobs import store
from undercroft.optimize.jobs.states import State
from undercroft.optimize.jobs.store import Job, Parent
from undercroft.registry import models
from undercroft.storage import journal
from undercroft.storage.database import Database

GONE = ProcessIdentity(2**22 + 1, 1.0)  # above the largest pid that Linux gives


def this_process() -> ProcessIdentity:
    found = identify(os.getpid())
    assert found is not None
    return found


def asked(connection: Connection, result: str = "small") -> Job:
    return store.add(
        connection,
        kind="quantize",
        recipe={"from": "tiny", "to": result},
        parents=[Parent("tiny", "sha256:" + "ab" * 32)],
        result=result,
        actor="cli:anna",
        reason="a trial",
    )


def claimed(connection: Connection, process: ProcessIdentity) -> Job:
    found = store.claim(connection, process)
    assert found is not None
    return found


def actions(connection: Connection) -> list[str]:
    return [entry.action for entry, _ in journal.entries(connection)]


def test_a_job_that_goes_well(database: Database) -> None:
    """Asked for, queued, claimed by a process, done; the journal has what was asked for and what came of it."""
    with database.write() as connection:
        made = asked(connection)
    assert (made.state, made.attempts, made.process) == (State.QUEUED, 0, None)
    with database.write() as connection:
        running = claimed(connection, this_process())
        assert store.claim(connection, this_process()) is None
    assert (running.id, running.state, running.attempts) == (made.id, State.RUNNING, 1)
    with database.write() as connection:
        store.begin_step(connection, running, 1)
        store.finish(connection, running, note="", after={"model": "small"})
    with database.read() as connection:
        done = store.find(connection, made.id)
        assert (done.state, done.step) == (State.DONE, 1)
        assert done.ended_at is not None
        assert actions(connection) == ["job.create", "job.done"]
        assert journal.find_damage(connection) is None


def test_a_process_that_is_gone_is_seen(database: Database) -> None:
    """A running job without its process is interrupted, may be resumed, and counts its attempts."""
    with database.write() as connection:
        asked(connection)
        gone = claimed(connection, GONE)
    assert (gone.stored, gone.state) == (State.RUNNING, State.INTERRUPTED)
    with database.write() as connection:
        again = store.resume(connection, gone.id, actor="cli:ben", reason=None)
        assert again.state is State.QUEUED
        assert claimed(connection, this_process()).attempts == 2
        assert actions(connection) == ["job.create", "job.resume"]


def test_a_failure_is_kept_as_it_was_raised(database: Database) -> None:
    """Kind, code, sentence and hint come back; a job that is begun again has no problem any more."""
    error = UnavailableError("disk-full", "no room", hint="make room")
    with database.write() as connection:
        asked(connection)
        store.fail(connection, claimed(connection, this_process()), error)
        (failed,) = store.list_all(connection)
        assert failed.state is State.FAILED
        assert failed.problem is not None
        back = store.error_of(failed.problem)
        assert (type(back), str(back)) == (UnavailableError, str(error))
        assert store.resume(connection, failed.id, actor="cli:anna", reason=None).problem is None


def test_what_was_cancelled_gets_no_name(database: Database) -> None:
    """A process that finishes after somebody cancelled its job cannot note it as done, nor as failed."""
    with database.write() as connection:
        asked(connection)
        running = claimed(connection, this_process())
        store.cancel(connection, running.id, actor="cli:ben", reason="not needed")
    with pytest.raises(ConflictError, match="job-taken"), database.write() as connection:
        store.finish(connection, running, note="", after={})
    with pytest.raises(ConflictError, match="job-taken"), database.write() as connection:
        store.fail(connection, running, UnavailableError("x", "x"))
    with database.read() as connection:
        assert store.find(connection, running.id).state is State.CANCELLED
        assert actions(connection) == ["job.create", "job.cancel"]


@pytest.mark.parametrize("how", ["done", "running", "queued"])
def test_what_cannot_be_resumed(database: Database, how: str) -> None:
    """A job that is done, runs or waits is not begun again."""
    with database.write() as connection:
        job = asked(connection)
        if how != "queued":
            job = claimed(connection, this_process())
        if how == "done":
            store.finish(connection, job, note="", after={})
        with pytest.raises(ConflictError, match=f"it is {how}"):
            store.resume(connection, job.id, actor="cli:anna", reason=None)


def test_what_cannot_be_cancelled(database: Database) -> None:
    """A job that is done, or cancelled already, is not cancelled."""
    with database.write() as connection:
        job = asked(connection)
        store.cancel(connection, job.id, actor="cli:anna", reason=None)
        with pytest.raises(ConflictError, match="it is cancelled"):
            store.cancel(connection, job.id, actor="cli:anna", reason=None)


def test_the_oldest_is_next_and_a_resumed_one_the_last(database: Database) -> None:
    """The queue is first come, first served."""
    with database.write() as connection:
        first, second = asked(connection, "one"), asked(connection, "two")
        store.cancel(connection, first.id, actor="cli:anna", reason=None)
        third = asked(connection, "three")
        store.resume(connection, first.id, actor="cli:anna", reason=None)
        connection.exec_driver_sql("UPDATE jobs SET queued_at = '2030' WHERE id = ?", (first.id,))
        connection.exec_driver_sql("UPDATE jobs SET queued_at = '2020' WHERE id = ?", (third.id,))
        assert store.queued(connection) == [third.id, second.id, first.id]


def test_a_name_is_promised_once(database: Database, home: Home, tmp_path: Path) -> None:
    """Neither a model's name nor one that another job will give is taken; that of a cancelled job is free again."""
    models.add_local(database, home, write_chat_model(tmp_path / "tiny.gguf"), actor="cli:anna")
    with database.write() as connection:
        with pytest.raises(ConflictError, match="model-exists: there is a model 'tiny' already"):
            asked(connection, "tiny")
        job = asked(connection, "small")
        with pytest.raises(ConflictError, match=f"name-wanted: job {job.id} makes a model 'small' already"):
            asked(connection, "small")
        store.cancel(connection, job.id, actor="cli:anna", reason=None)
        asked(connection, "small")
        with pytest.raises(ConflictError, match="name-wanted"):
            store.resume(connection, job.id, actor="cli:anna", reason=None)


def test_a_job_is_found_by_the_beginning_of_its_id(database: Database) -> None:
    """As long as no other begins so."""
    with database.write() as connection:
        first, _ = asked(connection, "one"), asked(connection, "two")
        assert store.find(connection, first.id[:-1]).id == first.id
        with pytest.raises(InvalidError, match="which-job"):
            store.find(connection, "job_")
        for unknown in ("job_x%", "", "job"[1:]):
            with pytest.raises(NotFoundError, match="no-such-job"):
                store.find(connection, unknown)
        with pytest.raises(NotFoundError) as met:
            store.find(connection, "one")
        assert met.value.hint == f"job {first.id} makes the model of that name"

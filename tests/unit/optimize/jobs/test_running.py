"""One job from beginning to end, in this process, on a tiny model: what it makes, and what it leaves where it fails."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from tests.support.ggufs import write_chat_model
from undercroft.core.errors import ConflictError, InvalidError, UnavailableError, UndercroftError
from undercroft.core.home import Home
from undercroft.core.processes import identify
from undercroft.optimize.jobs import asking, store
from undercroft.optimize.jobs.folders import JobFolder
from undercroft.optimize.jobs.running import explained, full_disk_blamed, run_job
from undercroft.optimize.jobs.states import State
from undercroft.optimize.jobs.store import Job, Parent
from undercroft.optimize.jobs.worker import sweep
from undercroft.optimize.recipes import make_recipe
from undercroft.optimize.steps import note_files
from undercroft.registry import models
from undercroft.storage import journal
from undercroft.storage.database import Database


@pytest.fixture
def source(database: Database, home: Home, tmp_path: Path) -> models.Model:
    """A registered model."""
    file = write_chat_model(tmp_path / "tiny.gguf", width=256, layers=1, licence="apache-2.0")
    return models.add_local(database, home, file, actor="cli:anna")


def claimed(database: Database, home: Home, to: str = "small", **settings: Any) -> Job:
    """A job of this process that quantizes the model."""
    step = {"quantize": {"scheme": "Q4_K_M", **settings}}
    prepared = asking.look_at(home, database, make_recipe({"from": "tiny", "to": to, "steps": [step]}))
    process = identify(os.getpid())
    assert process is not None
    with database.write() as connection:
        store.add(
            connection,
            kind="quantize",
            recipe=prepared.recipe.to_dict(),
            parents=[Parent(source.model.name, source.model.digest) for source in prepared.sources],
            result=to,
            actor="cli:anna",
            reason="a trial",
        )
        job = store.claim(connection, process)
    assert job is not None
    return job


def run(home: Home, database: Database, job: Job) -> list[str]:
    told: list[str] = []
    run_job(home, database, job, tell=told.append)
    return told


def names(connection: Connection) -> list[str]:
    return [model.name for model in models.list_models(connection)]


def test_a_model_with_its_lineage(database: Database, home: Home, source: models.Model) -> None:
    """It is registered as any file is, in the transaction that ends the job, and knows all that made it."""
    job = claimed(database, home)
    run(home, database, job)
    with database.read() as connection:
        made = models.get(connection, "small")
        assert store.find(connection, job.id).state is State.DONE
        added, done = [entry for entry, _ in journal.entries(connection)][-2:]
    assert (added.action, done.action, done.subject) == ("model.add", "job.done", job.id)
    assert done.after == {"model": "small", "digest": made.digest}
    assert (made.facts.quantization, made.facts.licence) == ("Q4_K_M", "apache-2.0")
    assert made.lineage["parents"] == [{"name": "tiny", "digest": source.digest}]
    assert made.lineage["recipe"] == job.recipe
    (step,) = made.lineage["steps"]
    assert step["kind"] == "quantize"
    assert step["settings"] == {"scheme": "Q4_K_M", "allow_requantize": False}
    assert sum(step["tensors"].values()) == 12
    assert made.lineage["seed"] == 0


def test_the_same_recipe_gives_the_same_digest(database: Database, home: Home, source: models.Model) -> None:
    """And the second job says which model has that content already."""
    for name in ("one", "two"):
        run(home, database, claimed(database, home, name))
    with database.read() as connection:
        one, two = models.get(connection, "one"), models.get(connection, "two")
        assert one.digest == two.digest
        assert [job.note for job in store.list_all(connection) if job.result == "two"] == [
            "its content is that of model one"
        ]


def test_a_finished_step_is_not_done_again(database: Database, home: Home, source: models.Model) -> None:
    """A job that was killed before its import goes on with what its step has made."""
    run(home, database, claimed(database, home, "first"))
    job = claimed(database, home)
    folder = JobFolder(home, job.id)
    folder.prepare()
    folder.step(0).mkdir()
    with database.read() as connection:
        file = models.model_file(home, connection, models.get(connection, "first"))
    shutil.copy(file, folder.step(0) / "model.gguf")
    note_files(folder.step(0))
    assert run(home, database, job) == ["checking and naming the result", "model small is registered"]


def test_a_step_that_was_half_named_is_done_again(database: Database, home: Home, source: models.Model) -> None:
    """A job that was killed while its result was moved into the registry makes it anew."""
    job = claimed(database, home)
    folder = JobFolder(home, job.id)
    folder.prepare()
    folder.step(0).mkdir()
    (folder.step(0) / "files.json").write_text('[".gguf"]', encoding="utf-8")
    assert run(home, database, job)[0] == "step 1 of 1: quantize"


def test_an_unfinished_step_is_begun_anew(database: Database, home: Home, source: models.Model) -> None:
    """What a killed process left half is removed first."""
    job = claimed(database, home)
    folder = JobFolder(home, job.id)
    folder.prepare()
    folder.unfinished_step(0).mkdir()
    (folder.unfinished_step(0) / "left").write_bytes(b"half")
    run(home, database, job)
    assert not list(folder.work.rglob("left"))


def test_what_is_cancelled_at_the_last_moment_gets_no_name(
    database: Database, home: Home, source: models.Model
) -> None:
    """The transaction that would give the name finds the job cancelled, and is undone."""
    job = claimed(database, home)

    def cancel_late(line: str) -> None:
        if line == "checking and naming the result":
            with database.write() as connection:
                store.cancel(connection, job.id, actor="cli:ben", reason=None)

    with pytest.raises(ConflictError, match="job-taken"):
        run_job(home, database, job, tell=cancel_late)
    with database.read() as connection:
        assert names(connection) == ["tiny"]
        assert store.find(connection, job.id).state is State.CANCELLED


def test_another_content_of_the_parent_is_refused(
    database: Database, home: Home, source: models.Model, tmp_path: Path
) -> None:
    """A job reads what it was asked to read, or nothing."""
    job = claimed(database, home)
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE models SET digest = 'sha256:other' WHERE name = 'tiny'")
    with pytest.raises(ConflictError, match="parent-changed"):
        run(home, database, job)


def test_other_texts_are_refused(database: Database, home: Home, source: models.Model, tmp_path: Path) -> None:
    """Texts that were changed while the job waited would make another model."""
    texts = tmp_path / "texts.txt"
    texts.write_text("what it is for", encoding="utf-8")
    job = claimed(database, home, importance={"texts": texts})
    texts.write_text("something else", encoding="utf-8")
    with pytest.raises(ConflictError, match="texts-changed"):
        run(home, database, job)


def test_a_model_that_a_job_reads_is_not_removed(database: Database, home: Home, source: models.Model) -> None:
    """Until the job has ended."""
    job = claimed(database, home)
    with pytest.raises(ConflictError, match=f"job {job.id} reads it"):
        models.remove(database, "tiny", actor="cli:anna")
    run(home, database, job)
    models.remove(database, "tiny", actor="cli:anna")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OSError(28, "No space left on device"), "disk-full"),
        (OSError(27, "File too large"), "disk-full"),
        (OSError(13, "Permission denied", "/x"), "file-unusable"),
        (MemoryError(), "out-of-memory"),
    ],
)
def test_what_the_system_refuses_is_explained(error: Exception, code: str) -> None:
    """With the command that goes on afterwards."""
    with pytest.raises(UndercroftError) as caught, explained("job_1", "small"):
        raise error
    assert caught.value.code == code
    assert str(caught.value.hint).endswith("undercroft job resume job_1")


def test_a_full_disk_says_what_is_missing_whoever_found_it_full() -> None:
    """The system's own error, or that of a writer which has found it and speaks of its file."""

    def refuse() -> None:
        try:
            raise OSError(28, "No space left on device")
        except OSError as error:
            raise UnavailableError("disk-full", "the disk became full while writing model.gguf") from error

    with pytest.raises(UnavailableError) as caught, explained("job_1", "small", lambda: "it needs 1.0 GiB more"):
        refuse()
    assert caught.value.message.endswith("'small' was made; nothing half of it was kept; it needs 1.0 GiB more")
    assert str(caught.value.hint).endswith("undercroft job resume job_1")
    before = UnavailableError("disk-full", "no room for model 'small'")
    with pytest.raises(UnavailableError) as caught, explained("job_1", "small", lambda: "it needs 1.0 GiB more"):
        raise before
    assert caught.value.message == before.message
    assert str(caught.value.hint).endswith("undercroft job resume job_1")


@pytest.mark.parametrize(
    "error",
    [
        UnavailableError("does-not-load", "'model' does not load: it ended"),
        InvalidError("bad-file", "the file ends before its last tensor"),
        ValueError("Expecting value: line 1 column 1"),
    ],
)
def test_what_fails_while_nothing_is_left_has_failed_for_that(error: Exception) -> None:
    """Engines and libraries tell a full disk in words of their own; with room left, those words stand."""
    with pytest.raises(UnavailableError) as told, explained("job_1", "small"), full_disk_blamed(lambda: 4096):
        raise error
    assert told.value.code == "disk-full"
    with pytest.raises(type(error)) as caught, full_disk_blamed(lambda: 1024**3):
        raise error
    assert caught.value is error


def test_leftovers_of_ended_jobs_are_swept(database: Database, home: Home, source: models.Model) -> None:
    """What a process that was killed after its job ended has left goes; what another attempt needs stays."""
    ended, failed = claimed(database, home, "one"), claimed(database, home, "two")
    with database.write() as connection:
        store.finish(connection, ended, note="", after={})
        store.fail(connection, failed, ConflictError("x", "x"))
    folders = [JobFolder(home, job.id) for job in (ended, failed)]
    for folder in (*folders, JobFolder(home, "job_unknown")):
        folder.prepare()
    sweep(home, database)
    assert [folder.work.exists() for folder in (*folders, JobFolder(home, "job_unknown"))] == [False, True, False]


def test_progress_of_an_ended_job_is_swept_too(database: Database, home: Home, source: models.Model) -> None:
    """A kill came after what it had in hand was removed, and before how far it was."""
    ended = claimed(database, home, "one")
    with database.write() as connection:
        store.finish(connection, ended, note="", after={})
    folder = JobFolder(home, ended.id)
    folder.root.mkdir()
    for name in ("progress.json", ".progress.json.1", "log.txt"):
        (folder.root / name).write_text("{}", encoding="utf-8")
    assert not folder.is_clear()
    sweep(home, database)
    assert [path.name for path in folder.root.iterdir()] == ["log.txt"]
    assert folder.is_clear()

"""Does one job, in its own process: every step, then the import that gives the new model its name."""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic import ValidationError

from undercroft.core.errors import ConflictError, UnavailableError, UndercroftError
from undercroft.core.files import sync_folder
from undercroft.core.home import Home
from undercroft.core.settings import load_settings
from undercroft.hardware.main_memory import read_memory
from undercroft.hardware.processors import usable_processors
from undercroft.optimize.cards.card import Card
from undercroft.optimize.cards.measuring import write_card
from undercroft.optimize.jobs import store
from undercroft.optimize.jobs.folders import JobFolder, ProgressWriter
from undercroft.optimize.jobs.naming import name_results
from undercroft.optimize.jobs.room import LEAST_FREE_BYTES, check_room, told_room
from undercroft.optimize.jobs.store import Job
from undercroft.optimize.judging import check_gate, judge
from undercroft.optimize.prepared import Prepared, PreparedStep
from undercroft.optimize.preparing import prepare
from undercroft.optimize.recipes import Recipe
from undercroft.optimize.sources import check_unchanged
from undercroft.optimize.steps import REPORT, Progress, Workspace, is_whole, note_files, result_of
from undercroft.storage.database import Database

# A quota of the disk, of the user, and a file system or a limit that holds no larger file.
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def run_job(home: Home, database: Database, job: Job, *, tell: Callable[[str], None]) -> None:
    """Makes the model of a job that this process has claimed, and gives it its name.

    What earlier attempts finished is not done again.

    Args:
        home: Of the job.
        database: Of the home.
        job: As it was claimed.
        tell: Gets a line for the log now and then.

    Raises:
        UndercroftError: It cannot be done; nothing has a name.
    """
    folder = JobFolder(home, job.id)
    with explained(job.id, job.result):
        folder.prepare()
        with database.read() as connection:
            prepared = prepare(home, connection, recipe_of(job))
        check_unchanged(prepared.sources, [(parent.name, parent.digest) for parent in job.parents], job=job.id)
    with explained(job.id, job.result, lambda: _told_room(home, folder, prepared)):
        folder.reserve_room()
        last = folder.step(len(prepared.steps) - 1)
        if last.exists() and not is_whole(last):
            _begin_again(folder, prepared)
        if not last.exists():
            ensure_room(home, prepared, kept_bytes=folder.kept_bytes())
        source = prepared.sources[0].path
        for number, step in enumerate(prepared.steps):
            if not folder.step(number).exists():
                with database.write() as connection:
                    store.begin_step(connection, job, number)
                tell(f"step {number + 1} of {len(prepared.steps)}: {step.kind}")
                _run_step(folder, prepared, number, step, source)
            source = _made(folder.step(number))
        card = None
        if prepared.evaluation is not None:
            with full_disk_blamed(lambda: shutil.disk_usage(folder.work).free):
                card = _judged(home, job, folder, prepared, source, tell)
        tell("checking and naming the result")
        name_results(home, database, job, prepared, card)
    tell(f"model {job.result} is registered")


def recipe_of(job: Job) -> Recipe:
    """The recipe that a job keeps.

    Raises:
        ConflictError: ``recipe-of-other-version``.
    """
    try:
        return Recipe.from_dict(job.recipe)
    except ValidationError as error:
        raise ConflictError(
            "recipe-of-other-version",
            f"the recipe of job {job.id} was written by another version of Undercroft, which knew other settings",
            hint="ask for it anew: undercroft optimize",
        ) from error


def ensure_room(home: Home, prepared: Prepared, *, kept_bytes: int = 0) -> None:
    """Looks whether disk and memory have room now.

    Args:
        home: That is written to.
        prepared: What takes room.
        kept_bytes: Of that, those that an earlier attempt has left.

    Raises:
        UnavailableError: ``disk-full`` or ``not-enough-memory``.
    """
    check_room(
        prepared.forecast,
        what=f"model {prepared.recipe.to!r}",
        where=str(home.jobs),
        free_bytes=shutil.disk_usage(home.jobs).free,
        available_bytes=read_memory().available_bytes,
        kept_bytes=kept_bytes,
    )


def _told_room(home: Home, folder: JobFolder, prepared: Prepared) -> str:
    return told_room(
        prepared.forecast,
        where=str(home.jobs),
        free_bytes=shutil.disk_usage(home.jobs).free,
        kept_bytes=folder.kept_bytes(),
    )


@contextmanager
def explained(job: str, result: str, told: Callable[[], str] = lambda: "") -> Iterator[None]:
    """A block in which what the operating system refuses becomes an error that says what to do.

    Args:
        job: The id of the job.
        result: The name of its model.
        told: Says how much room is missing, where that is known; asked for when the disk is full.

    Raises:
        UnavailableError: ``out-of-memory``, ``disk-full`` or ``file-unusable``.
    """
    again = f"undercroft job resume {job}"
    try:
        yield
    except MemoryError as error:
        raise UnavailableError(
            "out-of-memory",
            f"the memory ran out while model {result!r} was made; nothing of it was kept",
            hint=f"free some, then: {again}",
        ) from error
    except UnavailableError as error:
        if error.code != "disk-full":
            raise
        if error.__cause__ is not None:  # a writer's own words of its file
            raise _disk_full(result, told(), again) from error
        raise UnavailableError(error.code, error.message, hint=_make_room(again)) from error
    except OSError as error:
        if error.errno in _FULL:
            raise _disk_full(result, told(), again) from error
        where = str(error.filename or "a file")
        raise UnavailableError(
            "file-unusable",
            f"cannot read or write {where[-200:]!r} for job {job}: {error.strerror or error}",
            hint=f"mend that, then: {again}",
        ) from error


@contextmanager
def full_disk_blamed(free_bytes: Callable[[], int]) -> Iterator[None]:
    """A block in which what fails while the disk has nothing left has failed for that: an engine that could not start,
    and a file that a library has cut short without a word, are told in other words.

    Args:
        free_bytes: Of the disk, now.

    Raises:
        OSError: The disk is full.
    """
    try:
        yield
    except (UndercroftError, ValueError) as error:
        if free_bytes() < LEAST_FREE_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
        raise


def _disk_full(result: str, room: str, again: str) -> UnavailableError:
    return UnavailableError(
        "disk-full",
        f"the disk became full while model {result!r} was made; nothing half of it was kept"
        + (f"; {room}" if room else ""),
        hint=_make_room(again),
    )


def _make_room(again: str) -> str:
    return f"make room (undercroft model gc), then: {again}"


def _run_step(folder: JobFolder, prepared: Prepared, number: int, step: PreparedStep, source: Path) -> None:
    """Runs a step in a folder that gets its name when it is whole."""
    unfinished = folder.unfinished_step(number)
    if unfinished.exists() and not step.is_continued:
        shutil.rmtree(unfinished)
    unfinished.mkdir(mode=0o700, exist_ok=True)
    writer = ProgressWriter(folder, number, len(prepared.steps), now_seconds=time.monotonic())

    def report(progress: Progress) -> None:
        writer.write(progress, time.monotonic())

    work = Workspace(source, unfinished, prepared.recipe.seed, usable_processors())
    try:
        with full_disk_blamed(lambda: shutil.disk_usage(unfinished).free):
            step.step.run(work, report)
        if result_of(unfinished) is None:
            raise UnavailableError(
                "no-result", f"step {number + 1}, {step.kind}, ended without a result", hint=f"look at {folder.log}"
            )
        _keep_report(folder, unfinished)
        note_files(unfinished)
        _make_durable(unfinished)
        unfinished.rename(folder.step(number))
    except BaseException:
        with suppress(OSError):  # what ended the step is said, and not that its report could not be copied
            _keep_report(folder, unfinished)
        if not step.is_continued:
            shutil.rmtree(unfinished, ignore_errors=True)
        raise
    sync_folder(folder.work)


def _begin_again(folder: JobFolder, prepared: Prepared) -> None:
    """The last step is done again: a kill came after its result was moved away. One that goes on keeps what it has."""
    number = len(prepared.steps) - 1
    if prepared.steps[number].is_continued:
        folder.step(number).rename(folder.unfinished_step(number))
    else:
        shutil.rmtree(folder.step(number))


def _keep_report(folder: JobFolder, step: Path) -> None:
    """Puts what a step leaves for people beside the log."""
    if (step / REPORT).is_dir():
        shutil.copytree(step / REPORT, folder.report, dirs_exist_ok=True)


def _made(step: Path) -> Path:
    """What a finished step has made."""
    made = result_of(step)
    assert made is not None  # without it the folder would not have its name
    return made


def _make_durable(folder: Path) -> None:
    """A step that is whole after a power loss, too."""
    for path in folder.rglob("*"):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    sync_folder(folder)


def _judged(
    home: Home, job: Job, folder: JobFolder, prepared: Prepared, made: Path, tell: Callable[[str], None]
) -> Card:
    """Measures the result, writes its card and holds it against the gate. What does not pass stays where it is."""
    assert prepared.evaluation is not None  # the caller has looked
    tell("measuring the result beside its parent")
    steps = len(prepared.steps)
    writer = ProgressWriter(folder, steps - 1, steps, now_seconds=time.monotonic())
    last = prepared.steps[-1]
    if last.card is not None:
        card = last.card(folder.step(steps - 1), job.result, usable_processors())
    else:
        card = judge(
            prepared.evaluation,
            made,
            job.result,
            threads=usable_processors(),
            settings=load_settings(home.config_file).settings.engines,
            report=lambda progress: writer.write(progress, time.monotonic()),
        )
    write_card(card, folder.card)
    check_gate(card, job=job.id, name=job.result, folder=folder.card)
    return card

"""Jobs that are killed at any moment, or whose disk becomes full: what a recipe gives undisturbed, what may be left.

``python -m tests.support.job_trials FOLDER KIND`` tries a kind on a full disk, which the folder alone is on.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.support.engines import wait_until
from tests.support.ggufs import write_chat_model
from tests.support.prunable import write_prunable
from undercroft.core.home import Home
from undercroft.core.processes import identify
from undercroft.optimize.jobs import asking, orders, store
from undercroft.optimize.jobs.folders import JobFolder
from undercroft.optimize.jobs.running import run_job
from undercroft.optimize.jobs.states import ENDED, State
from undercroft.optimize.jobs.store import Job
from undercroft.optimize.jobs.worker import sweep
from undercroft.optimize.recipes import Recipe, make_recipe
from undercroft.registry import models
from undercroft.registry.quarantine import clean_quarantine
from undercroft.storage import journal
from undercroft.storage.database import Database

_ANYTHING = {"kind": "regex", "pattern": "(?s).*"}


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be made.

    Args:
        file: Model to make it of.
        steps: Of the recipe.
        more: Of the recipe.
    """

    file: Path
    steps: list[dict[str, Any]]
    more: dict[str, Any] = field(default_factory=dict)


def quantization(folder: Path) -> Wish:
    """A scheme that takes its time."""
    file = write_chat_model(folder / "tiny.gguf", width=512, layers=2)
    return Wish(file, [{"quantize": {"scheme": "IQ4_XS"}}])


def pruning(folder: Path) -> Wish:
    """Blocks are tried in a process of its own, the file is written, both are timed; then it is rounded."""
    texts = folder / "texts.jsonl"
    said = [f"{number}. The cellar keeps what is yours, and the door has a lock." for number in range(6)]
    texts.write_text("\n".join(json.dumps({"text": text}) for text in said), encoding="utf-8")
    file = write_prunable(folder / "tiny.gguf", layers=3)
    return Wish(file, [{"prune": {"depth": 1, "texts": texts}}, {"quantize": {"scheme": "Q8_0"}}])


def search(folder: Path) -> Wish:
    """A candidate is made, asked in an engine, and timed."""
    tasks = folder / "tasks.jsonl"
    lines = [{"prompt": f"question {number}", "checks": [_ANYTHING], "max_tokens": 3} for number in range(12)]
    tasks.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    file = write_chat_model(folder / "tiny.gguf", width=256, layers=1)
    settings = {"max_quality_loss_percent": 25.0, "context_tokens": 128, "schemes": ["Q8_0"]}
    return Wish(file, [{"rightsize": settings}], {"evaluation": {"tasks": tasks}})


WISHES = {"quantize": quantization, "prune": pruning, "rightsize": search}


@dataclass(frozen=True, slots=True)
class Trial:
    """A recipe that is done twice: once in peace.

    Args:
        home: With the models that are read, and the environments.
        database: Of the home.
        source: Name of the model that is changed.
        steps: Of the recipe.
        more: Of the recipe.
    """

    home: Home
    database: Database
    source: str
    steps: list[dict[str, Any]]
    more: dict[str, Any] = field(default_factory=dict)
    _peace: list[tuple[str, float]] = field(default_factory=list, init=False)

    def recipe(self, to: str) -> Recipe:
        return make_recipe({"from": self.source, "to": to, "steps": self.steps, **self.more})

    def undisturbed(self) -> tuple[str, float]:
        """The digest that the recipe gives when nobody kills anything, and how long that takes here, seconds; once."""
        if self._peace:
            return self._peace[0]
        process = identify(os.getpid())
        assert process is not None
        recipe = asking.look_at(self.home, self.database, self.recipe("undisturbed")).recipe
        with self.database.write() as connection:
            store.add(
                connection,
                kind=recipe.kind,
                recipe=recipe.to_dict(),
                parents=[],
                result=recipe.to,
                actor="x",
                reason=None,
            )
            job = store.claim(connection, process)
        assert job is not None
        begin = time.monotonic()
        run_job(self.home, self.database, job, tell=lambda line: None)
        JobFolder(self.home, job.id).clear()
        with self.database.read() as connection:
            self._peace.append((models.get(connection, "undisturbed").digest, time.monotonic() - begin))
        return self._peace[0]

    def killed_and_resumed(self, kills: int, chance: random.Random, *, most_seconds: float) -> None:
        """Kills the job's process again and again, and looks after each kill and at the end at what there is.

        Args:
            kills: At most so many; count.
            chance: Says when.
            most_seconds: Longest time that an attempt is left alone, before it is killed.
        """
        wanted, _ = self.undisturbed()
        before = self._names()
        job = asking.begin(
            self.home,
            self.database,
            asking.look_at(self.home, self.database, self.recipe("troubled")),
            actor="cli:anna",
        ).id
        for _ in range(kills):
            self._kill_after(job, chance.uniform(0.0, most_seconds))
            if self.found(job).state is State.DONE:
                break
            assert self.found(job).state is State.INTERRUPTED
            assert self._names() == before
            with self.database.read() as connection:
                assert journal.find_damage(connection) is None
            orders.resume(self.home, self.database, job, actor="cli:anna")
        self._ends_as(job, wanted)

    def on_a_full_disk(self, disk: Path) -> None:
        """Fills the disk while the job is at work, looks at what is said and left, makes room and resumes it.

        Args:
            disk: A file on the disk of the home, that may fill it.
        """
        wanted, _ = self.undisturbed()
        before = self._names()
        prepared = asking.look_at(self.home, self.database, self.recipe("troubled"))
        job = asking.begin(self.home, self.database, prepared, actor="cli:anna").id
        folder = JobFolder(self.home, job)
        while not folder.unfinished_step(0).exists():
            time.sleep(0.005)
        process = self.found(job).process
        assert process is not None
        process.send(signal.SIGSTOP)
        _fill(disk)
        process.send(signal.SIGCONT)
        while self.found(job).state not in ENDED:
            time.sleep(0.05)
        failed = self.found(job)
        assert failed.state is State.FAILED
        assert failed.problem is not None
        assert failed.problem["code"] == "disk-full", failed.problem
        assert " are missing" in failed.problem["message"] or " was in its way" in failed.problem["message"]
        assert f"undercroft job resume {job}" in failed.problem["hint"]
        self._wait_until_gone(job, [])
        assert self._names() == before
        assert {path.name for path in folder.root.iterdir()} <= {"log.txt", "work", "report"}
        if not prepared.steps[0].is_continued:  # which keeps what it has measured or learnt
            assert [path for path in folder.work.rglob("*") if path.is_file()] == []
        disk.unlink()
        orders.resume(self.home, self.database, job, actor="cli:anna")
        self._ends_as(job, wanted)

    def _ends_as(self, job: str, wanted: str) -> None:
        """Waits for the end, which leaves the model, the log, and what is for people."""
        while self.found(job).state not in ENDED:
            time.sleep(0.05)
        assert self.found(job).state is State.DONE, self.found(job).problem
        self._wait_until_gone(job, [])
        with self.database.read() as connection:
            assert models.get(connection, "troubled").digest == wanted
            assert journal.find_damage(connection) is None
        sweep(self.home, self.database)  # as the next job begins, for one that was killed right after its end
        left = {path.name for path in JobFolder(self.home, job).root.iterdir()}
        assert left <= {"log.txt", "card", "report"}
        clean_quarantine(self.home)
        assert list(self.home.quarantine.iterdir()) == []

    def found(self, job: str) -> Job:
        with self.database.read() as connection:
            return store.find(connection, job)

    def _names(self) -> set[str]:
        with self.database.read() as connection:
            return {model.name for model in models.list_models(connection)}

    def _kill_after(self, job: str, seconds: float) -> None:
        """Kills the process of a job some time after it was begun, or finds that it has ended."""
        while self.found(job).state is State.QUEUED:
            time.sleep(0.01)
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.found(job).state is State.RUNNING:
            time.sleep(0.01)
        process = self.found(job).process
        assert process is not None
        try:
            children = psutil.Process(process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            children = []
        process.send(signal.SIGKILL)
        self._wait_until_gone(job, children)

    def _wait_until_gone(self, job: str, children: list[psutil.Process]) -> None:
        """The process of the job, those that it had started, and engines, which have another parent."""
        process = self.found(job).process
        while process is not None and process.is_alive():
            time.sleep(0.01)
        wait_until(lambda: not any(map(_runs, children)), what="what the job had started ended")
        temporary, sockets = Path(os.environ["TMPDIR"]), self.home.run.name  # which are the home's, and not a job's
        try:
            wait_until(
                lambda: {path.name for path in temporary.iterdir()} <= {sockets}, what="no temporary file is left"
            )
        except TimeoutError as error:
            raise AssertionError([str(path) for path in temporary.rglob("*")]) from error


def _fill(path: Path) -> None:
    """Writes until nothing more can be written."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(1024 * 1024))


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@contextmanager
def trial(folder: Path, kind: str) -> Iterator[Trial]:
    """A home with one model, and what to make of it."""
    home = Home(folder / "home")
    home.prepare()
    database = Database(home.database_file)
    wish = WISHES[kind](folder)
    models.add_local(database, home, wish.file, actor="cli:anna")
    try:
        yield Trial(home, database, wish.file.stem, wish.steps, wish.more)
    finally:
        database.close()


def main() -> None:
    """On one processor, so that there is a middle of the work."""
    folder, kind = Path(sys.argv[1]), sys.argv[2]
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with trial(folder, kind) as found:
        found.on_a_full_disk(folder / "fill")


if __name__ == "__main__":
    main()

"""Jobs that are killed at any moment, or whose disk becomes full: what a recipe gives undisturbed, what may be left.

``python -m tests.support.job_trials FOLDER KIND [ENVIRONMENT]`` tries a kind on a full disk, which the folder alone is
on; for one that is taught, with the folder of the environment ``train``, which lies elsewhere.
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

import undercroft
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
from undercroft.optimize.prepared import Prepared
from undercroft.optimize.recipes import Recipe, make_recipe
from undercroft.registry import models
from undercroft.registry.quarantine import clean_quarantine
from undercroft.registry.upkeep import gc
from undercroft.storage import journal
from undercroft.storage.database import Database

STARTER = Path(undercroft.__file__).parent / "starter" / "ticket-pilot.gguf"
QUESTIONS = 12
_PUPIL = {"rate": 5e-4, "epochs": 12, "answer_tokens": 96}
_RESULT = "made"
_ANYTHING = {"kind": "regex", "pattern": "(?s).*"}


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be made.

    Args:
        file: Model to make it of.
        steps: Of the recipe.
        more: Of the recipe.
        others: Models that it names beside that one.
    """

    file: Path
    steps: list[dict[str, Any]]
    more: dict[str, Any] = field(default_factory=dict)
    others: tuple[Path, ...] = ()


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


def adapter(folder: Path) -> Wish:
    """Conversations are read by an engine, learnt in torch, and what was learnt is held against torch."""
    data = folder / "chats.jsonl"
    lines = [[("user", f"question {n}"), ("assistant", f"answer {n}: {'abc' * (n % 7 + 1)}")] for n in range(40)]
    told = [{"messages": [{"role": role, "content": said} for role, said in line]} for line in lines]
    data.write_text("\n".join(map(json.dumps, told)), encoding="utf-8")
    settings = {"data": data, "rate": 3e-3, "epochs": 6, "batch_tokens": 64}
    return Wish(write_prunable(folder / "tiny.gguf"), [{"finetune": settings}])


def student(folder: Path) -> Wish:
    """A student learns what a teacher of the registry expects."""
    data = folder / "texts.jsonl"
    texts = [f"{'abcdefgh'[n % 8] * 3} and {n} birds sat on wire {n * n}, " * 3 for n in range(20)]
    data.write_text("\n".join(json.dumps({"text": text}) for text in texts), encoding="utf-8")
    teacher = write_prunable(folder / "other.gguf", kind="F32", seed=5)
    settings = {"teacher": "other", "data": data, "rate": 5e-4, "epochs": 20}
    return Wish(write_prunable(folder / "tiny.gguf", kind="F32"), [{"distill": settings}], others=(teacher,))


def pupil(folder: Path) -> Wish:
    """A student learns what a teacher of the registry answers: the starter, which answers to the point."""
    teacher = folder / "pilot.gguf"
    teacher.write_bytes(STARTER.read_bytes())
    settings = {"teacher": "pilot", "method": "answers", "data": questions(folder), **_PUPIL}
    return Wish(write_prunable(folder / "tiny.gguf", kind="F32"), [{"distill": settings}], others=(teacher,))


def pupil_of_served(folder: Path, url: str) -> Wish:
    """A student learns what a teacher answers that is served.

    Args:
        folder: For the files.
        url: Where it answers to ``shop:production``.
    """
    served = {"url": url, "model": "shop:production"}
    settings = {"served": served, "method": "answers", "data": questions(folder), **_PUPIL}
    return Wish(write_prunable(folder / "tiny.gguf", kind="F32"), [{"distill": settings}])


def questions(folder: Path) -> Path:
    """Twelve, that the starter answers in a few words."""
    path = folder / "questions.jsonl"
    asked = [{"prompt": f"My parcel {number} has not come yet, where is it?"} for number in range(QUESTIONS)]
    path.write_text("\n".join(map(json.dumps, asked)), encoding="utf-8")
    return path


WISHES = {"quantize": quantization, "prune": pruning, "rightsize": search}
TAUGHT = {"finetune": adapter, "logits": student, "answers": pupil}  # in the environment ``train``


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

    def recipe(self, to: str = _RESULT) -> Recipe:
        """Its result is always called the same: some say in their files what they are called."""
        return make_recipe({"from": self.source, "to": to, "steps": self.steps, **self.more})

    def undisturbed(self) -> tuple[str, float]:
        """The digest that the recipe gives when nobody kills anything, and how long that takes here, seconds; once."""
        if not self._peace:
            begin = time.monotonic()
            self.done_as(_RESULT)
            seconds = time.monotonic() - begin
            self._peace.append((self._taken_away(), seconds))
        return self._peace[0]

    def done_as(self, name: str) -> str:
        """Follows the recipe in this process; its result's name, which is given."""
        process = identify(os.getpid())
        assert process is not None
        recipe = asking.look_at(self.home, self.database, self.recipe(name)).recipe
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
        run_job(self.home, self.database, job, tell=lambda line: None)
        JobFolder(self.home, job.id).clear()
        return name

    def _taken_away(self) -> str:
        """The digest of the result, which is removed with its files, so that the next attempt has to store them."""
        removed = models.remove(self.database, _RESULT, actor="cli:anna")
        gc(self.database, self.home, actor="cli:anna")
        return removed.digest

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
            asking.look_at(self.home, self.database, self.recipe()),
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

    def on_a_full_disk(self, disk: Path, *, later: int = 0) -> None:
        """Fills the disk while the job is at work, looks at what is said and left, makes room and resumes it.

        Args:
            disk: A file on the disk of the home, that may fill it.
            later: So many times it becomes full again, at a moment by chance; the first time it is when work begins.
        """
        wanted, seconds = self.undisturbed()
        before = self._names()
        prepared = asking.look_at(self.home, self.database, self.recipe())
        job = asking.begin(self.home, self.database, prepared, actor="cli:anna").id
        for after_seconds in (0.0, *(random.uniform(0.0, seconds) for _ in range(later))):
            self._fill_after(job, disk, after_seconds)
            is_done = self.found(job).state is State.DONE
            if not is_done:
                self._failed_well(job, prepared, before)
            disk.unlink()
            if is_done:
                assert after_seconds > 0.0  # else nothing was tried
                break
            orders.resume(self.home, self.database, job, actor="cli:anna")
        self._ends_as(job, wanted)

    def _fill_after(self, job: str, disk: Path, seconds: float) -> None:
        """Fills the disk some time after the first step has begun, and waits until the job has ended."""
        folder = JobFolder(self.home, job)
        while not folder.unfinished_step(0).exists() and self.found(job).state not in ENDED:
            time.sleep(0.005)
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.found(job).state is State.RUNNING:
            time.sleep(0.01)
        process = self.found(job).process
        assert process is not None
        process.send(signal.SIGSTOP)
        _fill(disk)
        process.send(signal.SIGCONT)
        while self.found(job).state not in ENDED:
            time.sleep(0.05)

    def _failed_well(self, job: str, prepared: Prepared, before: set[str]) -> None:
        """It says what is missing and what to do, and has left what the next attempt may use only."""
        folder = JobFolder(self.home, job)
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
            whole = [folder.step(number) for number in range(len(prepared.steps))]
            left = [path for path in folder.work.rglob("*") if path.is_file()]
            assert [path for path in left if not set(whole) & {*path.parents}] == []

    def _ends_as(self, job: str, wanted: str) -> None:
        """Waits for the end, which leaves the model, the log, and what is for people."""
        while self.found(job).state not in ENDED:
            time.sleep(0.05)
        assert self.found(job).state is State.DONE, self.found(job).problem
        self._wait_until_gone(job, [])
        assert self._taken_away() == wanted
        with self.database.read() as connection:
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
def trial(folder: Path, wish: Wish, environment: Path | None = None) -> Iterator[Trial]:
    """A home with the models of a wish, and what to make of them.

    Args:
        folder: For the home.
        wish: What is made.
        environment: The installed ``train``, for what is taught.
    """
    home = Home(folder / "home")
    home.prepare()
    if environment is not None:
        home.environments.mkdir(exist_ok=True)
        (home.environments / environment.name).symlink_to(environment)
    database = Database(home.database_file)
    for file in (wish.file, *wish.others):
        models.add_local(database, home, file, actor="cli:anna")
    try:
        yield Trial(home, database, wish.file.stem, wish.steps, wish.more)
    finally:
        database.close()


def main() -> None:
    """On one processor, so that there is a middle of the work."""
    folder, kind = Path(sys.argv[1]), sys.argv[2]
    environment = Path(sys.argv[3]) if len(sys.argv) > 3 else None
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with trial(folder, {**WISHES, **TAUGHT}[kind](folder), environment) as found:
        found.on_a_full_disk(folder / "fill")


if __name__ == "__main__":
    main()

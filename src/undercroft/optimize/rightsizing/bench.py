"""Makes candidates, asks them, keeps what came: the part of a search that does, and decides nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from itertools import cycle
from pathlib import Path

from undercroft.checks.kinds import LengthCheck
from undercroft.checks.questions import Message
from undercroft.core.errors import ConflictError, InvalidError, RefusedError, UnavailableError
from undercroft.core.files import write_atomically
from undercroft.core.settings import EngineSettings
from undercroft.optimize.evaluation.evaluating import evaluate_tasks
from undercroft.optimize.evaluation.figures import Measure, figures_of
from undercroft.optimize.evaluation.reading import read_texts
from undercroft.optimize.evaluation.records import Run, Subject
from undercroft.optimize.evaluation.replica import Setup
from undercroft.optimize.evaluation.subjects import Found, find_file
from undercroft.optimize.evaluation.tasks import Task, TaskSet
from undercroft.optimize.measures.importance import collect_importance
from undercroft.optimize.measures.reading import Reading
from undercroft.optimize.quantization.importance import ImportanceMatrix, read_importance, write_importance
from undercroft.optimize.quantization.quantizing import quantize_file
from undercroft.optimize.quantization.schemes import SCHEMES
from undercroft.optimize.rightsizing.candidates import Candidate
from undercroft.optimize.rightsizing.keeping import Kept, Trial, joined, load, save
from undercroft.optimize.rightsizing.order import SearchOrder
from undercroft.optimize.rightsizing.threads import find_threads

PARENT = "_parent"  # as no variant can be called
_ANY_ANSWER = LengthCheck(kind="length")
_TRIED_PROMPTS, _TRIED_TOKENS, _TRIED_CHARACTERS = 8, 64, 2000

Say = Callable[[float, str], None]


class Bench:
    """Where the models of one search are made and measured.

    Args:
        order: The search.
        folder: What is made and measured lies there; a later run goes on with it.
        settings: Which engine.
        threads: Processors; count.
        say: Told the share of the tasks or texts that were done of what is being looked at, and what that is.
    """

    def __init__(self, order: SearchOrder, folder: Path, settings: EngineSettings, threads: int, say: Say) -> None:
        self._order, self._settings, self._threads, self._say = order, settings, threads, say
        self._measured, self._made = folder / "measured", folder / "made"
        self._matrix_folder = folder / "importance"
        self._threads_file = folder / "threads.json"
        self._matrices: dict[str, ImportanceMatrix] = {}
        self._candidates = {candidate.name: candidate for candidate, _ in order.candidates}
        for path in (self._measured, self._made, self._matrix_folder):
            path.mkdir(exist_ok=True)

    @property
    def asking(self) -> Setup:
        """How models are asked: with the threads that were the quickest when the search began."""
        if not self._threads_file.exists():
            return self._order.setup
        return replace(self._order.setup, threads=json.loads(self._threads_file.read_bytes())["threads"])

    def kept(self, name: str) -> Kept | None:
        """What is known of a model by now; None where nothing is."""
        return load(self._measured / f"{name}.json")

    def read_calibration(self) -> None:
        """Reads the texts that say what matters, where there are any and they were not read before.

        Raises:
            InvalidError: They are too short.
            UnavailableError: Memory is short.
        """
        self._importance("")

    def look_at_parent(self, upto: int) -> None:
        """Asks the parent on."""
        kept = self.kept(PARENT) or Kept(Run(self._order.parent.subject))
        order = self._order
        if order.tasks is not None:
            if not self._threads_file.exists():
                threads = find_threads(order.parent, order.tasks, order.setup, self._settings, self._told)
                write_atomically(self._threads_file, json.dumps({"threads": threads}).encode())
            kept = self._asked(PARENT, kept, self._order.parent, upto)
        self._save(PARENT, kept)

    def look(self, name: str, upto: int) -> None:
        """Asks a candidate on; where it cannot be made or run, that is kept in place of answers.

        Args:
            name: Of the candidate.
            upto: Tasks or texts that it will have been given; count.
        """
        try:
            found = self.make(name)
        except (InvalidError, RefusedError) as error:
            self._lose(name, error.message)
            return
        kept, order = self.kept(name) or Kept(Run(found.subject)), self._order
        try:
            # Texts come first: a candidate that has all answers is not looked at again.
            if order.texts is not None and (order.tasks is None or upto == order.count):
                kept = self._read(name, kept, found, upto if order.tasks is None else len(order.texts.texts))
            if order.tasks is not None:
                self._asked(name, kept, found, upto)
        except UnavailableError as error:
            if error.code != "does-not-load":
                raise
            self._lose(name, error.message)

    def try_out(self, name: str) -> None:
        """Sees how fast a model is here and what it takes, with as many users at once as it will have."""
        found = self._order.parent if name == PARENT else self.make(name)
        kept = self.kept(name)
        assert kept is not None  # it was looked at
        tasks = TaskSet("speed", "", tuple(self._prompts()))
        setup = replace(self._order.setup, slots=self._order.wish.workload.slots)
        run = evaluate_tasks(found, tasks, setup, self._settings, self._told)
        figures = figures_of(run).whole
        speed, memory = figures.get(Measure.TOKENS_PER_SECOND), figures.get(Measure.MEMORY_BYTES)
        on_gpu = figures.get(Measure.GPU_BYTES)
        taken = memory if on_gpu is None else on_gpu
        trial = Trial(speed.value if speed is not None else None, int(taken.value) if taken is not None else None)
        self._save(name, replace(kept, trial=trial))

    def make(self, name: str) -> Found:
        """The file of a candidate, made unless it lies there already; whole or not at all.

        Raises:
            InvalidError: It would lose too much, or the matrix does not fit.
            RefusedError: It is garbage without a matrix of more texts.
            UnavailableError: The disk is full.
            ConflictError: ``not-the-same-again``: it is not what was measured before.
        """
        path = self.path(name)
        if not path.exists():
            self._say(0.0, f"making {name}")
            self._write(self._candidates[name], path)
        found = find_file(path)
        kept = self.kept(name)
        if kept is not None:
            _check_same(name, kept.run.subject, found.subject)
        return replace(found, subject=replace(found.subject, name=name))

    def path(self, name: str) -> Path:
        """Where the file of a candidate lies."""
        return self._made / f"{name}.gguf"

    def clear_but(self, *names: str) -> None:
        """Removes the files of all other candidates; what was measured of them stays."""
        wanted = {self.path(name) for name in names}
        for path in self._made.iterdir():
            if path not in wanted:
                path.unlink()

    def _write(self, candidate: Candidate, path: Path) -> None:
        source = self._source(candidate.variant)
        if not candidate.scheme:
            os.link(source, path)
            return
        quantize_file(
            source,
            path,
            SCHEMES[candidate.scheme],
            importance=self._importance(candidate.variant),
            threads=self._threads,
            report=lambda done, total: self._say(0.0, f"making {candidate.name}"),
            allow_requantize=self._order.allow_requantize,
        )

    def _source(self, variant: str) -> Path:
        return self._order.variants[variant] if variant else self._order.parent.path

    def _importance(self, variant: str) -> ImportanceMatrix | None:
        """What matters to a model; of each its own, for another network has other inputs."""
        if not self._order.calibration:
            return self._order.matrix
        if variant not in self._matrices:
            path = self._matrix_folder / f"{variant or PARENT}.gguf"
            if not path.exists():
                found = collect_importance(
                    self._source(variant),
                    self._order.calibration,
                    Reading(threads=self._threads),
                    datasets=[self._order.dataset],
                    report=lambda done, total: self._say(0.0, "reading texts for what matters"),
                )
                write_importance(path, found)
            # Of a later run, too: the same to the last bit; and the name that a quantized file says does not change.
            self._matrices[variant] = replace(read_importance(path), name="importance.gguf")
        return self._matrices[variant]

    def _asked(self, name: str, kept: Kept, found: Found, upto: int) -> Kept:
        tasks = self._order.tasks
        assert tasks is not None  # the caller has looked
        part = replace(tasks, tasks=tasks.tasks[len(kept.run.items) : upto])
        if part.tasks:
            run = evaluate_tasks(found, part, self.asking, self._settings, self._told)
            kept = replace(kept, run=joined(kept.run, run))
            self._save(name, kept)
        return kept

    def _read(self, name: str, kept: Kept, found: Found, upto: int) -> Kept:
        texts, parent = self._order.texts, self._order.parent
        assert texts is not None  # the caller has looked
        part = replace(texts, texts=texts.texts[len(kept.run.texts) : upto])
        if not part.texts:
            return kept
        own, others = read_texts(found, parent, part, threads=self._threads, told=self._told)
        of_parent = self.kept(PARENT)
        assert of_parent is not None  # it was looked at first
        if len(of_parent.run.texts) == len(kept.run.texts):
            run = replace(of_parent.run, texts=(*of_parent.run.texts, *others))
            self._save(PARENT, replace(of_parent, run=run))
        kept = replace(kept, run=replace(kept.run, texts=(*kept.run.texts, *own)))
        self._save(name, kept)
        return kept

    def _lose(self, name: str, why: str) -> None:
        before = self.kept(name)
        run = before.run if before is not None else Run(Subject(name, "", 0, name, None))
        self._save(name, Kept(run, None, why))

    def _save(self, name: str, kept: Kept) -> None:
        save(self._measured / f"{name}.json", kept)

    def _prompts(self) -> list[Task]:
        """A few requests of the kind that the model is for, with answers of several tokens."""
        order = self._order
        if order.tasks is not None:
            asked = [task.messages for task in order.tasks.tasks]
        else:
            assert order.texts is not None  # one of them is given
            asked = [(Message(role="user", content=text.text[:_TRIED_CHARACTERS]),) for text in order.texts.texts]
        count = max(_TRIED_PROMPTS, 2 * order.wish.workload.slots)
        return [
            Task(f"speed-{number}", messages, (_ANY_ANSWER,), max_tokens=_TRIED_TOKENS)
            for number, messages in zip(range(count), cycle(asked), strict=False)
        ]

    def _told(self, done: int, total: int, note: str) -> None:
        self._say(done / total if total else 0.0, note)


def _check_same(name: str, before: Subject, now: Subject) -> None:
    """What was measured is what would be named."""
    if before.digest and before.digest != now.digest:
        raise ConflictError(
            "not-the-same-again",
            f"{name} was made again and is another file now: expected {before.digest}, got {now.digest}",
            hint="was Undercroft upgraded meanwhile? undercroft job cancel JOB, then ask for it anew",
        )

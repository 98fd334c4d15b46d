"""What a job is made of: steps that read a model's file or files and write those of another one."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

_FILE, _FOLDER, _LIST = "model.gguf", "model", "files.json"
FINDINGS = "findings.json"
# A folder that a step may leave for people, whether or not it ends well: it is kept beside the job's log.
REPORT = "report"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a step is.

    Args:
        done: What is done, in units of ``unit``.
        total: All there is, in the same unit; 0 where it is not known.
        unit: ``bytes``, ``tokens``, ``steps``.
        note: What is being done, in a few plain words.
        losses: How the loss of a training went so far, a few points of it.
    """

    done: float
    total: float
    unit: str
    note: str
    losses: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Workspace:
    """What a step has to work with.

    Args:
        source: The model that it reads: the job's, or what the step before made. Never written to.
        folder: The step's own, empty unless the step was interrupted; all that it writes lies there, and is removed
            with it.
        seed: Of everything that is random.
        threads: Processors that it may use; count.
    """

    source: Path
    folder: Path
    seed: int
    threads: int

    @property
    def result(self) -> Path:
        """Where the step leaves a model that is one GGUF."""
        return self.folder / _FILE

    @property
    def result_folder(self) -> Path:
        """Where the step leaves a model of several files, called as they are to be known in the registry."""
        return self.folder / _FOLDER

    @property
    def findings(self) -> Path:
        """Where the step may leave what it found, a JSON object, for the lineage."""
        return self.folder / FINDINGS


def result_of(step: Path) -> Path | None:
    """What a step has made: its GGUF, or its folder of files; None where it made nothing.

    Args:
        step: The folder that the step had.
    """
    if (step / _FILE).is_file():
        return step / _FILE
    folder = step / _FOLDER
    return folder if folder.is_dir() and any(folder.iterdir()) else None


def files_of(result: Path, name: str) -> dict[str, Path]:
    """The files of a result, by what the registry is to call them.

    Args:
        result: As `result_of` gives it.
        name: Of the new model, which its GGUF is called by.
    """
    if result.is_file():
        return {f"{name}.gguf": result}
    return {path.relative_to(result).as_posix(): path for path in sorted(result.rglob("*")) if path.is_file()}


def note_files(step: Path) -> None:
    """Writes down which files a step has made, so that one that is gone later is missed.

    Args:
        step: The folder that the step had, with a result in it.

    Raises:
        OSError: The disk is full.
    """
    result = result_of(step)
    assert result is not None
    (step / _LIST).write_text(json.dumps(sorted(files_of(result, ""))), encoding="utf-8")


def is_whole(step: Path) -> bool:
    """Whether all that a finished step has made is there: naming moves it away, file by file, and may be killed."""
    result, listed = result_of(step), step / _LIST
    if result is None or not listed.is_file():
        return False
    return bool(sorted(files_of(result, "")) == json.loads(listed.read_bytes()))


class Step(Protocol):
    """One change of a model. Run again with the same source and seed, it makes the same file."""

    def run(self, work: Workspace, report: Callable[[Progress], None]) -> None:
        """Makes ``work.result``, or what lies in ``work.result_folder``, of ``work.source``.

        Args:
            work: Files to read and the folder to write to.
            report: Told how far it is, as often as it likes.

        Raises:
            UndercroftError: It cannot be done; the sentence says why and what to do.
            OSError: The disk is full, or a file cannot be read.
        """

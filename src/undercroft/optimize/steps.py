"""What a job is made of: steps that read a model's file and write another one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

RESULT = "model.gguf"
FINDINGS = "findings.json"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a step is.

    Args:
        done: What is done, in units of ``unit``.
        total: All there is, in the same unit; 0 where it is not known.
        unit: ``bytes``, ``tokens``, ``steps``.
        note: What is being done, in a few plain words.
    """

    done: float
    total: float
    unit: str
    note: str


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
        """Where the step leaves the model that it made."""
        return self.folder / RESULT

    @property
    def findings(self) -> Path:
        """Where the step may leave what it found, a JSON object, for the lineage."""
        return self.folder / FINDINGS


class Step(Protocol):
    """One change of a model. Run again with the same source and seed, it makes the same file."""

    def run(self, work: Workspace, report: Callable[[Progress], None]) -> None:
        """Makes ``work.result`` of ``work.source``.

        Args:
            work: Files to read and the folder to write to.
            report: Told how far it is, as often as it likes.

        Raises:
            UndercroftError: It cannot be done; the sentence says why and what to do.
            OSError: The disk is full, or a file cannot be read.
        """

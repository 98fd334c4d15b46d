"""What a job keeps on disk: its log, how far it is, and what it has in hand. Nothing of it lies elsewhere."""

from __future__ import annotations

import contextlib
import json
import shutil
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from undercroft.core.files import write_atomically
from undercroft.core.home import Home
from undercroft.core.ids import check_name
from undercroft.optimize.steps import Progress

_WRITE_EVERY_SECONDS = 0.5
_RESERVED_BYTES = 256 * 1024  # some pages of the database, a few times over
_BLOCK_BYTES = 512  # of which `stat` counts, whatever the file system's own are


class JobFolder:
    """The folder of one job.

    Args:
        home: Whose job it is.
        job: Its id.
    """

    def __init__(self, home: Home, job: str) -> None:
        self.root = home.jobs / check_name(job, what="job")

    @property
    def log(self) -> Path:
        """What its process said."""
        return self.root / "log.txt"

    @property
    def progress(self) -> Path:
        """How far it is, as `HowFar`."""
        return self.root / "progress.json"

    @property
    def card(self) -> Path:
        """The folder of its quality card, where one was made."""
        return self.root / "card"

    @property
    def card_page(self) -> Path:
        """The card to look at."""
        return self.card / "card.html"

    @property
    def report(self) -> Path:
        """What a step left for people, where one did."""
        return self.root / "report"

    @property
    def work(self) -> Path:
        """What it has in hand; gone when it has ended."""
        return self.root / "work"

    def step(self, number: int) -> Path:
        """What a step has made; there as soon as it is whole.

        Args:
            number: Of the step, from 0.
        """
        return self.work / f"step-{number}"

    def unfinished_step(self, number: int) -> Path:
        """What a step is making."""
        return self.work / f"step-{number}.unfinished"

    def prepare(self) -> None:
        """Makes the folder.

        Raises:
            OSError: It cannot be made.
        """
        self.root.mkdir(mode=0o700, exist_ok=True)
        self.work.mkdir(mode=0o700, exist_ok=True)

    def reserve_early(self) -> None:
        """Makes the folder and takes that room while the job waits; where there is none, its process will say so."""
        with contextlib.suppress(OSError):
            self.prepare()
            self.reserve_room()

    def reserve_room(self) -> None:
        """Takes as much of the disk as it needs to write down that the disk is full.

        Raises:
            OSError: Not even that much is left.
        """
        if not self._reserve.exists() or self._reserve.stat().st_size < _RESERVED_BYTES:
            self._reserve.write_bytes(bytes(_RESERVED_BYTES))

    def release_room(self) -> None:
        """Gives it back, right before that is written."""
        self._reserve.unlink(missing_ok=True)

    @property
    def _reserve(self) -> Path:
        return self.work / "reserve"

    def kept_bytes(self) -> int:
        """What the job has in hand takes on the disk; models that it only refers to are not its own."""
        found = [path.lstat() for path in self.work.rglob("*") if path != self._reserve]
        return sum(one.st_blocks * _BLOCK_BYTES for one in found if stat.S_ISREG(one.st_mode))

    def clear(self) -> None:
        """Removes what the job has in hand; log and card stay."""
        shutil.rmtree(self.work, ignore_errors=True)
        self.clear_progress()

    def clear_progress(self) -> None:
        """Removes how far it is, also what a kill has left before it had its name."""
        for path in self._progress_files():
            path.unlink(missing_ok=True)

    def is_clear(self) -> bool:
        """Whether `clear` has come to its end, which a kill may have been in the way of."""
        return not self.work.is_dir() and not any(path.exists() for path in self._progress_files())

    def _progress_files(self) -> list[Path]:
        return [self.progress, *self.root.glob(f".{self.progress.name}.*")]


@dataclass(frozen=True, slots=True)
class HowFar:
    """How far a job is.

    Args:
        step: Which of its steps, from 0.
        steps: How many it has.
        done: What is done of the step, in units of ``unit``.
        total: All of the step; 0 where it is not known.
        unit: ``bytes``, ``tokens``, ``steps``.
        note: What is being done.
        left_seconds: Until the step is done, at its mean speed so far; None where it is not known.
        losses: How the loss of a training went so far, a few points of it.
    """

    step: int
    steps: int
    done: float
    total: float
    unit: str
    note: str
    left_seconds: float | None
    losses: tuple[float, ...] = ()

    @property
    def ratio(self) -> float:
        """Of the step, from 0 to 1."""
        return min(self.done / self.total, 1.0) if self.total > 0 else 0.0


def read_progress(folder: JobFolder) -> HowFar | None:
    """How far a job is; None where it does not say."""
    try:
        found: Mapping[str, Any] = json.loads(folder.progress.read_bytes())
        return HowFar(**{**found, "losses": tuple(found.get("losses", ()))})  # another version's fields: TypeError
    except (OSError, ValueError, TypeError, AttributeError):
        return None


class ProgressWriter:
    """Receives the progress of a job's step and writes it where others read it, not more than twice a second.

    Args:
        folder: Of the job.
        step: Which step, from 0.
        steps: How many there are.
        now_seconds: When the step began, on the clock of `write`.
    """

    def __init__(self, folder: JobFolder, step: int, steps: int, *, now_seconds: float) -> None:
        self._folder, self._step, self._steps = folder, step, steps
        self._began_seconds = now_seconds
        self._first_done: float | None = None
        self._written_seconds: float | None = None
        self._note = ""

    def write(self, progress: Progress, now_seconds: float) -> None:
        """Writes it where it is time to. A full disk is no reason to end the job: the step will say so itself."""
        if self._first_done is None or progress.note != self._note:  # what was done before, by a run that ended
            self._first_done, self._began_seconds = progress.done, now_seconds
        is_due = self._written_seconds is None or now_seconds - self._written_seconds >= _WRITE_EVERY_SECONDS
        if not is_due and progress.note == self._note and progress.done < progress.total:
            return
        self._note, self._written_seconds = progress.note, now_seconds
        seconds = now_seconds - self._began_seconds
        left = left_seconds(progress.done - self._first_done, progress.total - progress.done, seconds)
        how_far = HowFar(self._step, self._steps, **asdict(progress), left_seconds=left)
        with contextlib.suppress(OSError):
            write_atomically(self._folder.progress, json.dumps(asdict(how_far)).encode())


def left_seconds(done: float, left: float, seconds: float) -> float | None:
    """How long the rest takes at the speed so far.

    Args:
        done: What was done in ``seconds``.
        left: What is to be done.
        seconds: That it took.

    Returns:
        None where nothing was done yet.
    """
    return left * seconds / done if done > 0 and seconds > 0 and left >= 0 else None

"""Shows how a job goes until it ends: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn
from rich.progress import Progress as Bars

from undercroft.core.home import Home
from undercroft.core.units import format_duration
from undercroft.optimize.jobs import store
from undercroft.optimize.jobs.folders import HowFar, JobFolder, read_progress
from undercroft.optimize.jobs.states import ENDED, State
from undercroft.optimize.jobs.store import Job
from undercroft.storage.database import Database

_POLL_SECONDS = 0.2
_LINE_EVERY_SECONDS = 10.0
_AGAIN_SECONDS = 60.0  # after which a line that is the same is said again
_DESCRIPTION_WIDTH = 54
_BAR_WIDTHS = (6, 40)
_BARS = "▁▂▃▄▅▆▇█"

Show = Callable[[Job, HowFar | None], None]


def follow(home: Home, database: Database, job: str, *, is_quiet: bool) -> Job:
    """Waits until a job has ended, however it ends.

    Args:
        home: Of the job.
        database: Of the home.
        job: Its id.
        is_quiet: Show nothing.
    """
    folder = JobFolder(home, job)
    with _shown(is_quiet=is_quiet) as show:
        while True:
            with database.read() as connection:
                found = store.find(connection, job)
            if found.state in ENDED:
                return found
            show(found, read_progress(folder) if found.state is State.RUNNING else None)
            time.sleep(_POLL_SECONDS)


def in_short(state: State, how_far: HowFar | None) -> str:
    """How far a job is, for a table: ``running 43 %``."""
    has_share = state is State.RUNNING and how_far is not None and how_far.total > 0
    return f"{state} {how_far.ratio:.0%}".replace("%", " %") if has_share and how_far is not None else str(state)


def in_words(state: State, how_far: HowFar | None) -> str:
    """How far a job is: ``running, 43 %, 12 s left``; ``queued``."""
    if state is not State.RUNNING or how_far is None or how_far.total <= 0:
        return str(state)
    return f"{state}, {_place(how_far)}"


def _place(how_far: HowFar) -> str:
    step = f"step {how_far.step + 1} of {how_far.steps}, " if how_far.steps > 1 else ""
    left = f", {format_duration(how_far.left_seconds)} left" if how_far.left_seconds else ""
    return f"{step}{how_far.ratio:.0%}{left}".replace("%", " %")


def beside_a_bar(doing: str, state: State, how_far: HowFar | None) -> str:
    """What is done and how far it is, always as wide; where that is too long the time that is left stays whole."""
    is_counted = state is State.RUNNING and how_far is not None and how_far.total > 0
    place = _place(how_far) if is_counted and how_far is not None else str(state)
    room = max(_DESCRIPTION_WIDTH - len(place) - 2, 1)
    shown = doing if len(doing) <= room else f"{doing[: room - 1]}…"
    # As wide as it may become, so that the bar stays where it is.
    return f"{f'{shown}: {place}':{_DESCRIPTION_WIDTH}}"


@contextmanager
def _shown(*, is_quiet: bool) -> Iterator[Show]:
    if is_quiet:
        yield lambda job, how_far: None
    elif sys.stderr.isatty():
        console = Console(stderr=True)
        width = min(max(console.width - _DESCRIPTION_WIDTH - 2, _BAR_WIDTHS[0]), _BAR_WIDTHS[1])
        bars = Bars(
            TextColumn("{task.description}", markup=False), BarColumn(bar_width=width), console=console, transient=True
        )
        with bars:
            yield _OnTerminal(bars)
    else:
        yield _InLines()


class _OnTerminal:
    """One bar for the step that is being done."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._task: TaskID = bars.add_task("", total=None)

    def __call__(self, job: Job, how_far: HowFar | None) -> None:
        ratio = how_far.ratio if how_far is not None and how_far.total > 0 else None
        fixed = beside_a_bar(_doing(job, how_far), job.state, how_far)
        curve = loss_line(how_far.losses) if how_far is not None else ""
        self._bars.update(
            self._task, description=f"{fixed}\n{curve}".rstrip("\n"), completed=ratio or 0, total=1 if ratio else None
        )


class _InLines:
    """For logs and pipes."""

    def __init__(self) -> None:
        self._told_seconds = time.monotonic()
        self._told = ""

    def __call__(self, job: Job, how_far: HowFar | None) -> None:
        now = time.monotonic()
        if now - self._told_seconds < _LINE_EVERY_SECONDS:
            return
        line = f"{_doing(job, how_far)}: {in_words(job.state, how_far)}"
        if line == self._told and now - self._told_seconds < _AGAIN_SECONDS:
            return
        self._told_seconds, self._told = now, line
        print(line, file=sys.stderr, flush=True)


def loss_line(losses: Sequence[float]) -> str:
    """A loss as a line of bars from its first to its last: ``loss 8.43 █▆▃▂▁ 0.12``; empty where there is none."""
    if not losses:
        return ""
    least, most = min(losses), max(losses)
    scale = (len(_BARS) - 1) / (most - least) if most > least else 0.0
    bars = "".join(_BARS[round((loss - least) * scale)] for loss in losses)
    return f"loss {losses[0]:.3g} {bars} {losses[-1]:.3g}"


def _doing(job: Job, how_far: HowFar | None) -> str:
    if how_far is None or not how_far.note:
        return job.kind
    return f"{how_far.note}, loss {how_far.losses[-1]:.3g}" if how_far.losses else how_far.note

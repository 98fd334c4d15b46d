"""Shows how a long import goes: bars on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as Bars

from undercroft.core.units import format_bytes, format_duration
from undercroft.registry.progress import Progress, Stage, Step, silent

_DOING = {Stage.DOWNLOAD: "download", Stage.COPY: "copy", Stage.CHECK: "check"}
_LINE_EVERY_SECONDS = 10.0
_NAME_WIDTH = 22


@contextmanager
def shown(*, is_quiet: bool) -> Iterator[Progress]:
    """A receiver of steps that shows them on stderr, so that stdout stays for the result.

    Args:
        is_quiet: Show nothing.
    """
    if is_quiet:
        yield silent
    elif sys.stderr.isatty():
        with _bars() as bars:
            yield _OnTerminal(bars)
    else:
        yield _InLines()


def _bars() -> Bars:
    return Bars(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(compact=True),
        console=Console(stderr=True),
    )


class _OnTerminal:
    """One bar a file and stage."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._tasks: dict[tuple[Stage, str], TaskID] = {}

    def __call__(self, step: Step) -> None:
        key = (step.stage, step.name)
        if key not in self._tasks:
            self._tasks[key] = self._bars.add_task(
                f"{_DOING[step.stage]:8} {_short(step.name):{_NAME_WIDTH}}",
                total=step.total_bytes,
                completed=step.resumed_bytes,
            )
        self._bars.update(self._tasks[key], completed=step.done_bytes, total=step.total_bytes)


class _InLines:
    """For logs and pipes: a line when a large file has gone on for a while."""

    def __init__(self) -> None:
        self._begun: dict[tuple[Stage, str], tuple[float, int]] = {}
        self._told = time.monotonic()

    def __call__(self, step: Step) -> None:
        now = time.monotonic()
        since, before = self._begun.setdefault((step.stage, step.name), (now, step.done_bytes))
        if now - self._told < _LINE_EVERY_SECONDS or now == since:
            return
        self._told = now
        speed = (step.done_bytes - before) / (now - since)
        left = f", {format_duration((step.total_bytes - step.done_bytes) / speed)} left" if speed > 0 else ""
        print(
            f"{_DOING[step.stage]} {step.name}: {format_bytes(step.done_bytes)} of {format_bytes(step.total_bytes)}, "
            f"{format_bytes(speed)}/s{left}",
            file=sys.stderr,
            flush=True,
        )


def _short(name: str) -> str:
    last = name.rsplit("/", 1)[-1]
    return last if len(last) <= _NAME_WIDTH else "…" + last[1 - _NAME_WIDTH :]

"""Shows how a long import goes: bars on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, Task, TaskID, TextColumn
from rich.progress import Progress as Bars
from rich.text import Text

from undercroft.core.units import format_bytes, format_duration
from undercroft.registry.progress import Progress, Stage, Step, silent

_DOING = {Stage.DOWNLOAD: "download", Stage.COPY: "copy", Stage.CHECK: "check"}
_LINE_EVERY_SECONDS = 10.0
_NAME_WIDTH = 18
_NARROW_NAME_WIDTH = 14
# Name, bytes, speed and time left take that much. A bar has some of what is left: a line that reached the edge would be
# broken by the ^C that a terminal writes.
_COLUMNS_WITHOUT_BAR = 72
_BAR_WIDTHS = (6, 40)


@contextmanager
def shown(*, is_quiet: bool) -> Iterator[Progress]:
    """A receiver of steps that shows them on stderr, so that stdout stays for the result.

    Args:
        is_quiet: Show nothing.
    """
    if is_quiet:
        yield silent
    elif sys.stderr.isatty():
        console = Console(stderr=True)
        bar_width = console.width - _COLUMNS_WITHOUT_BAR
        is_wide = bar_width >= _BAR_WIDTHS[0]
        with _bars(console, bar_width=min(bar_width, _BAR_WIDTHS[1]) if is_wide else 0) as bars:
            yield _OnTerminal(bars, _NAME_WIDTH if is_wide else _NARROW_NAME_WIDTH)
    else:
        yield _InLines()


def how_far(done_bytes: float, total_bytes: float) -> str:
    """Bytes of bytes: ``10.4 of 36.7 MiB``, ``900.0 KiB of 36.7 MiB``, or only the whole where it is there."""
    total = format_bytes(total_bytes)
    if done_bytes >= total_bytes:
        return total
    done, unit = format_bytes(done_bytes).split()
    return f"{done} of {total}" if total.endswith(f" {unit}") else f"{done} {unit} of {total}"


def how_fast(bytes_per_second: float | None, left_seconds: float | None) -> str:
    """Speed and time left: ``3.1 MiB/s, 8.2 s left``; nothing of what is not known."""
    if not bytes_per_second:
        return ""
    left = f", {format_duration(left_seconds)} left" if left_seconds else ""
    return f"{format_bytes(bytes_per_second)}/s{left}"


class _HowFar(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(how_far(task.completed, task.total or task.completed), no_wrap=True)


class _HowFast(ProgressColumn):
    """Speed, and the time left; without the speed where there is little room."""

    def __init__(self, *, is_wide: bool) -> None:
        super().__init__()
        self._is_wide = is_wide

    def render(self, task: Task) -> Text:
        if not self._is_wide:
            left = task.time_remaining
            return Text(f"{format_duration(left)} left" if left else "", no_wrap=True)
        return Text(how_fast(task.finished_speed or task.speed, task.time_remaining), no_wrap=True)


def _bars(console: Console, *, bar_width: int) -> Bars:
    """Bars of the given width; 0 leaves them out."""
    bar = [BarColumn(bar_width=bar_width)] if bar_width else []
    fast = _HowFast(is_wide=bar_width > 0)
    return Bars(TextColumn("{task.description}", markup=False), *bar, _HowFar(), fast, console=console)


class _OnTerminal:
    """One bar a file and stage."""

    def __init__(self, bars: Bars, name_width: int) -> None:
        self._bars = bars
        self._name_width = name_width
        self._tasks: dict[tuple[Stage, str], TaskID] = {}

    def __call__(self, step: Step) -> None:
        key = (step.stage, step.name)
        if key not in self._tasks:
            self._tasks[key] = self._bars.add_task(
                f"{_DOING[step.stage]:8} {_short(step.name, self._name_width):{self._name_width}}",
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


def _short(name: str, width: int) -> str:
    last = name.rsplit("/", 1)[-1]
    return last if len(last) <= width else "…" + last[1 - width :]

"""Measures one model: every task, several at once, with its speed, its memory and, by a meter, its energy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from undercroft.core.settings import EngineSettings
from undercroft.hardware.energy import EnergyCounter, read_meters
from undercroft.optimize.evaluation.asking import ask_all
from undercroft.optimize.evaluation.records import Energy, Run
from undercroft.optimize.evaluation.replica import Setup, running
from undercroft.optimize.evaluation.subjects import Found
from undercroft.optimize.evaluation.tasks import TaskSet

_LARGEST_DEFAULT_CONTEXT_TOKENS = 8192
_UNKNOWN_CONTEXT_TOKENS = 2048


class Told(Protocol):
    """Who is told how far an evaluation is."""

    def __call__(self, done: int, total: int, note: str) -> None: ...


def common_context(found: list[Found], wanted: int, usual: int) -> int:
    """The context in which all models are run: the same for each, as none is to have an advantage.

    Args:
        found: Models; at least one.
        wanted: Asked for; 0 leaves it open.
        usual: Of the settings; 0 leaves it open.
    """
    if wanted:
        return wanted
    own = min(model.context_tokens or _UNKNOWN_CONTEXT_TOKENS for model in found)
    return min(own, usual or _LARGEST_DEFAULT_CONTEXT_TOKENS)


def evaluate_tasks(found: Found, tasks: TaskSet, setup: Setup, settings: EngineSettings, told: Told) -> Run:
    """Asks a model every task.

    Args:
        found: The model.
        tasks: What to ask.
        setup: How it is run.
        settings: Which engine.
        told: Told after each answer.

    Raises:
        InvalidError: The engine cannot do what the setup asks for.
        UnavailableError: The model does not load.
    """
    total = len(tasks.tasks)
    told(0, total, f"loading {found.subject.name}")
    with running(found.path, setup, settings) as replica:
        counter = EnergyCounter(read_meters)
        report = _reporting(counter, told, total, f"asking {found.subject.name}")
        items, seconds = ask_all(replica.endpoint, tasks.tasks, setup, report)
        joules = counter.look()
        return Run(
            subject=found.subject,
            items=tuple(items),
            seconds=seconds,
            load_seconds=replica.load_seconds,
            peak=replica.peak(),
            energy=Energy(joules, counter.meters) if joules is not None else None,
        )


def _reporting(counter: EnergyCounter, told: Told, total: int, note: str) -> Callable[[int], None]:
    def report(done: int) -> None:
        counter.look()  # before a meter begins again
        told(done, total, note)

    return report

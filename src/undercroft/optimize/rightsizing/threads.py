"""With how many threads the models of a search are asked: those with which the answers come soonest.

Threads wait for each other after every product of matrices. Of a small model a product takes less than that, and on a
machine that does other things, too, a thread that waits for its processor holds up all of them: then one is quicker.
Which it is, is tried.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from undercroft.core.settings import EngineSettings
from undercroft.optimize.evaluation.evaluating import Told, evaluate_tasks
from undercroft.optimize.evaluation.replica import Setup
from undercroft.optimize.evaluation.subjects import Found
from undercroft.optimize.evaluation.tasks import TaskSet

_TRIED_TASKS = 16
# Threads that wait for each other take processor time from whatever else runs, so several have to be worth it.
_WORTH = 1.3
# Trying one thread with a larger model would take longer than it could save.
_MOST_BYTES = 64 * 1024**2


def threads_to_try(size_bytes: int, threads: int) -> tuple[int, ...]:
    """Numbers of threads that may be the quickest. Pure.

    Args:
        size_bytes: Of the model's files.
        threads: Processors that there are; count.
    """
    return (threads, 1) if threads > 1 and size_bytes <= _MOST_BYTES else (threads,)


def quickest(tried: tuple[int, ...], seconds_of: Callable[[int], float]) -> int:
    """The number of threads that took least, several only where they are well ahead of one; one alone is not tried.

    Args:
        tried: Numbers of threads.
        seconds_of: How long the same questions take with so many.
    """
    if len(tried) == 1:
        return tried[0]
    return min(tried, key=lambda threads: seconds_of(threads) * (_WORTH if threads > 1 else 1.0))


def find_threads(found: Found, tasks: TaskSet, setup: Setup, settings: EngineSettings, told: Told) -> int:
    """With how many threads a model answers soonest.

    Args:
        found: The model.
        tasks: The first of them are asked.
        setup: How it is run; its threads are the most.
        settings: Which engine.
        told: Told after each answer.

    Raises:
        UnavailableError: There is no memory for it, or it does not load.
    """
    some = replace(tasks, tasks=tasks.tasks[:_TRIED_TASKS])

    def seconds_of(threads: int) -> float:
        return evaluate_tasks(found, some, replace(setup, threads=threads), settings, told).seconds

    return quickest(threads_to_try(found.subject.size_bytes, setup.threads), seconds_of)

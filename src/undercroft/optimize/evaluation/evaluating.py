"""Measures one model: every task, several at once, with its speed, its memory and, by a meter, its energy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from undercroft.catalog.engines import EngineName
from undercroft.core.errors import UnavailableError
from undercroft.core.settings import EngineSettings
from undercroft.core.units import format_bytes
from undercroft.engines.memory_limit import KV_BYTES_PER_VALUE, default_memory_limit
from undercroft.hardware.energy import EnergyCounter, read_meters
from undercroft.hardware.main_memory import read_memory
from undercroft.optimize.evaluation.asking import ask_all
from undercroft.optimize.evaluation.records import Energy, Run
from undercroft.optimize.evaluation.replica import Setup, running
from undercroft.optimize.evaluation.subjects import Found
from undercroft.optimize.evaluation.tasks import TaskSet

_LARGEST_DEFAULT_CONTEXT_TOKENS = 8192
_UNKNOWN_CONTEXT_TOKENS = 2048
_ENGINE_BYTES = 64 * 1024**2  # its program and buffers, at the least


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


def memory_needed(found: Found, setup: Setup) -> int:
    """About what an engine takes: weights, cache, and a little more; without the cache where its shape is not known.

    Args:
        found: The model.
        setup: Says how long a context, and how many at once.
    """
    facts = found.facts
    cache = 0
    if facts is not None and facts.layers and facts.kv_heads and facts.head_dim:
        values = 2 * facts.layers * facts.kv_heads * facts.head_dim * setup.context_tokens * setup.slots
        cache = int(values * KV_BYTES_PER_VALUE["f16"])
    return found.subject.size_bytes + cache + _ENGINE_BYTES


def check_room(found: Found, setup: Setup, available_bytes: int) -> None:
    """Lets a model be loaded where there is memory for it.

    Args:
        found: The model.
        setup: How it will be run.
        available_bytes: Main memory that is free now.

    Raises:
        UnavailableError: ``not-enough-memory``, with both numbers.
    """
    needed = memory_needed(found, setup)
    if needed > available_bytes:
        raise UnavailableError(
            "not-enough-memory",
            f"{found.subject.name!r} with {setup.slots} × {setup.context_tokens:,} tokens needs about "
            f"{format_bytes(needed)} of memory, {format_bytes(available_bytes)} are free",
            hint="ask fewer at once (--slots 1), take a shorter --context, or free memory",
        )


def _limit(found: Found, setup: Setup, settings: EngineSettings) -> int | None:
    if settings.memory_limit_bytes:
        return settings.memory_limit_bytes
    if found.facts is None:
        return None
    return default_memory_limit(
        model_bytes=found.subject.size_bytes,
        context_tokens=setup.context_tokens,
        slots=setup.slots,
        layers=found.facts.layers,
        kv_heads=found.facts.kv_heads,
        head_dim=found.facts.head_dim,
    )


def evaluate_tasks(
    found: Found,
    tasks: TaskSet,
    setup: Setup,
    settings: EngineSettings,
    told: Told,
    *,
    engine: EngineName = "llama.cpp",
    environment: Path | None = None,
) -> Run:
    """Asks a model every task.

    Args:
        found: The model.
        tasks: What to ask.
        setup: How it is run.
        settings: Which program of the engine.
        told: Told after each answer.
        engine: Which runs it.
        environment: Folder of the Python environment that it is installed in; None for one that is built in.

    Raises:
        InvalidError: The engine cannot do what the setup asks for.
        UnavailableError: There is no memory for it, or it does not load.
    """
    total = len(tasks.tasks)
    check_room(found, setup, read_memory().available_bytes)
    setup = replace(setup, memory_limit_bytes=_limit(found, setup, settings))
    told(0, total, f"loading {found.subject.name}")
    with running(found.path, setup, settings, engine=engine, environment=environment) as replica:
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

"""What a candidate would take and reach on a machine, before it is made. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from undercroft.catalog.shapes import ModelShape
from undercroft.core.units import format_bytes
from undercroft.optimize.rightsizing.candidates import Candidate, LeftOut, Why
from undercroft.optimize.rightsizing.machines import FitMachine
from undercroft.planning.fitting import Verdict, fit_of
from undercroft.planning.forecasts import Workload
from undercroft.planning.memory import forecast_memory
from undercroft.planning.report.words import significant
from undercroft.planning.speed import forecast_speed
from undercroft.planning.targets import Rate


@dataclass(frozen=True, slots=True)
class Outlook:
    """A forecast.

    Args:
        needed_bytes: Of memory, all pools together.
        available_bytes: That there are.
        missing_bytes: By how much it does not fit; 0 where it does.
        speed: Tokens a second of one answer, with its range; None where it does not fit.
    """

    needed_bytes: int
    available_bytes: int
    missing_bytes: int
    speed: Rate | None


@dataclass(frozen=True, slots=True)
class Wish:
    """What a model has to hold where it runs.

    Args:
        machine: Where.
        workload: How it is run there.
        least_tokens_per_second: Of one answer; None asks nothing.
    """

    machine: FitMachine
    workload: Workload
    least_tokens_per_second: float | None = None


def outlook_of(shape: ModelShape, candidate: Candidate, wish: Wish) -> Outlook:
    """What a candidate would take and reach.

    Args:
        shape: Of the model that it is made of.
        candidate: With the types of its tensors.
        wish: Where and how it is to run.
    """
    target = wish.machine.target
    stored = replace(shape, tensors=candidate.tensors)
    memory = forecast_memory(stored, wish.workload, target)
    fit = fit_of(memory, target, shape.layers)
    speed = None
    if fit.verdict is not Verdict.NO:
        found = forecast_speed(stored, wish.workload, target, memory)
        speed = found.decode_user if wish.workload.slots > 1 else found.decode
    return Outlook(
        needed_bytes=sum(pool.needed_bytes for pool in fit.pools),
        available_bytes=sum(pool.available_bytes for pool in fit.pools),
        missing_bytes=fit.missing_bytes,
        speed=speed,
    )


def hopeful(
    shape: ModelShape, candidates: Iterable[Candidate], wish: Wish
) -> tuple[list[tuple[Candidate, Outlook]], list[tuple[LeftOut, Outlook]]]:
    """Candidates that are worth making, and those that are not, each with its forecast.

    Here, where it is measured later, a candidate is too slow when even the favourable end of its forecast is; on
    another machine, where the forecast is all there is, when its best figure is.

    Args:
        shape: Of the model that they are made of.
        candidates: All.
        wish: Where and how they are to run.
    """
    kept: list[tuple[Candidate, Outlook]] = []
    out: list[tuple[LeftOut, Outlook]] = []
    for candidate in candidates:
        found = outlook_of(shape, candidate, wish)
        reason = _against(candidate, found, wish)
        if reason is None:
            kept.append((candidate, found))
        else:
            out.append((reason, found))
    return kept, out


def _against(candidate: Candidate, found: Outlook, wish: Wish) -> LeftOut | None:
    if found.missing_bytes:
        sentence = (
            f"needs {format_bytes(found.needed_bytes)} of memory, {wish.machine.name} has "
            f"{format_bytes(found.available_bytes)} for it"
        )
        return LeftOut(candidate.name, Why.DOES_NOT_FIT, sentence, candidate.size_bytes)
    least, speed = wish.least_tokens_per_second, found.speed
    if least is None or speed is None or (speed.high if wish.machine.is_here else speed.value) >= least:
        return None
    reached = f"{significant(speed.value)} ({significant(speed.low)} to {significant(speed.high)})"
    sentence = f"about {reached} tokens/s on {wish.machine.name}, {significant(least)} wanted"
    return LeftOut(candidate.name, Why.TOO_SLOW, sentence, candidate.size_bytes)

"""Rates as forecast beside rates as measured, before and after learning from one other model. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from benchmarks.sizing_models import Load
from benchmarks.sizing_speed_engine import CONTEXT_TOKENS, PIECE, SHORT, Case
from undercroft.catalog.shapes import ModelShape
from undercroft.planning.calibration import Corrections, Kind, Pair, Quantity
from undercroft.planning.forecasts import Workload
from undercroft.planning.memory import forecast_memory
from undercroft.planning.speed import decode_forecast, forecast_speed, kind_of, present_tokens
from undercroft.planning.step_terms import StepTerms
from undercroft.planning.targets import Rate, Target

# What the peer learns from: what it is made for.
_ONE_ANSWER = (SHORT[0],)


@dataclass(frozen=True, slots=True)
class Seen:
    """One measurement.

    Args:
        load: Which model in which quantization.
        shape: Of it.
        file_bytes: Of its file.
        case: What was asked; None for loading it.
        measured: Tokens a second of one stream; of loading, seconds.
        spread: How far repeated measurements lay apart, a ratio.
    """

    load: Load
    shape: ModelShape
    file_bytes: int
    case: Case | None
    measured: float
    spread: float = 0.0

    @property
    def quantity(self) -> Quantity:
        """What it is in the words of calibration."""
        if self.case is None:
            return Quantity.LOAD_SECONDS
        return Quantity.DECODE_TOKENS if self.case.is_decode else Quantity.PREFILL_TOKENS


@dataclass(frozen=True, slots=True)
class Compared:
    """A measurement with its forecasts.

    Args:
        seen: What came.
        before: From the shape and what ``hardware measure`` found.
        after: With what was learnt from the calibrating model as well.
        naive: Bandwidth ÷ size of the file: tokens a second of one stream; None where that says nothing.
        naive_after: The same with its own correction learnt from the same model.
    """

    seen: Seen
    before: Rate
    after: Rate
    naive: float | None
    naive_after: float | None


def workload_of(seen: Seen) -> Workload:
    """As the forecast is asked."""
    case = seen.case or PIECE
    return Workload(
        quantization=seen.load.quantization,
        context_tokens=CONTEXT_TOKENS,
        slots=case.streams,
        prompt_tokens=case.prompt_tokens,
        answer_tokens=case.answer_tokens,
        gpu_layers=0,
    )


def forecast(seen: Seen, target: Target, learnt: Corrections | None = None) -> Rate:
    """What the product says of it before it is measured."""
    work = workload_of(seen)
    speed = forecast_speed(seen.shape, work, target, forecast_memory(seen.shape, work, target), learnt)
    if seen.case is None:
        return speed.load
    return speed.decode_user if seen.case.is_decode else speed.prefill


def naive_forecast(seen: Seen, target: Target) -> float | None:
    """What one hears most: a token reads the file once."""
    if seen.case is None or not seen.case.is_decode:
        return None
    return target.host.bandwidth.value / seen.file_bytes


def learn(seen: Iterable[Seen], target: Target) -> Corrections:
    """What a forecast learns from measurements: answers with the terms of their steps, prompts, and a load.

    Args:
        seen: Of the calibrating model.
        target: This machine.
    """
    pairs = []
    for one in seen:
        figure = forecast(one, target).value
        pairs.append(Pair(_kind(one, target), one.quantity, figure, figure, one.measured, terms=_terms(one, target)))
    return Corrections(pairs)


def _terms(seen: Seen, target: Target) -> StepTerms | None:
    if seen.case is None or not seen.case.is_decode:
        return None
    work = workload_of(seen)
    answers = decode_forecast(seen.shape, work, target, 0)
    return answers.terms(work.slots, present_tokens(work)) if answers else None


def _learn_naive(seen: Iterable[Seen], target: Target) -> float:
    """The ratio of what came to what the peer said, of one answer; 1 where there is none."""
    told = [(one, naive_forecast(one, target)) for one in seen if one.case in _ONE_ANSWER]
    return statistics.median([one.measured / figure for one, figure in told if figure] or [1.0])


def compare(seen: Sequence[Seen], target: Target, calibrating: Load) -> list[Compared]:
    """Forecasts of all models but the calibrating one, before and after learning from that.

    Args:
        seen: All measurements.
        target: This machine.
        calibrating: What is learnt from: one file. Other files of the same model are left out.
    """
    taught = [one for one in seen if one.load == calibrating]
    learnt = learn(taught, target)
    factor = _learn_naive(taught, target)
    found = []
    for one in seen:
        if one.load.model == calibrating.model:
            continue
        naive = naive_forecast(one, target)
        found.append(
            Compared(
                seen=one,
                before=forecast(one, target),
                after=forecast(one, target, learnt),
                naive=naive,
                naive_after=None if naive is None else naive * factor,
            )
        )
    return found


def _kind(seen: Seen, target: Target) -> Kind:
    return kind_of(seen.shape, replace(workload_of(seen), slots=1), target, 0)


def error(forecast_value: float, measured: float) -> float:
    """Distance of a forecast from what came, a ratio: 0.1 is 10 %."""
    return abs(forecast_value / measured - 1)


def is_in_range(rate: Rate, measured: float) -> bool:
    """Whether what came lies in the range that was given."""
    return rate.low <= measured <= rate.high


@dataclass(frozen=True, slots=True)
class Summary:
    """Of several comparisons.

    Args:
        count: Of them.
        median_before: Median error from the shape and the machine's measurements alone.
        worst_before: The largest.
        in_range_before: Share of measurements within the range that was given.
        median_after: The same after learning.
        worst_after: The same.
        in_range_after: The same.
    """

    count: int
    median_before: float
    worst_before: float
    in_range_before: float
    median_after: float
    worst_after: float
    in_range_after: float


def summary(found: Sequence[Compared]) -> Summary:
    """Errors and ranges of at least one comparison."""
    before = [error(one.before.value, one.seen.measured) for one in found]
    after = [error(one.after.value, one.seen.measured) for one in found]
    return Summary(
        count=len(found),
        median_before=statistics.median(before),
        worst_before=max(before),
        in_range_before=statistics.fmean(is_in_range(one.before, one.seen.measured) for one in found),
        median_after=statistics.median(after),
        worst_after=max(after),
        in_range_after=statistics.fmean(is_in_range(one.after, one.seen.measured) for one in found),
    )

"""How fast a model will be: rates with ranges, each with every term that made it. Pure arithmetic.

A range joins the uncertainties of bandwidth, arithmetic, overhead and, on a processor, of what one network does
otherwise than another, as independent ones; what was learnt from served requests on the same device
(`undercroft.planning.calibration`) moves the figure and narrows the range.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from undercroft.catalog.shapes import ModelShape
from undercroft.planning import speed_constants as constants
from undercroft.planning.calibration import Correction, Corrections, Kind, Quantity
from undercroft.planning.forecasts import MemoryForecast, SpeedForecast, Workload
from undercroft.planning.memory_llamacpp import merge_count
from undercroft.planning.speed_explained import explain
from undercroft.planning.step_terms import StepTerms
from undercroft.planning.steps import BEST, Job, Levels, at, decode_seconds, decode_terms, job_of, prompt_seconds
from undercroft.planning.targets import Rate, Target

_ENDS = (
    (Levels(bandwidth=-1), Levels(bandwidth=1)),
    (Levels(arithmetic=-1), Levels(arithmetic=1)),
    (Levels(overhead=-1), Levels(overhead=1)),
    (Levels(network=-1), Levels(network=1)),
)
# With few pairs learnt the spread is not known yet; then the range is this wide each way. It held nine of ten measured
# decode rates after one other model (benchmarks.sizing_processor, 2026-11-21); 1.25 held eight of ten.
_LEARNT_RANGE = 1.40
_LEARNT_LOAD_RANGE = 2.0  # of loads, which differ more from each other
_STANDARD_DEVIATIONS = 1.645  # nine of ten
_LEAST_SPREAD = 0.03
NOTHING = Rate(0.0, 0.0, 0.0, "nothing is generated")


@dataclass(frozen=True, slots=True)
class Pace:
    """Best figures alone, for looking at many plans.

    Args:
        decode: Tokens a second of one user alone.
        decode_user: Of each when all slots are busy.
        decode_all: Of all together.
        prefill: Prompt tokens a second.
        first_token: Seconds.
    """

    decode: float
    decode_user: float
    decode_all: float
    prefill: float
    first_token: float


def present_tokens(workload: Workload) -> float:
    """Tokens in the cache in the middle of a typical answer."""
    return min(workload.context_tokens, workload.prompt_tokens + workload.answer_tokens / 2)


def pace_of(
    shape: ModelShape, workload: Workload, target: Target, gpu_layers: int, learnt: Corrections | None = None
) -> Pace:
    """Best figures, with what was learnt.

    Args:
        shape: Of the network.
        workload: How it is run.
        target: Where.
        gpu_layers: As the memory forecast decided.
        learnt: From pairs of forecast and measurement; None for nothing.
    """
    return pace_of_job(job_of(shape, workload, target, gpu_layers), learnt)


def pace_of_job(job: Job, learnt: Corrections | None = None) -> Pace:
    """The same of a model that is placed already.

    Args:
        job: What runs where.
        learnt: From pairs of forecast and measurement; None for nothing.
    """
    workload = job.workload
    prompt = _prompt_tokens(workload)
    prompt_time = prompt_seconds(job, prompt) / _correction(job, Quantity.PREFILL_TOKENS, learnt).factor
    if _generates_nothing(job):
        return Pace(0.0, 0.0, 0.0, prompt / prompt_time, prompt_time + constants.DOOR_SECONDS.value)
    answers, context, slots = DecodeForecast(job, learnt), present_tokens(workload), workload.slots
    alone = answers.seconds(1, context)
    together = alone if slots == 1 else answers.seconds(slots, context)
    first = prompt_time + alone + constants.DOOR_SECONDS.value
    return Pace(1 / alone, 1 / together, workload.slots / together, prompt / prompt_time, first)


def first_token_seconds(job: Job) -> float:
    """The same of `pace_of_job`, alone and without what was learnt."""
    alone = 0.0 if _generates_nothing(job) else decode_seconds(job, 1, present_tokens(job.workload))
    return prompt_seconds(job, _prompt_tokens(job.workload)) + alone + constants.DOOR_SECONDS.value


def _prompt_tokens(workload: Workload) -> int:
    return max(1, min(workload.prompt_tokens, workload.context_tokens))


def forecast_speed(
    shape: ModelShape,
    workload: Workload,
    target: Target,
    memory: MemoryForecast,
    learnt: Corrections | None = None,
) -> SpeedForecast:
    """Rates and times with their ranges.

    Args:
        shape: Of the network.
        workload: How it is run.
        target: Where.
        memory: Its forecast there; it says which layers are on accelerators and what is rearranged at loading.
        learnt: From pairs of forecast and measurement; None for nothing.

    Returns:
        Encoders and embeddings generate nothing: their decode rates are 0.

    Source:
        `undercroft.planning.speed_constants` names that of each figure.
    """
    job = job_of(shape, workload, target, memory.gpu_layers)
    context, slots = present_tokens(workload), workload.slots
    decoding = _correction(job, Quantity.DECODE_TOKENS, learnt, decode_terms(job, 1, context))
    prefilling = _correction(job, Quantity.PREFILL_TOKENS, learnt)
    prompt = _prompt_tokens(workload)
    prefill = _rate(lambda levels: prompt / prompt_seconds(job, prompt, levels), prefilling)
    load = _load(job, target, memory, _correction(job, Quantity.LOAD_SECONDS, learnt))
    lines = explain(job, context, prompt, load, (decoding, prefilling))
    if _generates_nothing(job):
        first = _first_token(prefill, NOTHING, prompt)
        return SpeedForecast(NOTHING, NOTHING, NOTHING, prefill, first, load, lines)
    decode = _rate(lambda levels: 1 / decode_seconds(job, 1, context, levels), decoding)
    busy = _correction(job, Quantity.DECODE_TOKENS, learnt, decode_terms(job, slots, context))
    user = _rate(lambda levels: 1 / decode_seconds(job, slots, context, levels), busy)
    together = Rate(user.value * slots, user.low * slots, user.high * slots, user.source)
    return SpeedForecast(decode, together, user, prefill, _first_token(prefill, decode, prompt), load, lines)


@dataclass(frozen=True, slots=True)
class DecodeForecast:
    """Rates of answers of a model that is placed, for any number of them and any context.

    Args:
        job: What runs where.
        learnt: From pairs of forecast and measurement; None for nothing.
    """

    job: Job
    learnt: Corrections | None

    def terms(self, sequences: int, context_tokens: float) -> StepTerms:
        """Of a step as the formulas say, without what was learnt.

        Args:
            sequences: Computed together.
            context_tokens: Present in the cache of each.
        """
        return decode_terms(self.job, sequences, context_tokens)

    def seconds(self, sequences: int, context_tokens: float) -> float:
        """Of a step, with what was learnt; see `terms`."""
        if self.learnt is None:
            return decode_seconds(self.job, sequences, context_tokens)
        terms = self.terms(sequences, context_tokens)
        return terms.total / _correction(self.job, Quantity.DECODE_TOKENS, self.learnt, terms).factor


def decode_forecast(
    shape: ModelShape, workload: Workload, target: Target, gpu_layers: int, learnt: Corrections | None = None
) -> DecodeForecast | None:
    """What answers of a running model are compared with; None for one that generates nothing.

    Args:
        shape: Of the network.
        workload: How it is run.
        target: Where.
        gpu_layers: As the memory forecast decided.
        learnt: From pairs of forecast and measurement; None for nothing.
    """
    job = job_of(shape, workload, target, gpu_layers)
    return None if _generates_nothing(job) else DecodeForecast(job, learnt)


def kind_of(shape: ModelShape, workload: Workload, target: Target, gpu_layers: int) -> Kind:
    """What a run of it teaches about, and is corrected by."""
    return _kind(job_of(shape, workload, target, gpu_layers))


def _generates_nothing(job: Job) -> bool:
    return job.workload.is_embedding or job.shape.is_encoder


def _correction(job: Job, quantity: Quantity, learnt: Corrections | None, terms: StepTerms | None = None) -> Correction:
    if learnt is None:
        return Correction()
    return learnt.correction(_kind(job), quantity, terms)


def _kind(job: Job) -> Kind:
    """By the type of most weights, which a file and a mix that is only planned have in common."""
    device = next((part.pool.name for part in reversed(job.parts) if part.pool.kind != "cpu"), job.parts[0].pool.name)
    return Kind(job.workload.engine, device, job.shape.architecture, job.traffic.main_type)


def _rate(of: Callable[[Levels], float], correction: Correction) -> Rate:
    """A rate with its range: from the constants, or from what was learnt where that says more."""
    best = of(BEST)
    down = math.sqrt(sum(math.log(of(slow) / best) ** 2 for slow, _ in _ENDS))
    up = math.sqrt(sum(math.log(of(fast) / best) ** 2 for _, fast in _ENDS))
    source = "roofline of published constants"
    if correction.pairs:
        # What three kinds or runs said is known; with fewer, learning at least makes nothing less certain.
        reach = _learnt_range(correction)
        down, up = (reach, reach) if correction.spread is not None else (min(reach, down), min(reach, up))
        source = f"roofline, corrected by {correction.factor:.2f} from {correction.pairs} runs: {correction.level}"
    value = best * correction.factor
    return Rate(value, value * math.exp(-down), value * math.exp(up), source)


def _learnt_range(correction: Correction, few: float = _LEARNT_RANGE) -> float:
    if correction.spread is None:
        return math.log(few)
    return _STANDARD_DEVIATIONS * max(correction.spread, _LEAST_SPREAD)


def _first_token(prefill: Rate, decode: Rate, prompt: int) -> Rate:
    """Prompt, one step, and the way through the door; nobody waits before it."""

    def seconds(prompts: float, steps: float, door: float) -> float:
        return prompt / prompts + (1 / steps if steps else 0.0) + door

    door = constants.DOOR_SECONDS
    return Rate(
        seconds(prefill.value, decode.value, door.value),
        seconds(prefill.high, decode.high, door.low),
        seconds(prefill.low, decode.low, door.high),
        "prompt / prefill rate + one step + door and engine's HTTP; without a queue",
    )


def _load(job: Job, target: Target, memory: MemoryForecast, correction: Correction) -> Rate:
    """Seconds from a cold disk to ready."""
    start = constants.START_SECONDS.get(job.workload.engine, constants.START_SECONDS["onnxruntime"])
    repacked = sum(term.size_bytes for term in memory.terms if term.name == "repacked weights")
    on_cards = job.traffic.stored_bytes * sum(part.share for part in job.parts if part.pool.kind == "gpu")

    is_mapped = job.workload.engine == "llama.cpp"
    merges = merge_count(job.shape) if is_mapped else 0

    def seconds(speed: int) -> float:
        """With every constant at its slow end (-1), as it is (0), or at its fast end (1)."""
        found = at(start, -speed) + job.traffic.stored_bytes / at(target.disk_bandwidth, speed)
        found += repacked / at(constants.REPACK_BYTES_PER_SECOND, speed) + merges * at(constants.MERGE_SECONDS, -speed)
        if is_mapped:
            found += job.traffic.stored_bytes / at(constants.MAPPED_BYTES_PER_SECOND, speed)
        return found + (on_cards / at(job.link, speed) if job.link else 0.0)

    low, best, high = (seconds(speed) for speed in (1, 0, -1))
    source = f"start {start.value:g} s + file / cold read of the disk"
    if is_mapped:
        mapped, merge = constants.MAPPED_BYTES_PER_SECOND, constants.MERGE_SECONDS
        source += (
            f" + file / {mapped.value / 1e9:g} GB/s of mapped pages + {merges:,} merges x {merge.value * 1e6:g} us"
        )
    source += " + rearranging + copy to the cards"
    if correction.pairs:
        reach = math.exp(_learnt_range(correction, _LEARNT_LOAD_RANGE))
        best *= correction.factor
        low, high = best / reach, best * reach
        source += f", corrected by {correction.factor:.2f} from {correction.pairs} loads"
    return Rate(best, low, high, source)

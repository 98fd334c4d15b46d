"""How long one step of a model takes on the pools that it is spread over. Pure; `planning.speed` makes rates of it.

A step reads every weight that it needs once, and the keys and values of each of its sequences. On an accelerator the
time is that reading, slowed by what unpacking costs; each further sequence adds its arithmetic. On a processor a part
of the arithmetic comes on top of reading (`undercroft.planning.processor_steps`). Layers on several pools run one after
the other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

from undercroft.catalog.shapes import ModelShape
from undercroft.planning import speed_constants as constants
from undercroft.planning.forecasts import Workload
from undercroft.planning.processor_steps import Rates, StepWork, prompt_attention, step_attention, step_time
from undercroft.planning.step_terms import StepTerms
from undercroft.planning.targets import Pool, Rate, Target
from undercroft.planning.traffic import (
    NO_LOAD,
    Load,
    Traffic,
    attention_operations,
    distinct_experts_share,
    efficiency_of,
    traffic_of,
)

_RATE_NAMES: dict[str, tuple[str, ...]] = {
    "llama.cpp": ("bf16", "fp16", "int8", "fp32"),
    "onnxruntime": ("fp16", "bf16", "fp32", "int8"),
}
_NARROWER = (("fp8", 2), ("fp4", 4))
_WEAK_RATE = Rate(5e10, 1e10, 2e11, "assumption: nothing is known of its arithmetic")


@dataclass(frozen=True, slots=True)
class Levels:
    """Which end of its range each constant takes: -1 the slow one, 0 the best figure, 1 the fast one.

    Args:
        bandwidth: Of memory.
        arithmetic: Of all kinds.
        overhead: Of layers, sampling and the server's loop.
        network: How one network differs from another on the same processor.
    """

    bandwidth: int = 0
    arithmetic: int = 0
    overhead: int = 0
    network: int = 0


BEST = Levels()


@dataclass(frozen=True, slots=True)
class Part:
    """Layers on one pool.

    Args:
        pool: Where.
        share: Of the layers; 1 is all.
        has_output: The output layer is here.
        ways: Cards that share each layer (tensor parallel); 1 for none.
        threads: Of a processor, that compute; 0 is not known.
    """

    pool: Pool
    share: float
    has_output: bool
    ways: int = 1
    threads: int = 0


class Job(NamedTuple):
    """A model with its workload, placed.

    Args:
        shape: Of the network.
        workload: As asked.
        traffic: What its steps read.
        parts: In the order in which a token passes them.
        link: Between host and accelerators; None for none.
    """

    shape: ModelShape
    workload: Workload
    traffic: Traffic
    parts: tuple[Part, ...]
    link: Rate | None = None


def job_of(shape: ModelShape, workload: Workload, target: Target, gpu_layers: int) -> Job:
    """Places a model.

    Args:
        shape: Of the network.
        workload: How it is run.
        target: Where.
        gpu_layers: Layers on accelerators, as the memory forecast decided; counts the output layer as one more.
    """
    traffic = traffic_of(shape, workload.quantization, workload.engine)
    parts = _placed(shape, workload.engine, target, gpu_layers)
    return Job(shape, workload, traffic, parts, target.link_bandwidth)


def _placed(shape: ModelShape, engine: str, target: Target, gpu_layers: int) -> tuple[Part, ...]:
    pools = target.accelerators
    if not pools or gpu_layers == 0:
        return (Part(target.host, 1.0, has_output=True, threads=target.threads),)
    if engine == "vllm":
        return (Part(pools[0], 1.0, has_output=True, ways=len(pools)),)
    # The output layer is the last of them, so it is on a card whenever anything is.
    on_cards = min(gpu_layers - 1, shape.layers) / shape.layers
    cards = tuple(
        Part(pool, on_cards / len(pools), has_output=index == len(pools) - 1) for index, pool in enumerate(pools)
    )
    if on_cards == 1.0:
        return cards
    return (Part(target.host, 1.0 - on_cards, has_output=False, threads=target.threads), *cards)


def at(rate: Rate, level: int) -> float:
    """The figure at a level of its range."""
    return rate.value if level == 0 else rate.low if level < 0 else rate.high


def decode_seconds(job: Job, sequences: int, context_tokens: float, levels: Levels = BEST) -> float:
    """Seconds of one step that gives each sequence one token; see `decode_terms`."""
    if len(job.parts) > 1:
        return decode_terms(job, sequences, context_tokens, levels).total
    return _part_terms(job, job.parts[0], sequences, context_tokens, levels).total + _once(job, sequences, levels)


def decode_terms(job: Job, sequences: int, context_tokens: float, levels: Levels = BEST) -> StepTerms:
    """Seconds of one step that gives each sequence one token, term by term.

    Args:
        job: What runs where.
        sequences: Computed together.
        context_tokens: Present in the cache of each.
        levels: Of the constants.
    """
    parts = [_part_terms(job, part, sequences, context_tokens, levels) for part in job.parts]
    reading, arithmetic, attention, overhead = map(sum, zip(*parts, strict=True))
    return StepTerms(reading, arithmetic, attention, overhead + _once(job, sequences, levels))


def _once(job: Job, sequences: int, levels: Levels) -> float:
    """Seconds of a step that are the same wherever its layers lie: sampling, and the server's loop."""
    sampling = at(constants.SAMPLING_SECONDS_PER_TOKEN, -levels.overhead) * job.shape.vocabulary * sequences
    return sampling + at(constants.STEP_SECONDS, -levels.overhead)


def _part_terms(job: Job, part: Part, sequences: int, context_tokens: float, levels: Levels) -> StepTerms:
    cache_bytes = job.traffic.cache.read_bytes(job.workload.cache_type, context_tokens) * sequences * part.share
    overhead = job.shape.layers * part.share * at(layer_overhead(part.pool), -levels.overhead)
    read, reach = read_load(job, part, sequences), bandwidth(part, levels)
    if part.pool.kind == "cpu":
        attention = step_attention(job.shape, context_tokens) * sequences * part.share
        rates = Rates(reach, part.threads * constants.CORE_BANDWIDTH, processor_rate(part.pool, levels))
        took = step_time(StepWork(read, computed_load(job, part), sequences, cache_bytes, attention), rates)
        slower = at(constants.NETWORK_SPREAD, -levels.network)
        more = processor_overhead(job.shape, part, sequences, levels)
        return StepTerms(took.reading * slower, took.arithmetic * slower, took.attention * slower, more * slower)
    slowed = (read.size_bytes + read.unpacking_bytes * shortfall_scale(part.pool, levels)) / reach
    further = 0.0
    if sequences > 1:
        further = (sequences - 1) * 2.0 * computed_load(job, part).elements / batch_rate(job, part, levels)
    if part.ways > 1:
        overhead += 2 * job.shape.layers * at(constants.ALL_REDUCE_SECONDS, -levels.overhead)
    return StepTerms(slowed, further, cache_bytes / reach, overhead)


def processor_overhead(shape: ModelShape, part: Part, sequences: int, levels: Levels) -> float:
    """Seconds of a step on a processor beside reading, arithmetic and attention.

    Args:
        shape: Of the network.
        part: The processor's.
        sequences: Computed together.
        levels: Of the constants.
    """
    rate = layer_overhead(part.pool)
    more = constants.WIDTH_SECONDS * shape.width + constants.SEQUENCE_SECONDS * (sequences - 1)
    if shape.experts is not None:
        more += constants.EXPERT_SECONDS * shape.experts.used * sequences
    return shape.layers * part.share * (rate.value + more) * at(rate, -levels.overhead) / rate.value


def prompt_seconds(job: Job, prompt_tokens: int, levels: Levels = BEST) -> float:
    """Seconds to compute a prompt, in pieces, without its first token.

    Args:
        job: What runs where.
        prompt_tokens: Its length.
        levels: Of the constants.
    """
    piece = max(1, min(job.workload.micro_batch_tokens, prompt_tokens))
    if job.shape.is_encoder or job.workload.is_embedding:
        piece = prompt_tokens
    return sum(_prompt_part_seconds(job, part, prompt_tokens, piece, levels) for part in job.parts)


def _prompt_part_seconds(job: Job, part: Part, tokens: int, piece: int, levels: Levels) -> float:
    pieces = -(-tokens // piece)
    overhead = pieces * job.shape.layers * part.share * at(layer_overhead(part.pool), -levels.overhead)
    reading = read_load(job, part, piece).size_bytes / bandwidth(part, levels) * pieces
    computed = computed_load(job, part, with_output=False)
    if part.pool.kind == "cpu":
        operations = tokens * computed.prompt_operations + prompt_attention(job.shape, tokens) * part.share
        return overhead + max(operations / processor_rate(part.pool, levels), reading)
    operations = 2.0 * tokens * computed.elements + attention_operations(job.shape, tokens) * part.share
    return overhead + max(operations / prompt_rate(job, part, levels), reading)


def read_load(job: Job, part: Part, sequences: int) -> Load:
    """What a step over several sequences reads on one part; of the experts those that are expected to be hit."""
    if job.shape.experts is None and part.share == 1.0 and part.has_output:
        return job.traffic.dense_load
    found = NO_LOAD.plus(job.traffic.block_load, part.share)
    if job.shape.experts is not None:
        found = found.plus(job.traffic.expert_load, part.share * distinct_experts_share(job.shape, sequences))
    return found.plus(job.traffic.output_load, 1.0) if part.has_output else found


def computed_load(job: Job, part: Part, *, with_output: bool = True) -> Load:
    """What one token is multiplied with on one part."""
    experts = job.shape.experts
    if experts is None and part.share == 1.0:
        return job.traffic.dense_load if part.has_output and with_output else job.traffic.block_load
    found = NO_LOAD.plus(job.traffic.block_load, part.share)
    if experts is not None:
        found = found.plus(job.traffic.expert_load, part.share * experts.used / experts.count)
    return found.plus(job.traffic.output_load, 1.0) if part.has_output and with_output else found


def bandwidth(part: Part, levels: Levels) -> float:
    """Bytes a second of a part; of several cards that share layers, of all together."""
    own = at(part.pool.bandwidth, levels.bandwidth)
    return own if part.ways == 1 else own * part.ways * constants.TENSOR_PARALLEL_SHARE.value


def layer_overhead(pool: Pool) -> Rate:
    """Seconds of a layer beside reading and arithmetic."""
    if pool.kind == "cpu":
        return constants.LAYER_OVERHEAD["cpu", ""]
    if (pool.kind, pool.vendor) == ("gpu", "nvidia") and pool.bandwidth.value >= constants.STACKED_MEMORY_BANDWIDTH:
        return constants.STACKED_MEMORY_OVERHEAD
    return constants.LAYER_OVERHEAD.get((pool.kind, pool.vendor), constants.OTHER_LAYER_OVERHEAD)


def unpacking(pool: Pool, type_name: str, levels: Levels = BEST) -> float:
    """Share of the bandwidth that is left when a type is unpacked on an accelerator; 1 is all of it."""
    return 1.0 / (1.0 + (1.0 / efficiency_of(type_name) - 1.0) * shortfall_scale(pool, levels))


def shortfall_scale(pool: Pool, levels: Levels = BEST) -> float:
    """How much dearer unpacking is than on the device of the table: with less arithmetic for each byte, more."""
    spread = at(constants.SHORTFALL_SPREAD, -levels.arithmetic)
    rate = pool.compute.get("fp32")
    if rate is None or pool.bandwidth.value <= 0:
        return spread
    balance = rate.value / pool.bandwidth.value
    scale = min(constants.MOST_SHORTFALL, max(constants.LEAST_SHORTFALL, constants.REFERENCE_BALANCE / balance))
    return scale * spread


def processor_rate(pool: Pool, levels: Levels) -> float:
    """FP32 operations a second that a processor's arithmetic is counted in."""
    rate = pool.compute.get("fp32", _WEAK_RATE)
    if rate.low < rate.value < rate.high:
        return at(rate, levels.arithmetic)
    slow, fast = constants.PROCESSOR_SPREAD
    return rate.value * (slow, 1.0, fast)[levels.arithmetic + 1]


def tensor_rate(job: Job, pool: Pool) -> tuple[str, Rate]:
    """Dtype and dense rate that an engine multiplies prompts in."""
    names: tuple[str, ...] = _RATE_NAMES.get(job.workload.engine, _RATE_NAMES["llama.cpp"])
    if job.workload.engine == "vllm" and job.traffic.main_type in ("FP8", "INT8"):
        names = (job.traffic.main_type.lower(), *names)
    found = next((name for name in names if name in pool.compute), "")
    if found in ("", "fp32") and (derived := _from_narrower(pool)) is not None:
        return "fp16", derived
    return (found, pool.compute[found]) if found else next(iter(pool.compute.items()), ("unknown", _WEAK_RATE))


def _from_narrower(pool: Pool) -> Rate | None:
    """A 16-bit rate where a maker names those of 8 or 4 bits alone: each halving of the width doubles the rate."""
    for name, times in _NARROWER:
        rate = pool.compute.get(name)
        if rate is not None:
            source = f"{rate.source}: {name} / {times}"
            return Rate(rate.value / times, rate.low / times, rate.high / times, source)
    return None


def prompt_rate(job: Job, part: Part, levels: Levels) -> float:
    """Operations a second of a long prompt on an accelerator."""
    engine = job.workload.engine
    _, rate = tensor_rate(job, part.pool)
    share = at(constants.PREFILL_SHARE.get(engine, constants.PREFILL_SHARE["onnxruntime"]), levels.arithmetic)
    knee = constants.PREFILL_KNEE.get(engine)
    reached = rate.value * share / (1.0 + rate.value / knee) if knee else rate.value * share
    return reached if part.ways == 1 else reached * part.ways * constants.TENSOR_PARALLEL_SHARE.value


def batch_rate(job: Job, part: Part, levels: Levels) -> float:
    """Operations a second of the further sequences of a step on an accelerator."""
    engine = job.workload.engine
    share = constants.BATCH_SHARE.get(engine, constants.BATCH_SHARE["onnxruntime"])
    best = levels if levels.arithmetic == 0 else replace(levels, arithmetic=0)
    return prompt_rate(job, part, best) * at(share, levels.arithmetic)

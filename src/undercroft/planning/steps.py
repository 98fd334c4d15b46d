"""How long one step of a model takes on the pools that it is spread over. Pure; `planning.speed` makes rates of it.

A step reads every weight that it needs once, and the keys and values of each of its sequences. On an accelerator the
time is that reading, slowed by what unpacking costs; each further sequence adds its arithmetic. On a processor reading
and arithmetic overlap, and a few small cores are bound by arithmetic. Layers on several pools run one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from undercroft.catalog.shapes import ModelShape
from undercroft.planning import speed_constants as constants
from undercroft.planning.forecasts import Workload
from undercroft.planning.targets import Pool, Rate, Target
from undercroft.planning.traffic import (
    Matrices,
    Traffic,
    attention_operations,
    cache_read_bytes,
    distinct_experts_share,
    traffic_of,
)

_OVERLAP = (
    3.0  # exponent of the mean that joins reading and arithmetic of a processor: 1 adds, infinity takes the larger
)
_RATE_NAMES: dict[str, tuple[str, ...]] = {
    "llama.cpp": ("bf16", "fp16", "int8", "fp32"),
    "onnxruntime": ("fp16", "bf16", "fp32", "int8"),
}
_WEAK_RATE = Rate(5e10, 1e10, 2e11, "assumption: nothing is known of its arithmetic")


@dataclass(frozen=True, slots=True)
class Levels:
    """Which end of its range each constant takes: -1 the slow one, 0 the best figure, 1 the fast one."""

    bandwidth: int = 0
    arithmetic: int = 0
    overhead: int = 0


BEST = Levels()


@dataclass(frozen=True, slots=True)
class Part:
    """Layers on one pool.

    Args:
        pool: Where.
        share: Of the layers; 1 is all.
        has_output: The output layer is here.
        ways: Cards that share each layer (tensor parallel); 1 for none.
    """

    pool: Pool
    share: float
    has_output: bool
    ways: int = 1


@dataclass(frozen=True, slots=True)
class Job:
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
        return (Part(target.host, 1.0, has_output=True),)
    if engine == "vllm":
        return (Part(pools[0], 1.0, has_output=True, ways=len(pools)),)
    # The output layer is the last of them, so it is on a card whenever anything is.
    on_cards = min(gpu_layers - 1, shape.layers) / shape.layers
    cards = tuple(
        Part(pool, on_cards / len(pools), has_output=index == len(pools) - 1) for index, pool in enumerate(pools)
    )
    return cards if on_cards == 1.0 else (Part(target.host, 1.0 - on_cards, has_output=False), *cards)


def at(rate: Rate, level: int) -> float:
    """The figure at a level of its range."""
    return (rate.low, rate.value, rate.high)[level + 1]


def decode_seconds(job: Job, sequences: int, context_tokens: float, levels: Levels = BEST) -> float:
    """Seconds of one step that gives each sequence one token.

    Args:
        job: What runs where.
        sequences: Computed together.
        context_tokens: Present in the cache of each.
        levels: Of the constants.
    """
    cache_bytes = cache_read_bytes(job.shape, job.workload.cache_type, context_tokens) * sequences
    total = sum(_part_seconds(job, part, sequences, cache_bytes, levels) for part in job.parts)
    sampling = at(constants.SAMPLING_SECONDS_PER_TOKEN, -levels.overhead) * job.shape.vocabulary * sequences
    return total + sampling + at(constants.STEP_SECONDS, -levels.overhead)


def _part_seconds(job: Job, part: Part, sequences: int, cache_bytes: float, levels: Levels) -> float:
    overhead = job.shape.layers * part.share * at(layer_overhead(part.pool), -levels.overhead)
    read = read_matrices(job, part, sequences)
    cache = cache_bytes * part.share / bandwidth(part, levels)
    if part.pool.kind == "cpu":
        reading = sum(m.size_bytes for m in read) / bandwidth(part, levels) + cache
        elements = _computed(job, part)
        arithmetic = sequences * processor_seconds(part.pool, elements, 0, levels)
        return overhead + float((reading**_OVERLAP + arithmetic**_OVERLAP) ** (1 / _OVERLAP))
    slowed = sum(m.size_bytes / unpacking(part.pool, m.type_name, levels) for m in read) / bandwidth(part, levels)
    active = sum(m.elements for m in _computed(job, part))
    further = (sequences - 1) * 2.0 * active / batch_rate(job, part, levels)
    if part.ways > 1:
        overhead += 2 * job.shape.layers * at(constants.ALL_REDUCE_SECONDS, -levels.overhead)
    return overhead + slowed + cache + further


def prompt_seconds(job: Job, prompt_tokens: int, levels: Levels = BEST) -> float:
    """Seconds to compute a prompt, in pieces, without its first token.

    Args:
        job: What runs where.
        prompt_tokens: Its length.
        levels: Of the constants.
    """
    piece = max(1, min(job.workload.micro_batch_tokens, prompt_tokens))
    pieces = -(-prompt_tokens // piece)
    if job.shape.is_encoder or job.workload.is_embedding:
        piece, pieces = prompt_tokens, 1
    attention = attention_operations(job.shape, prompt_tokens)
    return sum(_prompt_part_seconds(job, part, prompt_tokens, piece, pieces, attention, levels) for part in job.parts)


def _prompt_part_seconds(
    job: Job, part: Part, tokens: int, piece: int, pieces: int, attention: float, levels: Levels
) -> float:
    overhead = pieces * job.shape.layers * part.share * at(layer_overhead(part.pool), -levels.overhead)
    blocks = _computed(job, replace(part, has_output=False))
    read = sum(m.size_bytes for m in read_matrices(job, part, piece)) / bandwidth(part, levels) * pieces
    if part.pool.kind == "cpu":
        arithmetic = tokens * processor_seconds(part.pool, blocks, 1, levels)
        arithmetic += attention * part.share / at(_processor_rate(part.pool), levels.arithmetic) * 2
        return overhead + max(arithmetic, read)
    operations = 2.0 * tokens * sum(m.elements for m in blocks) + attention * part.share
    return overhead + max(operations / prompt_rate(job, part, levels), read)


def read_matrices(job: Job, part: Part, sequences: int) -> list[Matrices]:
    """What a step over several sequences reads on one part; of the experts those that are expected to be hit."""
    share = distinct_experts_share(job.shape, sequences)
    found = _scaled(job.traffic.blocks, part.share)
    found += _scaled(job.traffic.experts, part.share * share)
    return found + (list(job.traffic.output) if part.has_output else [])


def _computed(job: Job, part: Part) -> list[Matrices]:
    """What one token is multiplied with on one part."""
    experts = job.shape.experts
    found = _scaled(job.traffic.blocks, part.share)
    if experts is not None:
        found += _scaled(job.traffic.experts, part.share * experts.used / experts.count)
    return found + (list(job.traffic.output) if part.has_output else [])


def _scaled(matrices: Sequence[Matrices], share: float) -> list[Matrices]:
    return [Matrices(m.type_name, round(m.size_bytes * share), round(m.elements * share)) for m in matrices]


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
    efficiency, _ = constants.READ_EFFICIENCY.get(type_name, constants.UNKNOWN_EFFICIENCY)
    shortfall = (1.0 / efficiency - 1.0) * shortfall_scale(pool) * at(constants.SHORTFALL_SPREAD, -levels.arithmetic)
    return 1.0 / (1.0 + shortfall)


def shortfall_scale(pool: Pool) -> float:
    """How much dearer unpacking is than on the device of the table: with less arithmetic for each byte, more."""
    rate = pool.compute.get("fp32")
    if rate is None or pool.bandwidth.value <= 0:
        return 1.0
    balance = rate.value / pool.bandwidth.value
    return min(constants.MOST_SHORTFALL, max(constants.LEAST_SHORTFALL, constants.REFERENCE_BALANCE / balance))


def processor_seconds(pool: Pool, matrices: Sequence[Matrices], column: int, levels: Levels) -> float:
    """Seconds of arithmetic for one token on a processor.

    Args:
        pool: The processor.
        matrices: That it multiplies with.
        column: 0 for a step of few sequences, 1 for a token of a long prompt.
        levels: Of the constants.
    """
    table = constants.PROCESSOR_OPERATIONS
    operations = sum(
        m.elements * table.get(m.type_name, constants.OTHER_PROCESSOR_OPERATIONS)[column] for m in matrices
    )
    slow, fast = constants.PROCESSOR_SPREAD
    spread = (slow, 1.0, fast)[levels.arithmetic + 1]
    return operations / (_processor_rate(pool).value * spread)


def _processor_rate(pool: Pool) -> Rate:
    return pool.compute.get("fp32", _WEAK_RATE)


def tensor_rate(job: Job, pool: Pool) -> tuple[str, Rate]:
    """Dtype and dense rate that an engine multiplies prompts in."""
    names: tuple[str, ...] = _RATE_NAMES.get(job.workload.engine, _RATE_NAMES["llama.cpp"])
    if job.workload.engine == "vllm" and job.traffic.main_type in ("FP8", "INT8"):
        names = (job.traffic.main_type.lower(), *names)
    for name in names:
        if name in pool.compute:
            return name, pool.compute[name]
    return next(iter(pool.compute.items()), ("unknown", _WEAK_RATE))


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
    return prompt_rate(job, part, replace(levels, arithmetic=0)) * at(share, levels.arithmetic)

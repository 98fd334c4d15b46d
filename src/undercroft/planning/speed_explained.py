"""The speed forecast term by term, with its sources. Pure; sentences for people."""

from __future__ import annotations

from undercroft.core.units import format_bytes, format_duration
from undercroft.planning import speed_constants as constants
from undercroft.planning.calibration import Correction
from undercroft.planning.step_terms import StepTerms
from undercroft.planning.steps import (
    BEST,
    Job,
    Part,
    bandwidth,
    batch_rate,
    computed_load,
    decode_seconds,
    decode_terms,
    layer_overhead,
    processor_overhead,
    processor_rate,
    prompt_rate,
    prompt_seconds,
    read_load,
    shortfall_scale,
    tensor_rate,
    unpacking,
)
from undercroft.planning.targets import Rate
from undercroft.planning.traffic import cache_read_bytes, distinct_experts_share


def explain(
    job: Job, context_tokens: float, prompt_tokens: int, load: Rate, learnt: tuple[Correction, Correction]
) -> tuple[str, ...]:
    """Line by line how a forecast came about.

    Args:
        job: What runs where.
        context_tokens: Present in the cache.
        prompt_tokens: Of a typical request.
        load: As forecast.
        learnt: Of decode and prefill.
    """
    lines: list[str] = []
    for part in job.parts:
        lines += _reading(job, part)
    if not (job.shape.is_encoder or job.workload.is_embedding):
        lines += _decoding(job, context_tokens)
    lines += _prompt(job, prompt_tokens)
    lines.append(f"load: {_time(load.value)} = {load.source}")
    lines += [_learning(name, correction) for name, correction in zip(("decode", "prefill"), learnt, strict=True)]
    return tuple(lines)


def _reading(job: Job, part: Part) -> list[str]:
    pool = part.pool
    where = f"{pool.name}, {part.share:.0%} of the layers" + (f" on {part.ways} cards" if part.ways > 1 else "")
    total = read_load(job, part, 1).size_bytes
    read = {m.type_name for m in (*job.traffic.blocks, *job.traffic.experts, *job.traffic.output)} - {"F32"}
    types = ", ".join(sorted(read))
    not_read = job.traffic.stored_bytes - sum(m.size_bytes for m in (*job.traffic.blocks, *job.traffic.experts))
    not_read -= sum(m.size_bytes for m in job.traffic.output)
    lines = [
        f"{where}: reads {format_bytes(total)} of weights a step ({types})",
        f"  bandwidth {bandwidth(part, BEST) / 1e9:,.1f} GB/s: {pool.bandwidth.source}",
    ]
    if not_read > 0 and part.has_output:
        lines.append(f"  {format_bytes(not_read)} of embedding rows are not read: a token needs one row")
    if job.shape.experts is not None:
        experts = job.shape.experts
        lines.append(f"  {experts.used} of {experts.count} experts a token; {_distinct(job)}")
    if pool.kind == "cpu":
        seconds = computed_load(job, part).alone_operations / processor_rate(pool, BEST)
        lines.append(f"  arithmetic of a token {_time(seconds)} beside reading: {constants.PROCESSOR_SOURCE}")
    else:
        lines += [_unpacking(part, name) for name in sorted(read)]
    overhead = layer_overhead(pool)
    layers = job.shape.layers * part.share
    each = overhead.value if pool.kind != "cpu" else processor_overhead(job.shape, part, 1, BEST) / layers
    lines.append(f"  {layers:.0f} layers x {each * 1e6:.0f} us beside reading: {overhead.source}")
    return lines


def _distinct(job: Job) -> str:
    slots = job.workload.slots
    share = distinct_experts_share(job.shape, slots)
    return f"{slots} sequences are expected to read {share:.0%} of them"


def _unpacking(part: Part, type_name: str) -> str:
    efficiency, source = constants.READ_EFFICIENCY.get(type_name, constants.UNKNOWN_EFFICIENCY)
    here = unpacking(part.pool, type_name)
    return (
        f"  unpacking {type_name}: {efficiency:.2f} of F16's rate ({source}), {here:.2f} here: "
        f"shortfall x {shortfall_scale(part.pool):.2f} for its operations a byte"
    )


def _decoding(job: Job, context_tokens: float) -> list[str]:
    cache = cache_read_bytes(job.shape, job.workload.cache_type, context_tokens)
    alone = decode_terms(job, 1, context_tokens)
    lines = [
        f"key-value cache of {context_tokens:,.0f} tokens in {job.workload.cache_type}: {format_bytes(cache)} a step",
        f"sampling over {job.shape.vocabulary:,} tokens: "
        f"{_time(job.shape.vocabulary * constants.SAMPLING_SECONDS_PER_TOKEN.value)}; "
        f"server loop {_time(constants.STEP_SECONDS.value)}",
        f"one user alone: {_time(alone.total)} a token; {_made_of(alone)}",
    ]
    if job.workload.slots > 1:
        slots = job.workload.slots
        together = decode_terms(job, slots, context_tokens)
        lines.append(f"{slots} users at once: {_time(together.total)} a step, a token for each; {_made_of(together)}")
        last = job.parts[-1]
        if last.pool.kind != "cpu":
            share = constants.BATCH_SHARE.get(job.workload.engine, constants.BATCH_SHARE["onnxruntime"])
            rate = batch_rate(job, last, BEST) / 1e12
            lines.append(f"  each further one computes at {rate:,.1f} TFLOP/s: {share.source}")
    full = job.workload.context_tokens
    if full > context_tokens:
        lines.append(f"with the context of {full:,} tokens full: {_time(decode_seconds(job, 1, full))} a token")
    return lines


def _made_of(terms: StepTerms) -> str:
    return (
        f"reading {_time(terms.reading)}, arithmetic {_time(terms.arithmetic)}, "
        f"attention {_time(terms.attention)}, overhead {_time(terms.overhead)}"
    )


def _prompt(job: Job, prompt_tokens: int) -> list[str]:
    lines = [f"prompt of {prompt_tokens:,} tokens: {_time(prompt_seconds(job, prompt_tokens))}"]
    for part in job.parts:
        if part.pool.kind == "cpu":
            lines.append(f"  on {part.pool.name}: {constants.PROCESSOR_SOURCE}")
            continue
        dtype, rate = tensor_rate(job, part.pool)
        share = constants.PREFILL_SHARE.get(job.workload.engine, constants.PREFILL_SHARE["onnxruntime"])
        lines.append(
            f"  on {part.pool.name}: {prompt_rate(job, part, BEST) / 1e12:,.1f} TFLOP/s of {rate.value / 1e12:,.1f} "
            f"in {dtype} ({rate.source}): {share.source}"
        )
    return lines


def _learning(name: str, correction: Correction) -> str:
    if not correction.pairs:
        return f"{name}: {correction.level}"
    words = f"{name}: x {correction.factor:.2f}, learnt from {correction.pairs} runs: {correction.level}"
    if correction.terms is None or name != "decode":
        return words
    of = correction.terms
    return (
        f"{words}; seconds of reading x {of.reading:.2f}, arithmetic x {of.arithmetic:.2f}, "
        f"attention x {of.attention:.2f}, overhead x {of.overhead:.2f}"
    )


def _time(seconds: float) -> str:
    return (
        f"{seconds * 1e6:.0f} us"
        if seconds < 0.001
        else (f"{seconds * 1e3:.1f} ms" if seconds < 0.1 else format_duration(seconds))
    )

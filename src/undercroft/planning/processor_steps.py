"""How long a step takes on a processor: reading, arithmetic that reading does not hide, attention. Pure."""

from __future__ import annotations

from typing import NamedTuple

from undercroft.catalog.shapes import ModelShape
from undercroft.planning.speed_constants import PROMPT_COLUMNS
from undercroft.planning.traffic import Load, attention_pairs, prompt_attention_pairs

# FP32 operations of the assumed peak (see `speed_constants`) for a query head that meets a key: once, and for each
# multiply-add with the key and the value. Of a step, beside reading the cache: fitted in the engine with answers after
# 2,048 tokens; of a prompt, whose masked keys are passed over, with prompts of 512 and 2,048 (2026-11-21).
_STEP_PAIR, _STEP_PRODUCT = 3650.0, 18.5
_PROMPT_PAIR, _PROMPT_PRODUCT = 500.0, 7.2


class StepWork(NamedTuple):
    """What one step asks of a processor.

    Args:
        read: Weights that are read, of all sequences together.
        computed: Weights that each token is multiplied with.
        sequences: Tokens; one each.
        cache_bytes: Of keys and values, all sequences together.
        attention: Operations over them, see `step_attention`.
    """

    read: Load
    computed: Load
    sequences: int
    cache_bytes: float
    attention: float


def step_attention(shape: ModelShape, context_tokens: float) -> float:
    """Operations of attention in a step of one sequence.

    Args:
        shape: Of the network.
        context_tokens: Present in the cache.
    """
    width = shape.head_dim + shape.value_head_dim
    return attention_pairs(shape, context_tokens) * (_STEP_PAIR + _STEP_PRODUCT * width)


def prompt_attention(shape: ModelShape, prompt_tokens: int) -> float:
    """Operations of attention over a prompt.

    Args:
        shape: Of the network.
        prompt_tokens: Its length.
    """
    width = shape.head_dim + shape.value_head_dim
    return prompt_attention_pairs(shape, prompt_tokens) * (_PROMPT_PAIR + _PROMPT_PRODUCT * width)


class Rates(NamedTuple):
    """What a processor does in a second.

    Args:
        bandwidth: Bytes that memory delivers.
        core_bandwidth: Bytes that all cores together would read while they compute, if memory delivered as much; it
            never counts as less than the bandwidth.
        operations: FP32 operations that arithmetic is counted in.
    """

    bandwidth: float
    core_bandwidth: float
    operations: float


class StepTime(NamedTuple):
    """Seconds of a step by what takes them.

    Args:
        reading: Of weights.
        arithmetic: With weights, that reading does not hide.
        attention: With the cache: reading it, and arithmetic.
    """

    reading: float
    arithmetic: float
    attention: float


def step_time(work: StepWork, rates: Rates) -> StepTime:
    """Seconds of one step, without what a layer costs beside it.

    Args:
        work: Of the step.
        rates: Of the processor.
    """
    matrices = _seconds(work.read.size_bytes, _matrix_operations(work), rates)
    reading = work.read.size_bytes / rates.bandwidth
    return StepTime(reading, matrices - reading, _seconds(work.cache_bytes, work.attention, rates))


def _seconds(size_bytes: float, operations: float, rates: Rates) -> float:
    """A core reads and then computes; meanwhile others read, so that memory never delivers more than it can."""
    own = size_bytes / max(rates.bandwidth, rates.core_bandwidth) + operations / rates.operations
    return max(size_bytes / rates.bandwidth, own)


def _matrix_operations(work: StepWork) -> float:
    """Never less than for fewer sequences: from sixteen on the kernels of prompts are used."""
    computed, count = work.computed, work.sequences
    if count == 1:
        return computed.alone_operations
    if count >= PROMPT_COLUMNS:
        return max(computed.alone_operations, count * computed.prompt_operations)
    together = work.read.waiting_operations + count * computed.together_operations
    return max(computed.alone_operations, min(together, PROMPT_COLUMNS * computed.prompt_operations))

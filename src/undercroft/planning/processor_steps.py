"""How long a step takes on a processor: reading and arithmetic overlap; few columns have kernels of their own. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from undercroft.catalog.shapes import ModelShape
from undercroft.planning.speed_constants import PROMPT_COLUMNS
from undercroft.planning.traffic import Load, attention_pairs, prompt_attention_pairs

# Exponent of the mean that joins reading and arithmetic: 1 adds, infinity takes the larger.
_OVERLAP = 3.0
# FP32 operations of the assumed peak (see `speed_constants`) for a query head that meets a key: once, and for each
# multiply-add with the key and the value. Measured with ggml's flash attention on a core of an EPYC with AVX-512, heads
# of 64 to 256, 256 to 2,048 keys in F16, 2026-11-21: of a step, and of a prompt, whose masked keys it passes over.
_STEP_PAIR, _STEP_PRODUCT = 2100.0, 11.2
_PROMPT_PAIR, _PROMPT_PRODUCT = 500.0, 5.6
# Four rows at a time are not what a core's prefetching follows: operations that pass while a weight is waited for. By
# processor time of one thread with two and four sequences: 18 to 35 in F16, Q8_0 and Q5_0, 2026-11-21.
_TILED_WAITING = 26.0


@dataclass(frozen=True, slots=True)
class StepWork:
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


def step_seconds(work: StepWork, bandwidth: float, rate: float) -> float:
    """Seconds of one step, without what a layer costs beside it.

    Args:
        work: Of the step.
        bandwidth: Bytes a second.
        rate: FP32 operations a second that arithmetic is counted in.
    """
    matrices = _joined(work.read.size_bytes / bandwidth, _matrix_operations(work) / rate)
    return matrices + _joined(work.cache_bytes / bandwidth, work.attention / rate)


def _joined(reading: float, arithmetic: float) -> float:
    return float((reading**_OVERLAP + arithmetic**_OVERLAP) ** (1 / _OVERLAP))


def _matrix_operations(work: StepWork) -> float:
    """Never less than for fewer sequences: from sixteen on other kernels are cheaper than fifteen times the usual."""
    computed, count = work.computed, work.sequences
    if count == 1:
        return computed.alone_operations
    together = count * computed.together_operations + work.read.tiled_elements * _TILED_WAITING
    as_prompt = max(count, PROMPT_COLUMNS) * computed.prompt_operations
    return max(computed.alone_operations, min(together, as_prompt))

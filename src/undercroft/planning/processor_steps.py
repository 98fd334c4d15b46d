"""How long a step takes on a processor: reading and arithmetic overlap; few columns have kernels of their own. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from undercroft.planning.speed_constants import PROMPT_COLUMNS
from undercroft.planning.traffic import Load

# Exponent of the mean that joins reading and arithmetic: 1 adds, infinity takes the larger.
_OVERLAP = 3.0
# FP32 operations of the assumed peak (see `speed_constants`) for a multiply-add of attention over the cache.
_ATTENTION_OF_STEP = 7.4
# The same for each operation of attention over a prompt; a multiply-add is two.
ATTENTION_OF_PROMPT = 2.0
# Four rows at a time are not what a core's prefetching follows: operations that pass while a weight is waited for.
_TILED_WAITING = 33.0


@dataclass(frozen=True, slots=True)
class StepWork:
    """What one step asks of a processor.

    Args:
        read: Weights that are read, of all sequences together.
        computed: Weights that each token is multiplied with.
        sequences: Tokens; one each.
        cache_bytes: Of keys and values, all sequences together.
        attention: Multiply-adds over them.
    """

    read: Load
    computed: Load
    sequences: int
    cache_bytes: float
    attention: float


def step_seconds(work: StepWork, bandwidth: float, rate: float) -> float:
    """Seconds of one step, without what a layer costs beside it.

    Args:
        work: Of the step.
        bandwidth: Bytes a second.
        rate: FP32 operations a second that arithmetic is counted in.
    """
    reading = (work.read.size_bytes + work.cache_bytes) / bandwidth
    arithmetic = (_matrix_operations(work) + work.attention * _ATTENTION_OF_STEP) / rate
    return float((reading**_OVERLAP + arithmetic**_OVERLAP) ** (1 / _OVERLAP))


def _matrix_operations(work: StepWork) -> float:
    """Never less than for fewer sequences: from sixteen on other kernels are cheaper than fifteen times the usual."""
    computed, count = work.computed, work.sequences
    if count == 1:
        return computed.alone_operations
    together = count * computed.together_operations + work.read.tiled_elements * _TILED_WAITING
    as_prompt = max(count, PROMPT_COLUMNS) * computed.prompt_operations
    return max(computed.alone_operations, min(together, as_prompt))

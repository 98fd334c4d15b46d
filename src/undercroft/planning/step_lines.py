"""Seconds of a decode step over what it reads, on one kind of accelerators: a line. Pure.

Of one model in several quantizations only what is read differs, so all that is the same is computed once.
"""

from __future__ import annotations

from typing import NamedTuple

from undercroft.planning.steps import BEST, Job, bandwidth, decode_seconds, shortfall_scale
from undercroft.planning.traffic import Traffic, distinct_experts_share


class StepLine(NamedTuple):
    """The line of one model on one accelerator, or on several that share each layer.

    Args:
        fixed: Seconds beside reading the weights.
        reach: Bytes a second.
        scale: How much dearer unpacking is than on the device of the table.
        experts_share: Of the experts, read in a step; 0 for a dense network.
    """

    fixed: float
    reach: float
    scale: float
    experts_share: float

    def seconds(self, traffic: Traffic) -> float:
        """Of a step of the network in a quantization that is multiplied in the same type of numbers."""
        return self.fixed + _read_bytes(traffic, self.scale, self.experts_share) / self.reach


def step_line(job: Job, sequences: int, context_tokens: float) -> StepLine:
    """The line that a job lies on.

    Args:
        job: Whole on one part that is no processor.
        sequences: Computed together.
        context_tokens: Present in the cache of each.
    """
    (part,) = job.parts
    experts, reach, scale = (
        distinct_experts_share(job.shape, sequences),
        bandwidth(part, BEST),
        shortfall_scale(part.pool),
    )
    reading = _read_bytes(job.traffic, scale, experts) / reach
    return StepLine(decode_seconds(job, sequences, context_tokens) - reading, reach, scale, experts)


def _read_bytes(traffic: Traffic, scale: float, experts_share: float) -> float:
    """What takes as long as reading so much: the weights of a step, and what unpacking them costs."""
    read = traffic.dense_load.size_bytes + traffic.dense_load.unpacking_bytes * scale
    if experts_share:
        experts = traffic.expert_load
        read += experts_share * (experts.size_bytes + experts.unpacking_bytes * scale)
    return read

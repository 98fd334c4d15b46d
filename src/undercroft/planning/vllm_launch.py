"""What a plan decides of how vLLM is started: accelerators, its share of each, or the cache on the host. Pure.

vLLM takes its share at the start and keeps it, so the share is what the workload needs and no more: what is left is
for other models. On a host it has no share, and is told the bytes of its cache.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from undercroft.catalog.shapes import ModelShape
from undercroft.core.errors import InvalidError
from undercroft.planning.forecasts import Workload
from undercroft.planning.memory_vllm import UTILIZATION, cache_bytes, card_bytes, is_large, sharing
from undercroft.planning.targets import Target

# Tokens of one page of the cache on a processor, and of a step there. Seen in a log of vLLM 0.32: block_size="128".
_HOST_PAGE_TOKENS = 128
_HOST_STEP_TOKENS = 2048
_RATIO_STEP = 0.01
_UNKNOWN_CACHE_BYTES = 1024**3


@dataclass(frozen=True, slots=True)
class VllmLaunch:
    """How it is started.

    Args:
        gpus: Accelerators that share every layer; 0 is the host.
        gpu_memory_ratio: Share of each, 0 to 1; None on the host.
        cache_bytes: Of keys and values on the host; None on accelerators, where the share decides.
    """

    gpus: int
    gpu_memory_ratio: float | None
    cache_bytes: int | None


def vllm_launch(
    model: ModelShape, workload: Workload, target: Target, *, gpus: int = 0, gpu_memory_ratio: float = 0.0
) -> VllmLaunch:
    """Decides it.

    Args:
        model: Its shape.
        workload: How it is to be run.
        target: Where.
        gpus: Accelerators that were asked for; 0 takes as many as the weights and cache need.
        gpu_memory_ratio: Share that was asked for; 0 takes what the workload needs.

    Raises:
        InvalidError: ``bad-gpus``: there are not so many, or they do not divide the model's heads.
    """
    here = len(target.accelerators)
    if gpus > here or (gpus and model.heads % gpus):
        why = f"this machine has {here}" if gpus > here else f"the model's {model.heads} heads are not divided by that"
        raise InvalidError("bad-gpus", f"expected GPUs that share every layer, got {gpus}: {why}", hint="--gpus 0")
    if here == 0:
        return VllmLaunch(0, None, _host_cache_bytes(model, workload))
    choices = [gpus] if gpus else [number for number in range(1, here + 1) if sharing(model, number) == number]
    ratios = {count: _ratio(model, workload, target, count) for count in choices}
    count = next((number for number in choices if ratios[number] <= UTILIZATION), choices[-1])
    return VllmLaunch(count, gpu_memory_ratio or min(UTILIZATION, ratios[count]), None)


def launch_without_shape(target: Target, *, gpus: int = 0, gpu_memory_ratio: float = 0.0) -> VllmLaunch:
    """For a model that vLLM may know and we do not: one accelerator as whole as vLLM takes it, or 1 GiB of cache.

    Args:
        target: Where.
        gpus: Accelerators that were asked for.
        gpu_memory_ratio: Share that was asked for.
    """
    if not target.accelerators:
        return VllmLaunch(0, None, _UNKNOWN_CACHE_BYTES)
    return VllmLaunch(gpus or 1, gpu_memory_ratio or UTILIZATION, None)


def _host_cache_bytes(model: ModelShape, workload: Workload) -> int:
    """Whole pages for each slot, and the one that vLLM keeps empty (``null_block`` in ``v1/core/block_pool.py``)."""
    pages = math.ceil(workload.context_tokens / _HOST_PAGE_TOKENS) * _HOST_PAGE_TOKENS
    whole = Workload(context_tokens=pages, slots=workload.slots, cache_type=workload.cache_type)
    empty = Workload(context_tokens=_HOST_PAGE_TOKENS, cache_type=workload.cache_type)
    return sum(cache_bytes(model, work, 1, _HOST_STEP_TOKENS) for work in (whole, empty))


def _ratio(model: ModelShape, workload: Workload, target: Target, count: int) -> float:
    """Of the smallest of the accelerators, rounded up to whole hundredths."""
    pools = target.accelerators[:count]
    need = card_bytes(model, workload, count, is_large=all(is_large(pool) for pool in pools))
    share = max((need + pool.context_bytes) / pool.total_bytes for pool in pools)
    return math.ceil(share / _RATIO_STEP) * _RATIO_STEP

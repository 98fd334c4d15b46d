"""Memory of a vLLM replica. Pure. Computed from vLLM's rules; it was not run on an accelerator.

vLLM takes a share of each accelerator at the start (``gpu_memory_utilization``) and gives the cache of keys and values
all that weights, activations and CUDA graphs leave of it. So it takes the same whatever it is asked, and the question
is how much of the cache a workload needs.

Source: ``vllm/v1/worker/gpu_worker.py`` (what is left for the cache), ``vllm/v1/kv_cache_interface.py`` (pages),
``vllm/config`` (defaults), 2026.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from undercroft.catalog.shapes import ModelShape, StoredTensor
from undercroft.core.errors import InvalidError
from undercroft.planning.forecasts import MemoryForecast, Term, Workload
from undercroft.planning.memory_cache import row_bytes
from undercroft.planning.targets import Pool, Target
from undercroft.planning.weight_groups import groups_of
from undercroft.planning.weights import ShapeKey

_MIB, _GIB = 1024**2, 1024**3
UTILIZATION = 0.92
_PAGE_TOKENS = 16
# Prompt tokens computed in one step and requests at the same time, by default: large cards get more of both.
_LARGE_CARD_BYTES = 70 * _GIB
_STEP_TOKENS, _STEP_TOKENS_LARGE = 2048, 8192
_REQUESTS, _REQUESTS_LARGE = 256, 1024
_VALUE_BYTES = 2
# Logits in single precision, and the sorted and the normalised copy that a sampler makes while vLLM measures its peak.
_SAMPLER_BYTES = 3 * 4
# Graphs of 35 to 67 batch sizes share one pool; vLLM's own log says 0.3 to 1 GiB for dense models of 7 to 70 billion.
_GRAPH_BYTES_PER_LAYER = 16 * _MIB
# Python, torch and the engine's two processes on the host; pinned buffers for transfers.
HOST_BYTES = 5 * _GIB
# The same where there is no accelerator. Seen: 1.27 and 1.31 GB private with a model of no size, vLLM 0.32.
_PROCESSOR_BYTES = 1_300_000_000

# Quantization → bits of a weight in a linear layer, with the scales and zeros of its groups.
LINEAR_BITS: dict[str, float] = {
    "F32": 32.0,
    "F16": 16.0,
    "BF16": 16.0,
    "FP8": 8.0,
    "INT8": 8.0,
    "AWQ": 4 + (16 + 4) / 128,
    "GPTQ": 4 + (16 + 4) / 128,
    "INT4": 4 + (16 + 4) / 128,
    "MXFP4": 4 + 8 / 32,
    "NVFP4": 4 + 8 / 16,
    # As compressed-tensors keeps them: no zero points, a scale for each group.
    "W4A16": 4 + 16 / 128,
    "W4A16_G64": 4 + 16 / 64,
    "W4A16_G32": 4 + 16 / 32,
    "W8A8": 8.0,
    "MXFP4A16": 4 + 8 / 32,
    "NVFP4A16": 4 + 8 / 16,
}
_ALIASES = {"": "BF16", "FP16": "F16", "FP32": "F32"}
# Never quantized: tables, the output layer, routers.
_KEPT = frozenset({"token_embd.weight", "output.weight", "position_embd.weight", "token_types.weight"})
_ROUTER = "ffn_gate_inp"

_RULES = "vllm/v1/worker/gpu_worker.py"
_PAGES = "vllm/v1/kv_cache_interface.py"
_ADAPTERS = "vllm/lora/layers"


@dataclass(frozen=True, slots=True)
class _Shard:
    """One accelerator's part.

    Args:
        count: Accelerators that share every layer.
        step_tokens: Prompt tokens of one step.
        requests: At the same time, at most.
    """

    count: int
    step_tokens: int
    requests: int


def forecast_vllm(model: ModelShape, workload: Workload, target: Target) -> MemoryForecast:
    """Every term of a replica's memory; on a target without accelerators vLLM runs on the host.

    Args:
        model: Its shape.
        workload: How it is to be run; ``gpu_layers`` is not asked: vLLM puts all layers on accelerators.
        target: Where.

    Raises:
        InvalidError: ``bad-workload`` or ``unknown-quantization``.
    """
    if min(workload.context_tokens, workload.slots) < 1:
        raise InvalidError(
            "bad-workload",
            f"expected at least 1 context token and slot, got {workload.context_tokens} and {workload.slots}",
        )
    bits = linear_bits(workload.quantization)
    pools = _sharing(model, target)
    shard = _shard(pools)
    terms: list[Term] = []
    for pool in pools:
        terms += _pool_terms(model, workload, pool, shard, bits)
    is_on_cards = pools[0].id != target.host.id
    program = HOST_BYTES if is_on_cards else _PROCESSOR_BYTES
    terms.append(Term("runtime", target.host.id, program, False, "Python, torch, its processes", _RULES))
    terms.append(Term("adapters", target.host.id, workload.adapters_bytes, False, "LoRA files, read whole", _ADAPTERS))
    return MemoryForecast(
        terms=tuple(term for term in terms if term.size_bytes > 0),
        gpu_layers=model.layers + 1 if is_on_cards else 0,
        most_bytes={pool.id: share_of(pool) for pool in pools} if is_on_cards and pools[0].kind == "gpu" else {},
    )


def share_of(pool: Pool) -> int:
    """Bytes of an accelerator that vLLM takes at most; where it is the host's memory, too, less what the host needs."""
    available = pool.available_bytes - (HOST_BYTES if pool.kind == "unified" else 0)
    return max(0, min(int(UTILIZATION * pool.total_bytes), available))


def is_large(pool: Pool) -> bool:
    """Whether vLLM computes more tokens and requests at a time on it."""
    return pool.total_bytes >= _LARGE_CARD_BYTES and pool.kind != "cpu"


def card_bytes(model: ModelShape, workload: Workload, count: int, *, is_large: bool) -> int:
    """Bytes that a workload needs on each of so many accelerators, without what the driver takes.

    Args:
        model: Its shape.
        workload: How it is to be run.
        count: Accelerators that share every layer.
        is_large: As `is_large` says of one.

    Raises:
        InvalidError: ``unknown-quantization``.
    """
    shard = _shard_of(count, is_large=is_large)
    weights = weight_bytes(model, linear_bits(workload.quantization)) // count
    cache = cache_bytes(model, workload, count, shard.step_tokens)
    graphs = _GRAPH_BYTES_PER_LAYER * model.layers
    return weights + cache + graphs + _compute_bytes(model, workload, shard) + adapter_bytes(model, workload, count)


def linear_bits(quantization: str) -> float:
    """Bits of a weight in a linear layer.

    Args:
        quantization: Key of `LINEAR_BITS` in any case; empty is half precision.

    Raises:
        InvalidError: ``unknown-quantization``.
    """
    name = quantization.strip().upper()
    found = LINEAR_BITS.get(_ALIASES.get(name, name))
    if found is None:
        raise InvalidError(
            "unknown-quantization",
            f"expected a quantization of vLLM, got {quantization[:40]!r}; known are {', '.join(LINEAR_BITS)}",
        )
    return found


def weight_bytes(model: ModelShape, bits: float) -> int:
    """Bytes of all weights on all accelerators together.

    Args:
        model: Its shape.
        bits: Of a weight in a linear layer, from `linear_bits`.
    """
    return _weight_bytes(ShapeKey(model), bits)


@lru_cache(maxsize=1024)
def _weight_bytes(key: ShapeKey, bits: float) -> int:
    if key.model.tensors:
        return sum(_tensor_bytes(tensor, bits) for tensor in key.model.tensors)
    groups = groups_of(key.model, "F16")
    return sum(_tensor_bytes(tensor, bits) * len(group.blocks) for group in groups for tensor in group.tensors)


def adapter_bytes(model: ModelShape, workload: Workload, count: int) -> int:
    """Bytes that one accelerator, or the host, keeps free for LoRAs, whatever those that are loaded change.

    Args:
        model: Its shape; a pair of matrices is kept for every matrix of it.
        workload: How many LoRAs, of which rank.
        count: Accelerators that share every layer; one half of each pair is shared out, the other kept by each.
    """
    if workload.adapter_slots == 0:
        return 0
    values = workload.adapter_slots * workload.adapter_rank * _outer_values(ShapeKey(model))
    value_bytes = 4 if linear_bits(workload.quantization) == 32 else _VALUE_BYTES
    return values * value_bytes * (count + 1) // (2 * count)


@lru_cache(maxsize=1024)
def _outer_values(key: ShapeKey) -> int:
    """Rows and columns of all matrices."""
    if key.model.tensors:
        return sum(_outer(tensor) for tensor in key.model.tensors)
    groups = groups_of(key.model, "F16")
    return sum(_outer(tensor) * len(group.blocks) for group in groups for tensor in group.tensors)


def _outer(tensor: StoredTensor) -> int:
    if len(tensor.shape) < 2:
        return 0
    columns, rows, *experts = tensor.shape
    return (columns + rows) * math.prod(experts)


def _tensor_bytes(tensor: StoredTensor, bits: float) -> int:
    elements = math.prod(tensor.shape)
    is_linear = len(tensor.shape) > 1 and tensor.name not in _KEPT and _ROUTER not in tensor.name
    if bits >= 16:
        return int(elements * bits / 8)
    return math.ceil(elements * bits / 8) if is_linear else elements * _VALUE_BYTES


def cache_bytes(model: ModelShape, workload: Workload, shard_count: int, step_tokens: int) -> int:
    """Bytes of the pages that a workload needs on one accelerator.

    Args:
        model: Its shape; heads are shared out, a compressed row or the last head is kept by each.
        workload: Context, slots and type of the cache.
        shard_count: Accelerators that share every layer.
        step_tokens: Prompt tokens of one step, which a window keeps beside itself.
    """
    if model.is_encoder:
        return 0
    seen = min(workload.context_tokens, model.window_tokens - 1 + step_tokens)
    rows: dict[int, int] = {}
    total = 0
    for layer, heads in enumerate(model.kv_heads):
        if heads not in rows:
            here = heads if model.latent is not None else math.ceil(heads / shard_count)
            rows[heads] = row_bytes(model, here, workload.cache_type)
        tokens = seen if layer in model.window_layers and model.window_tokens else workload.context_tokens
        total += math.ceil(tokens / _PAGE_TOKENS) * rows[heads]
    return total * _PAGE_TOKENS * workload.slots


def _sharing(model: ModelShape, target: Target) -> tuple[Pool, ...]:
    """Accelerators that share every layer: as many as divide the heads."""
    pools = target.accelerators
    if not pools:
        return (target.host,)
    return pools[: sharing(model, len(pools))]


def sharing(model: ModelShape, count: int) -> int:
    """How many of so many accelerators share every layer: as many as divide the heads."""
    return next(number for number in range(count, 0, -1) if model.heads % number == 0)


def _shard(pools: tuple[Pool, ...]) -> _Shard:
    return _shard_of(len(pools), is_large=all(is_large(pool) for pool in pools))


def _shard_of(count: int, *, is_large: bool) -> _Shard:
    if is_large:
        return _Shard(count, _STEP_TOKENS_LARGE, _REQUESTS_LARGE)
    return _Shard(count, _STEP_TOKENS, _REQUESTS)


def _pool_terms(model: ModelShape, workload: Workload, pool: Pool, shard: _Shard, bits: float) -> list[Term]:
    count = shard.count
    cache = cache_bytes(model, workload, count, shard.step_tokens)
    graphs = 0 if pool.kind == "cpu" else _GRAPH_BYTES_PER_LAYER * model.layers
    formula = f"{workload.slots} x {workload.context_tokens:,} tokens in pages of {_PAGE_TOKENS}, {workload.cache_type}"
    terms = [
        Term(
            "weights", pool.id, weight_bytes(model, bits) // count, False, f"{bits:.3g} bits, 1/{count} of all", _RULES
        ),
        Term("kv cache", pool.id, cache, False, formula, _PAGES),
        Term(
            "compute buffers",
            pool.id,
            _compute_bytes(model, workload, shard),
            False,
            f"a step of {shard.step_tokens:,} tokens and a sampler of {shard.requests} requests",
            _RULES,
        ),
        Term("runtime", pool.id, graphs, False, "CUDA graphs", "vllm/v1/worker/gpu_model_runner.py"),
        Term("device context", pool.id, pool.context_bytes, False, "taken by the driver for a process", "the driver"),
        Term(
            "adapters",
            pool.id,
            adapter_bytes(model, workload, count),
            False,
            f"{workload.adapter_slots} x rank {workload.adapter_rank} for rows and columns of every matrix",
            _ADAPTERS,
        ),
    ]
    taken = sum(term.size_bytes for term in terms)
    reserve = max(0, share_of(pool) - taken) if pool.kind != "cpu" else 0
    formula = f"what {UTILIZATION:.0%} of the memory leaves, as more pages of the cache"
    return [*terms, Term("paging reserve", pool.id, reserve, False, formula, _RULES)]


def _compute_bytes(model: ModelShape, workload: Workload, shard: _Shard) -> int:
    return _activation_bytes(model, shard) // shard.count + _sampler_bytes(model, workload, shard)


def _activation_bytes(model: ModelShape, shard: _Shard) -> int:
    """Values alive in one block: its input twice, queries, keys and values, or the feed-forward part."""
    experts = model.experts
    inner = model.feed_forward
    if experts is not None:
        inner = max(experts.used * experts.feed_forward, experts.shared_feed_forward)
    attention = 2 * model.heads * model.head_dim + 2 * max(model.kv_heads, default=0) * model.head_dim
    wide = max(attention, (3 if model.is_gated else 2) * inner)
    return shard.step_tokens * (2 * model.width + wide) * _VALUE_BYTES


def _sampler_bytes(model: ModelShape, workload: Workload, shard: _Shard) -> int:
    if model.is_encoder or workload.is_embedding:
        return 0
    return shard.requests * model.vocabulary * _SAMPLER_BYTES

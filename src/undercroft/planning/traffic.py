"""What a step of a model reads and computes: bytes and multiply-adds by type, key-value cache by context. Pure."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from undercroft.catalog.shapes import ModelShape, StoredTensor
from undercroft.core.errors import InvalidError
from undercroft.planning import speed_constants as constants
from undercroft.planning.memory_weights import stored_tensors
from undercroft.planning.weight_groups import TABLES, Group, groups_of
from undercroft.planning.weights import ShapeKey

# Bytes a value of the cache takes, scales included.
CACHE_BYTES: Mapping[str, float] = {
    "f32": 4.0,
    "f16": 2.0,
    "bf16": 2.0,
    "fp8": 1.0,
    "q8_0": 34 / 32,
    "q5_1": 24 / 32,
    "q5_0": 22 / 32,
    "q4_1": 20 / 32,
    "q4_0": 18 / 32,
}
# Formats of engines that read safetensors: type of matrices, bytes a weight with scales (groups of 128).
_SAFETENSORS_MIXES: Mapping[str, tuple[str, float]] = {
    "FP16": ("F16", 2.0),
    "BF16": ("BF16", 2.0),
    "F16": ("F16", 2.0),
    "FP8": ("FP8", 1.0),
    "AWQ": ("AWQ", 4.25 / 8),
    "GPTQ": ("GPTQ", 4.25 / 8),
    "INT4": ("INT4", 4.25 / 8),
    "INT8": ("INT8", 1.0),
    "W8A8": ("INT8", 1.0),
    "W4A16": ("INT4", 4.125 / 8),
    "W4A16_G64": ("INT4", 4.25 / 8),
    "W4A16_G32": ("INT4", 4.5 / 8),
    "MXFP4A16": ("MXFP4", 4.25 / 8),
    "NVFP4A16": ("NVFP4", 4.5 / 8),
    "F32": ("F32", 4.0),
    "FP32": ("F32", 4.0),
}
_ROWS_ONLY = ("token_embd", "position_embd", "token_types", "per_layer_token_embd")
_EXPERTS = re.compile(r"ffn_(gate|up|down|gate_up)_exps\.")


@dataclass(frozen=True, slots=True)
class CacheValues:
    """Values that a token leaves in the cache.

    Args:
        whole: In blocks that see everything.
        windowed: In those with a window.
        windows: Blocks with one.
        window_tokens: That these see; 0 for no window.
    """

    whole: int
    windowed: int
    windows: int
    window_tokens: int

    def read_bytes(self, cache_type: str, context_tokens: float) -> float:
        """Bytes of keys and values that one decode step of one sequence reads; see `cache_read_bytes`."""
        seen = min(context_tokens, self.window_tokens) if self.window_tokens else 0.0
        return CACHE_BYTES[cache_type] * (self.whole * context_tokens + self.windowed * seen)


@dataclass(frozen=True, slots=True)
class Matrices:
    """Weights of one tensor type that are read together.

    Args:
        type_name: ``Q4_K`` …
        size_bytes: All of them.
        elements: All of them; a multiply-add each and token.
    """

    type_name: str
    size_bytes: int
    elements: int


class Load(NamedTuple):
    """Matrices of several types added up, so that a step is arithmetic on a few sums.

    Args:
        size_bytes: Read.
        unpacking_bytes: Read beyond that by a device of the table's balance, in time: what unpacking costs.
        elements: A multiply-add each and token.
        alone_operations: Of a processor, for the token of one sequence.
        together_operations: Of a processor, for each token of a few sequences.
        prompt_operations: Of a processor, for a token of a long prompt.
        waiting_operations: Of a processor, once where there are two tokens and more.
    """

    size_bytes: float
    unpacking_bytes: float
    elements: float
    alone_operations: float
    together_operations: float
    prompt_operations: float
    waiting_operations: float

    def plus(self, other: Load, share: float) -> Load:
        """With a share of another one."""
        return Load(
            self.size_bytes + other.size_bytes * share,
            self.unpacking_bytes + other.unpacking_bytes * share,
            self.elements + other.elements * share,
            self.alone_operations + other.alone_operations * share,
            self.together_operations + other.together_operations * share,
            self.prompt_operations + other.prompt_operations * share,
            self.waiting_operations + other.waiting_operations * share,
        )


NO_LOAD = Load(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


def load_of(matrices: Sequence[Matrices], *, is_experts: bool = False) -> Load:
    """Adds up matrices.

    Args:
        matrices: By type.
        is_experts: Of a mixture of experts; a processor multiplies an expert with one token after the other.
    """
    kernels = [constants.PROCESSOR_KERNELS.get(m.type_name, constants.OTHER_KERNEL) for m in matrices]
    if is_experts:
        kernels = [constants.Kernel(k.alone, 0.0, k.alone, k.expert, k.expert) for k in kernels]
    spent = list(zip(matrices, kernels, strict=True))
    return Load(
        size_bytes=float(sum(m.size_bytes for m in matrices)),
        unpacking_bytes=sum(m.size_bytes * (1 / efficiency_of(m.type_name) - 1) for m in matrices),
        elements=float(sum(m.elements for m in matrices)),
        alone_operations=sum(m.elements * kernel.alone for m, kernel in spent),
        together_operations=sum(m.elements * kernel.together for m, kernel in spent),
        prompt_operations=sum(m.elements * kernel.prompt for m, kernel in spent),
        waiting_operations=sum(m.elements * kernel.waiting for m, kernel in spent),
    )


def efficiency_of(type_name: str) -> float:
    """Decode rate of a type against F16, per byte read, on a device of the table's balance."""
    return constants.READ_EFFICIENCY.get(type_name, constants.UNKNOWN_EFFICIENCY)[0]


@dataclass(frozen=True, slots=True)
class Traffic:
    """Of one network in one quantization.

    Args:
        blocks: In the blocks, read in every step.
        experts: Of all experts together; a step reads some of them.
        output: The output layer: read in every decode step, and once a prompt.
        main_type: The type with the most bytes.
        stored_bytes: Of the whole file's tensors.
        active_elements: Multiply-adds a token, without attention.
        block_elements: The same without the output layer; a prompt computes that for its last token only.
        block_load: Of the blocks.
        expert_load: Of all experts.
        output_load: Of the output layer.
        dense_load: Of blocks and output layer together.
        cache: What a token leaves there.
    """

    blocks: tuple[Matrices, ...]
    experts: tuple[Matrices, ...]
    output: tuple[Matrices, ...]
    main_type: str
    stored_bytes: int
    active_elements: int
    block_elements: int
    block_load: Load
    expert_load: Load
    output_load: Load
    dense_load: Load
    cache: CacheValues


def traffic_of(shape: ModelShape, quantization: str, engine: str = "llama.cpp") -> Traffic:
    """What is read and computed.

    Args:
        shape: Of the network.
        quantization: ``Q4_K_M``, ``FP8`` …; empty takes the file's own.
        engine: llama.cpp stores mixes of types; others one type for all matrices.

    Raises:
        InvalidError: ``unknown-quantization``, or none was given for a shape without a file.
    """
    return _cached(ShapeKey(shape), quantization.upper(), engine)


@lru_cache(maxsize=4096)
def _cached(key: ShapeKey, quantization: str, engine: str) -> Traffic:
    return _traffic(key.model, _grouped(key.model, quantization, engine))


def _grouped(shape: ModelShape, quantization: str, engine: str) -> Sequence[Group]:
    if not quantization and shape.tensors:
        return [Group(shape.tensors, (TABLES,))]
    if not quantization:
        raise InvalidError("no-quantization", "a shape without a file has no quantization of its own; name one")
    if engine == "llama.cpp" and shape.tensors:
        return [Group(stored_tensors(shape, quantization), (TABLES,))]
    if engine == "llama.cpp":
        return groups_of(shape, quantization)
    found = _SAFETENSORS_MIXES.get(quantization)
    if found is None:
        raise InvalidError(
            "unknown-quantization",
            f"{engine} does not run {quantization[:40]!r}, expected one of {', '.join(_SAFETENSORS_MIXES)}",
        )
    if shape.tensors:
        return [Group(tuple(_in_one_type(tensor, *found) for tensor in shape.tensors), (TABLES,))]
    return [
        Group(tuple(_in_one_type(tensor, *found) for tensor in group.tensors), group.blocks)
        for group in groups_of(shape, "F16")
    ]


def _in_one_type(tensor: StoredTensor, type_name: str, bytes_per_weight: float) -> StoredTensor:
    """Matrices of the blocks in the wanted type; embeddings, output and vectors stay in 16 bits where that is more."""
    is_matrix = len(tensor.shape) >= 2 and tensor.name.startswith("blk.")
    if not is_matrix and bytes_per_weight < 2.0:
        type_name, bytes_per_weight = "BF16", 2.0
    return StoredTensor(tensor.name, tensor.shape, type_name, math.ceil(math.prod(tensor.shape) * bytes_per_weight))


def _traffic(shape: ModelShape, groups: Sequence[Group]) -> Traffic:
    sums: dict[tuple[str | None, str], list[int]] = {}
    is_tied = not any(tensor.name == "output.weight" for group in groups for tensor in group.tensors)
    for group in groups:
        times = len(group.blocks)
        for tensor in group.tensors:
            key = (_group(tensor.name, is_tied, shape.is_encoder), tensor.type_name)
            found = sums.get(key)
            if found is None:
                found = sums[key] = [0, 0]
            found[0] += tensor.size_bytes * times
            found[1] += math.prod(tensor.shape) * times
    by_type: Counter[str] = Counter()
    for (_, type_name), (size_bytes, _) in sums.items():
        by_type[type_name] += size_bytes
    blocks, experts, output = (
        tuple(Matrices(name, size, count) for (part, name), (size, count) in sums.items() if part == wanted)
        for wanted in ("blocks", "experts", "output")
    )
    share = shape.experts.used / shape.experts.count if shape.experts else 0.0
    block_elements = sum(m.elements for m in blocks) + round(share * sum(m.elements for m in experts))
    return Traffic(
        blocks=blocks,
        experts=experts,
        output=output,
        main_type=by_type.most_common(1)[0][0] if by_type else "F16",
        stored_bytes=sum(by_type.values()),
        active_elements=block_elements + sum(m.elements for m in output),
        block_elements=block_elements,
        block_load=load_of(blocks),
        expert_load=load_of(experts, is_experts=True),
        output_load=load_of(output),
        dense_load=load_of((*blocks, *output)),
        cache=_values_of(ShapeKey(shape)),
    )


@lru_cache(maxsize=65536)
def _group(name: str, is_tied: bool, is_encoder: bool) -> str | None:
    """Where a tensor counts; None for a table of which a step reads some rows."""
    if name == "output.weight":
        return "output"
    if name == "token_embd.weight" and is_tied and not is_encoder:
        return "output"
    if name.startswith(_ROWS_ONLY):
        return None
    return "experts" if _EXPERTS.search(name) else "blocks"


def distinct_experts_share(shape: ModelShape, tokens: int) -> float:
    """Expected share of the experts that a step over several tokens reads; 0 for a dense network.

    Each token picks ``used`` of ``count``; a given expert is missed by all with probability (1 - used/count)^tokens.
    """
    if shape.experts is None:
        return 0.0
    missed = 1.0 - shape.experts.used / shape.experts.count
    return 1.0 - missed ** max(1, tokens)


def cache_read_bytes(shape: ModelShape, cache_type: str, context_tokens: float) -> float:
    """Bytes of keys and values that one decode step of one sequence reads.

    Args:
        shape: Of the network.
        cache_type: ``f16`` …
        context_tokens: Present in the cache.
    """
    return _values_of(ShapeKey(shape)).read_bytes(cache_type, context_tokens)


@lru_cache(maxsize=4096)
def _values_of(key: ShapeKey) -> CacheValues:
    shape = key.model
    windows = len(shape.window_layers) if shape.window_tokens else 0
    if shape.is_encoder:
        return CacheValues(0, 0, windows, shape.window_tokens)
    if shape.latent is not None:
        values = shape.layers * (shape.latent.kv_rank + shape.latent.rope_dim)
        return CacheValues(values, 0, windows, shape.window_tokens)
    sums = [0, 0]
    for layer, heads in enumerate(shape.kv_heads):
        is_windowed = bool(windows) and layer in shape.window_layers
        sums[is_windowed] += heads * (shape.head_dim + shape.value_head_dim)
    return CacheValues(sums[0], sums[1], windows, shape.window_tokens)


def attention_pairs(shape: ModelShape, context_tokens: float) -> float:
    """How often a query head meets a key in one decode step of one sequence.

    Args:
        shape: Of the network.
        context_tokens: Present in the cache.
    """
    windows = _values_of(ShapeKey(shape)).windows
    seen = min(context_tokens, shape.window_tokens)
    return shape.heads * (context_tokens * (shape.layers - windows) + seen * windows)


def prompt_attention_pairs(shape: ModelShape, prompt_tokens: int) -> float:
    """How often a query head meets a key over a prompt; a decoder looks at the past only.

    Args:
        shape: Of the network.
        prompt_tokens: Its length.
    """
    pairs = prompt_tokens * prompt_tokens / (1 if shape.is_encoder else 2)
    windows = _values_of(ShapeKey(shape)).windows
    seen = min(pairs, float(prompt_tokens * shape.window_tokens))
    return shape.heads * (pairs * (shape.layers - windows) + seen * windows)


def attention_operations(shape: ModelShape, prompt_tokens: int) -> float:
    """Operations of attention over a prompt, beside its matrices: two products of a head's size a pair; a multiply-add
    is two operations.

    Args:
        shape: Of the network.
        prompt_tokens: Its length.
    """
    return 2.0 * (shape.head_dim + shape.value_head_dim) * prompt_attention_pairs(shape, prompt_tokens)

"""What a step of a model reads and computes: bytes and multiply-adds by type, key-value cache by context. Pure."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from undercroft.catalog.shapes import ModelShape, StoredTensor
from undercroft.core.errors import InvalidError
from undercroft.planning.quantization import quantized
from undercroft.planning.weights import TensorShape, tensor_shapes

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
    "F32": ("F32", 4.0),
    "FP32": ("F32", 4.0),
}
_ROWS_ONLY = ("token_embd", "position_embd", "token_types", "per_layer_token_embd")
_EXPERTS = re.compile(r"ffn_(gate|up|down|gate_up)_exps\.")


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
    """

    blocks: tuple[Matrices, ...]
    experts: tuple[Matrices, ...]
    output: tuple[Matrices, ...]
    main_type: str
    stored_bytes: int
    active_elements: int
    block_elements: int


class _Key:
    """A shape as a key: by identity, because its mapping has no hash."""

    __slots__ = ("shape",)

    def __init__(self, shape: ModelShape) -> None:
        self.shape = shape

    def __hash__(self) -> int:
        return id(self.shape)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and other.shape is self.shape


def traffic_of(shape: ModelShape, quantization: str, engine: str = "llama.cpp") -> Traffic:
    """What is read and computed.

    Args:
        shape: Of the network.
        quantization: ``Q4_K_M``, ``FP8`` …; empty takes the file's own.
        engine: llama.cpp stores mixes of types; others one type for all matrices.

    Raises:
        InvalidError: ``unknown-quantization``, or none was given for a shape without a file.
    """
    return _cached(_Key(shape), quantization.upper(), engine)


@lru_cache(maxsize=4096)
def _cached(key: _Key, quantization: str, engine: str) -> Traffic:
    return _traffic(key.shape, _stored(key.shape, quantization, engine))


def _stored(shape: ModelShape, quantization: str, engine: str) -> Sequence[StoredTensor]:
    if not quantization and shape.tensors:
        return shape.tensors
    if not quantization:
        raise InvalidError("no-quantization", "a shape without a file has no quantization of its own; name one")
    tensors = tensor_shapes(shape)
    if engine == "llama.cpp":
        return quantized(tensors, quantization, shape)
    found = _SAFETENSORS_MIXES.get(quantization)
    if found is None:
        raise InvalidError(
            "unknown-quantization",
            f"{engine} does not run {quantization[:40]!r}, expected one of {', '.join(_SAFETENSORS_MIXES)}",
        )
    return [_in_one_type(tensor, *found) for tensor in tensors]


def _in_one_type(tensor: TensorShape, type_name: str, bytes_per_weight: float) -> StoredTensor:
    """Matrices of the blocks in the wanted type; embeddings, output and vectors stay in 16 bits where that is more."""
    is_matrix = len(tensor.shape) >= 2 and tensor.name.startswith("blk.")
    if not is_matrix and bytes_per_weight < 2.0:
        type_name, bytes_per_weight = "BF16", 2.0
    return StoredTensor(tensor.name, tensor.shape, type_name, math.ceil(tensor.elements * bytes_per_weight))


def _traffic(shape: ModelShape, tensors: Sequence[StoredTensor]) -> Traffic:
    groups: dict[str, dict[str, list[int]]] = {"blocks": {}, "experts": {}, "output": {}}
    by_type: Counter[str] = Counter()
    is_tied = not any(tensor.name == "output.weight" for tensor in tensors)
    for tensor in tensors:
        by_type[tensor.type_name] += tensor.size_bytes
        group = _group(tensor.name, is_tied=is_tied, is_encoder=shape.is_encoder)
        if group is not None:
            sums = groups[group].setdefault(tensor.type_name, [0, 0])
            sums[0] += tensor.size_bytes
            sums[1] += math.prod(tensor.shape)
    blocks, experts, output = (
        tuple(Matrices(name, size, count) for name, (size, count) in groups[group].items())
        for group in ("blocks", "experts", "output")
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
    )


def _group(name: str, *, is_tied: bool, is_encoder: bool) -> str | None:
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
    per_value = CACHE_BYTES[cache_type]
    if shape.is_encoder:
        return 0.0
    if shape.latent is not None:
        return shape.layers * (shape.latent.kv_rank + shape.latent.rope_dim) * per_value * context_tokens
    values = 0.0
    for layer, heads in enumerate(shape.kv_heads):
        seen = context_tokens
        if shape.window_tokens and layer in shape.window_layers:
            seen = min(context_tokens, shape.window_tokens)
        values += heads * (shape.head_dim + shape.value_head_dim) * seen
    return values * per_value


def attention_operations(shape: ModelShape, prompt_tokens: int) -> float:
    """Operations of attention over a prompt, beside its matrices: two products of heads x head size a pair of tokens.

    Counted once for both triangles of a causal mask would be twice; a decoder looks at the past only.
    """
    width = shape.heads * (shape.head_dim + shape.value_head_dim)
    total = 0.0
    for layer in range(shape.layers):
        pairs = prompt_tokens * prompt_tokens / (1 if shape.is_encoder else 2)
        if shape.window_tokens and layer in shape.window_layers:
            pairs = min(pairs, float(prompt_tokens * shape.window_tokens))
        total += 2.0 * width * pairs
    return total

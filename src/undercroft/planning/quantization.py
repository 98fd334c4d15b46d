"""Quantizations: bytes of every type, and which type each tensor of a mix has. Pure.

Source: ``ggml_type_traits`` of ``ggml.c`` and ``llama_tensor_get_type_impl`` of ``src/llama-quant.cpp`` in llama.cpp,
2026-10, for files made without an importance matrix, but for the mixes that need one (IQ3_XXS and those below).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from undercroft.catalog.shapes import ModelShape, StoredTensor
from undercroft.core.errors import InvalidError
from undercroft.planning.weights import TensorShape

# Type → elements stored together, bytes of them.
BLOCKS: dict[str, tuple[int, int]] = {
    "F64": (1, 8),
    "F32": (1, 4),
    "F16": (1, 2),
    "BF16": (1, 2),
    "I64": (1, 8),
    "I32": (1, 4),
    "I16": (1, 2),
    "I8": (1, 1),
    "Q8_0": (32, 34),
    "Q8_1": (32, 40),
    "Q5_0": (32, 22),
    "Q5_1": (32, 24),
    "Q4_0": (32, 18),
    "Q4_1": (32, 20),
    "Q1_0": (128, 18),
    "Q8_K": (256, 292),
    "Q6_K": (256, 210),
    "Q5_K": (256, 176),
    "Q4_K": (256, 144),
    "Q3_K": (256, 110),
    "Q2_K": (256, 84),
    "IQ4_NL": (32, 18),
    "IQ4_XS": (256, 136),
    "IQ3_S": (256, 110),
    "IQ3_XXS": (256, 98),
    "IQ2_S": (256, 82),
    "IQ2_XS": (256, 74),
    "IQ2_XXS": (256, 66),
    "IQ1_M": (256, 56),
    "IQ1_S": (256, 50),
    "TQ1_0": (256, 54),
    "TQ2_0": (256, 66),
    "MXFP4": (32, 17),
    "NVFP4": (64, 36),
}

# Mix → type of a tensor that no rule names.
MIXES: dict[str, str] = {
    "F32": "F32",
    "F16": "F16",
    "BF16": "BF16",
    "Q8_0": "Q8_0",
    "Q6_K": "Q6_K",
    "Q5_K_M": "Q5_K",
    "Q5_K_S": "Q5_K",
    "Q5_1": "Q5_1",
    "Q5_0": "Q5_0",
    "Q4_K_M": "Q4_K",
    "Q4_K_S": "Q4_K",
    "Q4_1": "Q4_1",
    "Q4_0": "Q4_0",
    "IQ4_NL": "IQ4_NL",
    "IQ4_XS": "IQ4_XS",
    "Q3_K_L": "Q3_K",
    "Q3_K_M": "Q3_K",
    "Q3_K_S": "Q3_K",
    "IQ3_M": "IQ3_S",
    "IQ3_S": "IQ3_S",
    "IQ3_XS": "IQ3_S",
    "IQ3_XXS": "IQ3_XXS",
    "Q2_K": "Q2_K",
    "Q2_K_S": "Q2_K",
    "IQ2_M": "IQ2_S",
    "IQ2_S": "IQ2_XS",
    "IQ2_XS": "IQ2_XS",
    "IQ2_XXS": "IQ2_XXS",
    "IQ1_M": "IQ1_M",
    "IQ1_S": "IQ1_S",
    "MXFP4_MOE": "MXFP4",
    "MXFP4": "MXFP4",
    "NVFP4": "NVFP4",
}

_FOUR_BIT_FLOATS = frozenset({"MXFP4", "NVFP4"})
_PLAIN = frozenset({"F32", "F16", "BF16"})
_ALIASES = {"FP32": "F32", "FP16": "F16", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M", "Q3_K": "Q3_K_M"}
# Rows that are no multiple of 256: the type with blocks of 32 that takes the place.
_FALLBACKS = {
    **dict.fromkeys(("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ4_XS"), "IQ4_NL"),
    **dict.fromkeys(("Q2_K", "Q3_K", "TQ1_0", "TQ2_0"), "Q4_0"),
    "Q4_K": "Q5_0",
    "Q5_K": "Q5_1",
    "Q6_K": "Q8_0",
    "NVFP4": "Q8_0",
}
# Kept as they are, beside vectors and norms.
_NEVER = ("_norm.weight", "ffn_gate_inp", "position_embd", "token_types", "ssm_conv1d", "shortconv.conv")
# Kinds whose type goes by the layer, or by how many came before.
_COUNTED = frozenset({"value", "qkv", "down"})
_SMALL_MIXES = frozenset({"IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M"})
_LAYER = re.compile(r"blk\.(\d+)\.")
_LAYERS_OF_70B = 80
_CATEGORIES = (
    ("attn_qkv.weight", "qkv"),
    ("attn_kv_b.weight", "value"),
    ("attn_v.weight", "value"),
    ("attn_k.weight", "key"),
    ("attn_q.weight", "query"),
    ("attn_output.weight", "attention output"),
    ("ffn_up", "up"),
    ("ffn_gate", "gate"),
    ("ffn_down", "down"),
)


def known_mix(name: str) -> str:
    """The mix of a name as people write it.

    Args:
        name: ``q4_k_m``, ``FP16`` …

    Raises:
        InvalidError: ``unknown-quantization``.
    """
    upper = name.strip().upper()
    found = _ALIASES.get(upper, upper)
    if found not in MIXES:
        raise InvalidError(
            "unknown-quantization",
            f"expected a quantization of llama.cpp, got {name[:40]!r}; known are {', '.join(MIXES)}",
        )
    return found


def tensor_bytes(type_name: str, shape: Sequence[int]) -> int:
    """Bytes of a tensor.

    Args:
        type_name: ``Q4_K`` …
        shape: Elements per axis, the row axis first; a row is a whole number of blocks.

    Raises:
        InvalidError: ``unknown-tensor-type``.
    """
    if type_name not in BLOCKS:
        raise InvalidError("unknown-tensor-type", f"expected a tensor type of GGUF, got {type_name[:40]!r}")
    elements, size_bytes = BLOCKS[type_name]
    return -(-shape[0] // elements) * size_bytes * math.prod(shape[1:])


def quantized(tensors: Sequence[TensorShape], mix: str, model: ModelShape) -> tuple[StoredTensor, ...]:
    """The tensors as a file of this mix stores them.

    Args:
        tensors: Of the network, in the order of its blocks.
        mix: Key of `MIXES`.
        model: Whose heads, experts and layers the rules ask for.
    """
    kinds = kinds_of(tensors)
    chooser = TypeChooser(mix, kinds, model)
    return tuple(
        StoredTensor(tensor.name, tensor.shape, *chooser.stored_as(tensor, kind))
        for tensor, kind in zip(tensors, kinds, strict=True)
    )


def kinds_of(tensors: Sequence[TensorShape]) -> tuple[str, ...]:
    """What each tensor is to the rules: ``value``, ``down``, ``other`` …; empty for one that is never quantized."""
    return tuple(_category(tensor.name) if _is_quantized(tensor) else "" for tensor in tensors)


class TypeChooser:
    """Chooses type and bytes of one tensor of a network after the other, as llama.cpp's quantizer does.

    Args:
        mix: Key of `MIXES`.
        kinds: Of all tensors of the network, from `kinds_of`.
        model: Whose heads, experts and layers the rules ask for.
    """

    def __init__(self, mix: str, kinds: Sequence[str], model: ModelShape) -> None:
        known = known_mix(mix)
        self._base = MIXES[known]
        self._state = _State(mix=known, base=self._base, model=model, kinds=kinds)
        self._has_rules = self._base not in _PLAIN
        self._counted = _COUNTED | {"gate", "up"} if known == "IQ3_XS" else _COUNTED
        self._chosen: dict[tuple[str, tuple[int, ...]], tuple[str, int]] = {}

    def goes_by_order(self, kind: str) -> bool:
        """Whether tensors of a kind and one shape may differ: all of those are to be asked for, in their order."""
        return self._has_rules and kind in self._counted

    def stored_as(self, tensor: TensorShape, kind: str) -> tuple[str, int]:
        """Type and bytes of the next tensor."""
        if self.goes_by_order(kind):
            return self._sized(self._state.choose(tensor, kind), tensor.shape)
        found = self._chosen.get((kind, tensor.shape))
        if found is None:
            if not kind:
                found = ("F32", tensor_bytes("F32", tensor.shape))
            elif not self._has_rules:
                found = (self._base, tensor_bytes(self._base, tensor.shape))
            else:
                found = self._sized(self._state.choose(tensor, kind), tensor.shape)
            self._chosen[kind, tensor.shape] = found
        return found

    def _sized(self, wanted: str, shape: tuple[int, ...]) -> tuple[str, int]:
        type_name = _fitting(wanted, shape[0])
        return type_name, tensor_bytes(type_name, shape)


def _is_quantized(tensor: TensorShape) -> bool:
    return len(tensor.shape) >= 2 and _is_quantized_name(tensor.name)


@lru_cache(maxsize=65536)
def _is_quantized_name(name: str) -> bool:
    return name.endswith("weight") and not any(part in name for part in _NEVER)


def _fitting(type_name: str, row: int) -> str:
    """The type, or what takes its place where a row is no whole number of blocks."""
    if row % BLOCKS[type_name][0] == 0:
        return type_name
    other = _FALLBACKS.get(type_name, type_name)
    return other if row % BLOCKS[other][0] == 0 else "F16"


def _has_more_bits(layer: int, layers: int) -> bool:
    """Whether a layer is one of the half that the M mixes keep finer."""
    return layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2


@lru_cache(maxsize=65536)
def _category(name: str) -> str:
    if name == "output.weight":
        return "output"
    if name in {"token_embd.weight", "per_layer_token_embd.weight"}:
        return "embedding"
    return next((kind for part, kind in _CATEGORIES if part in name), "other")


@dataclass(slots=True)
class _State:
    """Counts what llama.cpp's quantizer counts while it goes through the tensors."""

    mix: str
    base: str
    model: ModelShape
    kinds: Sequence[str]
    is_tied: bool = field(init=False)
    values: int = field(init=False)
    value_index: int = 0
    down_index: int = 0

    def __post_init__(self) -> None:
        self.is_tied = "output" not in self.kinds
        self.values = self.kinds.count("value") + self.kinds.count("qkv")

    @property
    def experts(self) -> int:
        return self.model.experts.count if self.model.experts is not None else 0

    @property
    def has_grouped_heads(self) -> bool:
        """Four or more query heads share a key head."""
        first = self.model.kv_heads[0] if self.model.kv_heads else 0
        return first > 0 and self.model.heads // first >= 4

    def choose(self, tensor: TensorShape, kind: str) -> str:
        """Type of one tensor of a category, before its row length is looked at."""
        if kind == "output" or (kind == "embedding" and self.is_tied):
            return self._output(tensor.shape[0])
        if self.base in _FOUR_BIT_FLOATS:
            is_dense = self.experts == 0 and self.mix != "MXFP4_MOE"
            is_meant = bool(_LAYER.match(tensor.name)) if is_dense else len(tensor.shape) > 2
            return self.base if is_meant else "Q8_0"
        if kind == "embedding":
            return self._embedding()
        if self.mix in _SMALL_MIXES:
            return self._small(kind)
        if kind in {"value", "qkv"}:
            return self._value()
        if kind == "down":
            return self._down(tensor.name)
        if kind == "attention output":
            return self._attention_output()
        if kind in {"key", "query"}:
            return self._key(kind)
        if kind in {"gate", "up"} and self.mix == "IQ3_XS":
            return self._middle(tensor.name)
        return self.base

    def _middle(self, name: str) -> str:
        found = _LAYER.match(name)
        layer, layers = int(found[1]) if found is not None else 0, self.model.layers
        return "IQ3_XXS" if layers // 8 <= layer < 7 * layers // 8 else self.base

    def _output(self, row: int) -> str:
        if self.base in _FOUR_BIT_FLOATS or row % BLOCKS[self.base][0]:
            return "Q8_0"
        if self.mix in _SMALL_MIXES or self.mix == "IQ3_XXS":
            return "Q5_K"
        return self.base if self.base == "Q8_0" else "Q6_K"

    def _embedding(self) -> str:
        if self.mix in {"IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS"}:
            return "Q2_K"
        return "IQ3_S" if self.mix in {"IQ2_S", "IQ2_M", "IQ3_XXS"} else self.base

    def _small(self, kind: str) -> str:
        """The mixes of about two bits."""
        better = "IQ3_S" if self.mix in {"IQ2_S", "IQ2_M"} else "Q2_K"
        if kind in {"value", "qkv"}:
            return "Q4_K" if self.has_grouped_heads or self.experts >= 4 else better
        if kind == "key" and self.experts == 8:
            return "Q4_K"
        if kind == "down":
            self.down_index += 1
            return better if self.down_index - 1 < self.model.layers // 8 else self.base
        if kind == "attention output":
            if self.experts == 8:
                return "Q5_K"
            return {"IQ1_S": "IQ2_XXS", "IQ1_M": "IQ2_XXS", "IQ2_S": "IQ3_S", "IQ2_M": "IQ3_S"}.get(self.mix, self.base)
        return self.base

    def _value(self) -> str:
        index, self.value_index = self.value_index, self.value_index + 1
        chosen = self.base
        grouped = self.has_grouped_heads
        if self.mix == "Q2_K":
            chosen = "Q4_K" if grouped else "Q3_K"
        elif self.mix in {"Q2_K_S", "IQ3_XS", "IQ3_S"} and grouped:
            chosen = "Q4_K"
        elif self.mix == "IQ3_XXS":
            chosen = "Q4_K" if grouped else "IQ3_XXS"
        elif self.mix == "IQ3_M":
            chosen = "Q4_K"
        elif self.mix == "Q3_K_M":
            chosen = "Q5_K" if index < 2 else "Q4_K"
        elif self.mix == "Q3_K_L" or (self.mix in {"IQ4_NL", "IQ4_XS"} and grouped):
            chosen = "Q5_K"
        elif self.mix in {"Q4_K_M", "Q5_K_M"} and _has_more_bits(index, self.values):
            chosen = "Q6_K"
        elif self.mix == "Q4_K_S" and index < 4:
            chosen = "Q5_K"
        if self._is_70b and chosen in {"Q3_K", "Q4_K"}:
            chosen = "Q5_K"
        return "Q8_0" if self.experts == 8 else chosen

    @property
    def _is_70b(self) -> bool:
        model = self.model
        is_kind = model.architecture in {"llama", "qwen2"} and model.layers == _LAYERS_OF_70B
        return is_kind and (model.architecture == "qwen2" or model.heads != model.kv_heads[0])

    def _down(self, name: str) -> str:
        index, self.down_index = self.down_index, self.down_index + 1
        layer, layers = self._layer(name, index), self.model.layers
        is_early = layer < layers // 8
        if self.mix == "Q2_K":
            return "Q3_K"
        if self.mix == "Q3_K_M":
            return "Q5_K" if layer < layers // 16 else "Q4_K"
        if self.mix == "Q3_K_L":
            return "Q5_K"
        if self.mix in {"Q4_K_M", "Q5_K_M"}:
            return "Q6_K" if _has_more_bits(layer, layers) else self.base
        if self.mix == "IQ3_M":
            is_finer = is_early or (self.experts == 8 and _has_more_bits(layer, layers))
            return "Q4_K" if is_finer else self.base
        early = {"Q2_K_S": "Q4_K", "IQ4_NL": "Q5_K", "IQ4_XS": "Q5_K", "Q4_K_S": "Q5_K"}
        return early.get(self.mix, self.base) if is_early else self.base

    def _attention_output(self) -> str:
        if self.experts == 8:
            kept = {"Q2_K", "IQ3_XS", "IQ3_XXS", "Q3_K_S", "Q3_K_M", "IQ4_NL", "Q4_K_S", "Q4_K_M", "IQ3_S", "IQ3_M"}
            return "Q5_K" if self.mix in kept | {"IQ4_XS"} else self.base
        finer = {"Q2_K": "Q3_K", "IQ3_XXS": "IQ3_S", "Q3_K_M": "Q4_K", "Q3_K_L": "Q5_K", "IQ3_M": "Q4_K"}
        return finer.get(self.mix, self.base)

    def _key(self, kind: str) -> str:
        if kind == "key" and self.experts == 8:
            return "Q8_0"
        return {"IQ3_XS": "IQ3_XXS", "IQ3_XXS": "IQ2_S"}.get(self.mix, self.base)

    def _layer(self, name: str, index: int) -> int:
        """By its name among experts, by the order otherwise, as the quantizer does."""
        found = _LAYER.match(name)
        return int(found[1]) if self.experts > 1 and found is not None else index

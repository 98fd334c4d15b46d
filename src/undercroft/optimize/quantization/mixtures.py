"""Which type each tensor of a model gets under a scheme: the rules of llama.cpp, as they are.

Some of them count (the third value matrix of the model), so that a tensor's type depends on those before it. The
rules were tuned by llama.cpp's authors on real models; nothing here is ours but the form, and what a model without
experts has in four-bit floats: all matrices of its blocks, embeddings and output in Q8_0.

Source: ``llama_tensor_get_type_impl``, ``tensor_type_fallback`` and ``tensor_get_category`` in ``src/llama-quant.cpp``
of llama.cpp, b11549; compared tensor by tensor with that file itself in ``tests/vectors/quantization``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

from undercroft.core.errors import InvalidError
from undercroft.optimize.quantization.exclusions import is_quantizable
from undercroft.optimize.quantization.schemes import FOUR_BIT_FLOATS, NEEDING_IMPORTANCE, TYPES, UNQUANTIZED, Scheme

EMBEDDINGS = frozenset({"token_embd.weight", "per_layer_token_embd.weight"})
OUTPUT = "output.weight"

_BLOCK = re.compile(r"blk\.(\d+)\.")
_SMALLER_BLOCKS = {
    "Q2_K": "Q4_0",
    "Q3_K": "Q4_0",
    "Q4_K": "Q5_0",
    "Q5_K": "Q5_1",
    "Q6_K": "Q8_0",
    "TQ1_0": "Q4_0",
    "TQ2_0": "Q4_0",
    "NVFP4": "Q8_0",
    **dict.fromkeys(("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ4_XS"), "IQ4_NL"),
}
_TWO_BITS = frozenset({"IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M"})
_SEVENTY_BILLION_LAYERS = {"llama": 80, "llama-embed": 80, "deci": 80, "olmo": 80, "qwen2": 80, "jais2": 68}


@dataclass(frozen=True, slots=True)
class Network:
    """What the rules ask about a model.

    Args:
        architecture: ``general.architecture``.
        layers: Blocks, those that predict further tokens included; count.
        predicting_layers: Of them, blocks that predict further tokens; count.
        heads: Query heads of the first block; count.
        kv_heads: Key/value heads of the first block; count, 0 where it has none.
        experts: Count, 0 for a dense model.
    """

    architecture: str
    layers: int
    heads: int
    kv_heads: int
    experts: int = 0
    predicting_layers: int = 0

    @property
    def heads_a_key(self) -> int:
        """Query heads that share a key/value head; rounded down."""
        return self.heads // self.kv_heads if self.kv_heads else 0

    @property
    def is_seventy_billion(self) -> bool:
        """What llama.cpp takes for a model of 70 billion parameters: it goes by the number of blocks."""
        if self.layers - self.predicting_layers != _SEVENTY_BILLION_LAYERS.get(self.architecture):
            return False
        return not self.architecture.startswith("llama") or (self.heads != self.kv_heads and self.experts != 8)


@dataclass(frozen=True, slots=True)
class Weights:
    """One tensor of a model.

    Args:
        name: Unique in the model.
        shape: Sizes, innermost first.
        kind: Name of the type in which it is stored.
    """

    name: str
    shape: tuple[int, ...]
    kind: str


class _Part(Enum):
    EMBEDDING = auto()
    QUERY = auto()
    KEY = auto()
    VALUE = auto()
    ATTENTION_OUTPUT = auto()
    UP = auto()
    GATE = auto()
    DOWN = auto()
    OUTPUT = auto()
    OTHER = auto()


# In this order; the first that a name holds counts. A matrix that holds values with others is treated as values.
_PARTS = (
    ("attn_qkv.weight", _Part.VALUE),
    ("attn_kv_b.weight", _Part.VALUE),
    ("attn_v.weight", _Part.VALUE),
    ("attn_k.weight", _Part.KEY),
    ("attn_q.weight", _Part.QUERY),
    ("attn_output.weight", _Part.ATTENTION_OUTPUT),
    ("ffn_up", _Part.UP),
    ("ffn_gate", _Part.GATE),
    ("ffn_down", _Part.DOWN),
)


def in_order(names: Sequence[str]) -> list[str]:
    """Names as llama.cpp goes through tensors and writes them: those in no block, then block by block, by name."""
    return sorted(names, key=lambda name: (_block(name, none=-1), name.encode()))


def choose_types(
    tensors: Sequence[Weights], network: Network, scheme: Scheme, *, with_importance: bool
) -> dict[str, str]:
    """The type of every tensor.

    Args:
        tensors: All of a model; count matters.
        network: The model's shape.
        scheme: Which to follow.
        with_importance: Whether there is an importance matrix; some rules ask.

    Returns:
        Name of a tensor → name of a type, in the order in which they are written. A tensor that the scheme does not
        touch keeps its own.

    Raises:
        InvalidError: ``unplaceable-tensor``: in a model with experts a tensor of the feed-forward part says no block.
    """
    by_name = {tensor.name: tensor for tensor in tensors}
    rules = _Rules(network, scheme, tensors, with_importance)
    chosen = {}
    for name in in_order(list(by_name)):
        tensor = by_name[name]
        is_touched = is_quantizable(name, tensor.shape, network.architecture)
        chosen[name] = rules.choose(tensor) if is_touched else tensor.kind
    return chosen


def needs_importance(name: str, kind: str, scheme: Scheme) -> bool:
    """Whether a tensor of this type is garbage without an importance matrix.

    Args:
        name: Of the tensor.
        kind: Name of the type that it gets.
        scheme: That gave it.
    """
    if name == OUTPUT or name in EMBEDDINGS:
        return False
    return kind in NEEDING_IMPORTANCE or (kind == "Q2_K" and scheme.name == "Q2_K_S")


def _part(name: str) -> _Part:
    if name == OUTPUT:
        return _Part.OUTPUT
    if name in EMBEDDINGS:
        return _Part.EMBEDDING
    return next((part for text, part in _PARTS if text in name), _Part.OTHER)


def _block(name: str, *, none: int) -> int:
    found = _BLOCK.match(name)
    return int(found[1]) if found else none


def _deserves_more(index: int, count: int) -> bool:
    """The first and the last eighth, and every third between them."""
    return index < count // 8 or index >= 7 * count // 8 or (index - count // 8) % 3 == 2


class _Rules:
    """One pass over the tensors of a model, in their order."""

    def __init__(self, network: Network, scheme: Scheme, tensors: Sequence[Weights], with_importance: bool) -> None:
        self._network = network
        self._name = scheme.name
        self._base = scheme.base
        self._with_importance = with_importance
        self._is_tied = all(tensor.name != OUTPUT for tensor in tensors)
        self._values = sum(_part(tensor.name) is _Part.VALUE for tensor in tensors)
        self._seen = dict.fromkeys(_Part, 0)

    def choose(self, tensor: Weights) -> str:
        """The type that fits the rules and the tensor's width."""
        if self._base in UNQUANTIZED:
            return self._base
        return _that_fits(self._by_rule(tensor), tensor.shape[0])

    def _by_rule(self, tensor: Weights) -> str:
        part = _part(tensor.name)
        if self._network.architecture == "glm5-next" and any(
            text in tensor.name for text in ("attn_q_a", "attn_q_b", "nextn.eh_proj")
        ):
            return "Q8_0"
        if part is _Part.OUTPUT or (self._is_tied and part is _Part.EMBEDDING):
            return self._output(tensor.shape[0])
        if self._base in FOUR_BIT_FLOATS:
            return self._in_four_bits(tensor, part)
        if part is _Part.EMBEDDING:
            return self._embedding()
        chosen = self._two_bits(part) if self._name in _TWO_BITS else self._usual(tensor.name, part)
        self._seen[part] += 1
        return chosen

    def _output(self, width: int) -> str:
        if self._base in FOUR_BIT_FLOATS or self._network.architecture == "falcon" or width % TYPES[self._base].block:
            return "Q8_0"
        if self._name in _TWO_BITS or self._name == "IQ3_XXS":
            return "Q5_K"
        return "Q8_0" if self._base == "Q8_0" else "Q6_K"

    def _in_four_bits(self, tensor: Weights, part: _Part) -> str:
        """Of experts those alone, as llama.cpp does it; where there are none, every matrix of a block."""
        if self._network.experts == 0 and self._name != "MXFP4_MOE":
            return self._base if _block(tensor.name, none=-1) >= 0 else "Q8_0"
        is_stack = len(tensor.shape) > 2 and tensor.shape[2] > 1
        if self._network.architecture == "bailingmoe3":
            is_stack = is_stack and part in (_Part.UP, _Part.GATE, _Part.DOWN)
        return self._base if is_stack else "Q8_0"

    def _embedding(self) -> str:
        if self._name in {"IQ2_XXS", "IQ2_XS", "IQ1_S", "IQ1_M"}:
            return "Q2_K"
        if self._name in {"IQ2_S", "IQ2_M", "IQ3_XXS"}:
            return "IQ3_S"
        return "Q4_K" if self._name in {"TQ1_0", "TQ2_0"} else self._base

    def _two_bits(self, part: _Part) -> str:
        is_larger = self._name in {"IQ2_S", "IQ2_M"}
        has_eight = self._network.experts == 8
        if part is _Part.VALUE:
            if self._network.heads_a_key >= 4 or self._network.experts >= 4:
                return "Q4_K"
            return "IQ3_S" if is_larger else "Q2_K"
        if part is _Part.KEY and has_eight:
            return "Q4_K"
        if part is _Part.DOWN and self._seen[part] < self._network.layers // 8:
            return "IQ3_S" if is_larger else "Q2_K"
        if part is _Part.ATTENTION_OUTPUT:
            if has_eight:
                return "Q5_K"
            if is_larger:
                return "IQ3_S"
            return "IQ2_XXS" if self._name in {"IQ1_S", "IQ1_M"} else self._base
        return self._base

    def _usual(self, name: str, part: _Part) -> str:
        if part is _Part.VALUE:
            return self._value()
        if part in (_Part.KEY, _Part.QUERY):
            if part is _Part.KEY and self._network.experts == 8:
                return "Q8_0"
            return {"IQ3_XS": "IQ3_XXS", "IQ3_XXS": "IQ2_S"}.get(self._name, self._base)
        if part is _Part.DOWN:
            return self._down(self._index(name, part))
        if part is _Part.ATTENTION_OUTPUT:
            return self._attention_output()
        if part in (_Part.GATE, _Part.UP):
            index, layers = self._index(name, part), self._network.layers
            is_inner = layers // 8 <= index < 7 * layers // 8
            return "IQ3_XXS" if self._name == "IQ3_XS" and is_inner else self._base
        return self._base

    def _value(self) -> str:
        index, is_shared = self._seen[_Part.VALUE], self._network.heads_a_key >= 4
        deserves_more = _deserves_more(index, self._values)
        chosen = {
            "Q2_K": "Q4_K" if is_shared else "Q3_K",
            "Q2_K_S": "Q4_K" if is_shared else self._base,
            "IQ3_XXS": "Q4_K" if is_shared else ("IQ3_XXS" if self._with_importance else "IQ3_S"),
            "IQ3_XS": "Q4_K" if is_shared else self._base,
            "IQ3_S": "Q4_K" if is_shared else self._base,
            "IQ3_M": "Q4_K",
            "Q3_K_M": "Q5_K" if index < 2 else "Q4_K",
            "Q3_K_L": "Q5_K",
            "IQ4_NL": "Q5_K" if is_shared else self._base,
            "IQ4_XS": "Q5_K" if is_shared else self._base,
            "Q4_K_M": "Q6_K" if deserves_more else self._base,
            "Q5_K_M": "Q6_K" if deserves_more else self._base,
            "Q4_K_S": "Q5_K" if index < 4 else self._base,
        }.get(self._name, self._base)
        if self._network.is_seventy_billion and chosen in {"Q3_K", "Q4_K"}:
            chosen = "Q5_K"
        return "Q8_0" if self._network.experts == 8 else chosen

    def _down(self, index: int) -> str:
        layers = self._network.layers
        is_falcon = self._network.architecture == "falcon"
        is_early, is_earliest = index < layers // 8, index < layers // 16
        deserves_more = _deserves_more(index, layers)
        if self._name == "Q4_K_M" and is_falcon:
            return "Q6_K" if is_earliest else ("Q5_K" if deserves_more else "Q4_K")
        if self._name == "Q3_K_M":
            return "Q5_K" if is_earliest else ("Q4_K" if deserves_more or not is_falcon else "Q3_K")
        if self._name == "IQ3_XXS":
            return self._base if self._with_importance else ("Q4_K" if is_early else "Q3_K")
        better, applies = {
            "Q2_K": ("Q3_K", True),
            "Q2_K_S": ("Q4_K", is_early),
            "IQ3_M": ("Q4_K", is_early or (self._network.experts == 8 and deserves_more)),
            "Q3_K_L": ("Q4_K" if is_falcon else "Q5_K", True),
            "Q4_K_M": ("Q6_K", deserves_more),
            "Q5_K_M": ("Q6_K", deserves_more),
            "IQ4_NL": ("Q5_K", is_early and not self._with_importance),
            "IQ4_XS": ("Q5_K", is_early and not self._with_importance),
            "Q4_K_S": ("Q5_K", is_early and not is_falcon),
            "Q4_0": ("Q4_1", is_early and self._with_importance),
            "Q5_0": ("Q5_1", is_early and self._with_importance),
        }.get(self._name, (self._base, False))
        return better if applies else self._base

    def _attention_output(self) -> str:
        if self._network.architecture == "falcon":
            return "Q4_K" if self._name == "Q3_K_L" else self._base
        if self._network.experts == 8:
            small = {"Q2_K", "Q3_K_S", "Q3_K_M", "Q4_K_S", "Q4_K_M", "IQ4_NL", "IQ4_XS"}
            return "Q5_K" if self._name in small or self._name.startswith("IQ3_") else self._base
        better = {"Q2_K": "Q3_K", "IQ3_XXS": "IQ3_S", "Q3_K_M": "Q4_K", "Q3_K_L": "Q5_K", "IQ3_M": "Q4_K"}
        return better.get(self._name, self._base)

    def _index(self, name: str, part: _Part) -> int:
        """Which block; without experts, which of its kind it is, since only with them a block has several."""
        if self._network.experts <= 1:
            return self._seen[part]
        index = _block(name, none=-1)
        if not 0 <= index < self._network.layers:
            raise InvalidError(
                "unplaceable-tensor",
                f"tensor {name!r} belongs to a block from 0 to {self._network.layers - 1} of a model with experts, "
                "its name says none of them",
                hint="convert the model again with llama.cpp's own converter",
            )
        return index


def _that_fits(kind: str, width: int) -> str:
    """The type itself, or one of shorter blocks where the rows are no multiple of its own."""
    if width % TYPES[kind].block == 0:
        return kind
    smaller = _SMALLER_BLOCKS.get(kind, kind)
    return smaller if width % TYPES[smaller].block == 0 else "F16"

"""Between llama.cpp's names and layout of a network and those of transformers. Pure.

Source: llama.cpp's ``conversion`` (``gguf-py/gguf/tensor_mapping.py``, ``LlamaModel.permute``); checked by opening and
writing back, and by asking both sides (``tests/scenario/test_training.py``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from undercroft.core.errors import InvalidError
from undercroft.registry.inspection.gguf import GgufHeader

ROPE_FACTORS = "rope_freqs.weight"
_BLOCK = re.compile(r"blk\.(?P<number>\d+)\.(?P<part>[a-z_]+)\.(?P<kind>weight|bias)")
_WHOLE = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_PARTS = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_PART_OF = {theirs: ours for ours, theirs in _PARTS.items()}
_MATRIX = re.compile(r"(?:base_model\.model\.)?model\.layers\.(?P<number>\d+)\.(?P<part>[a-z_.]+)")
# Its name in llama.cpp → class in transformers. Mistral's files call themselves llama.
_CLASSES = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}
_TURNED = ("attn_q", "attn_k")  # of llama: rotary pairs are neighbours in llama.cpp, halves apart in transformers


@dataclass(frozen=True, slots=True)
class Architecture:
    """A network that can be trained.

    Args:
        name: In llama.cpp.
        heads: Query heads; count.
        kv_heads: Key and value heads; count.
        config: ``config.json`` for transformers.
    """

    name: str
    heads: int
    kv_heads: int
    config: Mapping[str, Any]

    def turned_heads(self, name: str) -> int:
        """Heads whose rotary pairs lie otherwise in transformers; 0 where a tensor is the same in both.

        Args:
            name: Of the tensor in llama.cpp.
        """
        match = _BLOCK.fullmatch(name)
        if self.name != "llama" or match is None or match["part"] not in _TURNED:
            return 0
        return self.heads if match["part"] == "attn_q" else self.kv_heads


def architecture_of(header: GgufHeader) -> Architecture:
    """What a file says of its network.

    Raises:
        InvalidError: ``not-trainable``: it is of another kind, or has something that is not known here.
    """
    name = header.text("general.architecture") or "unknown"
    if name not in _CLASSES:
        raise _refused(header, f"its architecture is {name!r}, expected one of {', '.join(_CLASSES)}")

    def count(key: str, default: int | None = None) -> int:
        found = header.integer(f"{name}.{key}")
        if found is None and default is None:
            raise _refused(header, f"it does not say {name}.{key}, or says it block by block")
        return found if found is not None else default or 0

    if count("expert_count", 0):
        raise _refused(header, "it is a mixture of experts")
    width, heads = count("embedding_length"), count("attention.head_count")
    kv_heads, shapes = count("attention.head_count_kv", heads), {one.name: one.shape for one in header.tensors}
    head_width = count("attention.key_length", width // heads)
    for key in ("attention.value_length", "rope.dimension_count"):
        if count(key, head_width) != head_width:
            raise _refused(header, f"its {name}.{key} is not the width of a head, {head_width}")
    for tensor in shapes:
        if tensor != ROPE_FACTORS and published_name(tensor) is None:
            raise _refused(header, f"it has a tensor {tensor!r}, which is not known here")
    config = {
        "architectures": [_CLASSES[name]],
        "model_type": name,
        "hidden_act": "silu",
        "hidden_size": width,
        "intermediate_size": count("feed_forward_length"),
        "num_hidden_layers": count("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head_width,
        "rms_norm_eps": _number(header, f"{name}.attention.layer_norm_rms_epsilon", 1e-5),
        "max_position_embeddings": count("context_length"),
        "vocab_size": shapes["token_embd.weight"][1],
        "tie_word_embeddings": "output.weight" not in shapes,
        "attention_bias": name == "llama" and "blk.0.attn_q.bias" in shapes,
        "mlp_bias": "blk.0.ffn_gate.bias" in shapes,
        "rope_parameters": _rope(header, name),
        "use_cache": False,
    }
    return Architecture(name, heads, kv_heads, config)


def published_name(name: str) -> str | None:
    """What transformers calls a tensor of llama.cpp; None where it has none such."""
    match = _BLOCK.fullmatch(name)
    if match is None:
        return _WHOLE.get(name)
    part = _PARTS.get(match["part"])
    return None if part is None else f"model.layers.{match['number']}.{part}.{match['kind']}"


def tensor_name(module: str) -> str:
    """What llama.cpp calls the weight of a module of transformers, or of PEFT.

    Raises:
        InvalidError: ``not-trainable``: there is none.
    """
    match = _MATRIX.fullmatch(module)
    part = _PART_OF.get(match["part"]) if match is not None else None
    if match is None or part is None:
        raise InvalidError("not-trainable", f"llama.cpp has no tensor for the module {module!r}")
    return f"blk.{match['number']}.{part}.weight"


def to_published(rows: NDArray[Any], heads: int) -> NDArray[Any]:
    """Rows of a query or key matrix as transformers has them: the halves of rotary pairs apart.

    Args:
        rows: Shape ``(heads * head_width, …)``, pairs neighbouring.
        heads: Count; 0 leaves them as they are.
    """
    return rows if heads == 0 else _swapped(rows, heads, len(rows) // heads // 2, 2)


def from_published(rows: NDArray[Any], heads: int) -> NDArray[Any]:
    """The other way round."""
    return rows if heads == 0 else _swapped(rows, heads, 2, len(rows) // heads // 2)


def _swapped(rows: NDArray[Any], heads: int, outer: int, inner: int) -> NDArray[Any]:
    shaped = rows.reshape(heads, outer, inner, *rows.shape[1:])
    return np.ascontiguousarray(shaped.swapaxes(1, 2)).reshape(rows.shape)


def _rope(header: GgufHeader, name: str) -> dict[str, Any]:
    base = {"rope_theta": _number(header, f"{name}.rope.freq_base", 10_000.0)}
    kind = header.text(f"{name}.rope.scaling.type") or "none"
    if kind == "none":
        return {**base, "rope_type": "default"}
    if kind == "linear":
        return {**base, "rope_type": "linear", "factor": _number(header, f"{name}.rope.scaling.factor", 1.0)}
    raise _refused(header, f"its positions are scaled by {kind!r}, expected none or 'linear'")


def _number(header: GgufHeader, key: str, default: float) -> float:
    found = header.values.get(key)
    return float(found.value) if found is not None and isinstance(found.value, (int, float)) else default


def _refused(header: GgufHeader, why: str) -> InvalidError:
    return InvalidError(
        "not-trainable", f"{header.name} cannot be trained: {why}", hint="take a Llama, Mistral or Qwen"
    )

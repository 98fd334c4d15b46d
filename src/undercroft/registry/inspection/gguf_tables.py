"""What the tensors of some architectures are called and how large they are, as far as the engine insists on it.

Source: ``load_arch_tensors`` of ``llama.cpp/src/models/llama.cpp`` and ``bert.cpp``, 2026-10. The engine refuses a
file with a tensor that it does not use, so a name that is not here is refused here already.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from undercroft.registry.inspection.gguf import GgufHeader

_BLOCK = re.compile(r"blk\.(\d{1,9})\.(.+)")
# One attention and one gated feed-forward layer with separate tensors, whatever else is in a block.
_PLAIN = {"llama", "qwen2", "qwen3", "gemma", "gemma2", "gemma3", "smollm3"}
_LLAMA_NAMES = re.compile(
    r"token_embd\.weight|output_norm\.weight|output\.weight|rope_(freqs|factors_long|factors_short)\.weight|"
    r"blk\.\d+\.((attn_norm|ffn_norm|rope_freqs|rope_factors_long|rope_factors_short|ffn_gate_inp)\.weight|"
    r"(attn_qkv|attn_q|attn_k|attn_v|attn_output|ffn_gate|ffn_up|ffn_down|ffn_(gate|up|down)_(exps|shexp))"
    r"\.(weight|bias|scale|input_scale))"
)
_BERT_NAMES = re.compile(
    r"(token_embd|token_types|position_embd|cls|cls\.output|cls\.norm|token_embd_norm)\.(weight|bias)|"
    r"blk\.\d+\.(attn_(q|k|v|qkv|output|q_norm|k_norm|output_norm)|ffn_(up|down)|layer_output_norm)"
    r"\.(weight|bias|scale|input_scale)"
)


@dataclass(frozen=True, slots=True)
class Sizes:
    """Dimensions that tensors of one block share; values. None where the metadata does not say.

    Args:
        width: Between blocks.
        query: All query heads.
        key: All key heads.
        value: All value heads.
        attended: All value heads, once a query head.
        inner: Of the feed-forward layer.
        context: Longest context; tokens.
        token_types: Kinds of segments that an encoder tells apart; count.
    """

    width: int
    query: int
    key: int
    value: int
    attended: int
    inner: int | None
    context: int | None
    token_types: int | None


def is_known(architecture: str) -> bool:
    """Whether there is a table for it."""
    return architecture in _PLAIN or architecture == "bert"


def find_problem(
    header: GgufHeader, architecture: str, layers: int, sizes: Sizes, shapes: Mapping[str, tuple[int, ...]]
) -> str | None:
    """What does not fit, as the rest of a sentence; None where all does, or the architecture is not known.

    Args:
        layers: Blocks; count.
        sizes: From the metadata.
        shapes: Of every tensor, innermost dimension first.
    """
    if not is_known(architecture):
        return None
    if sizes.inner is None and header.array(f"{architecture}.feed_forward_length") is None:
        return f"it does not say its {architecture}.feed_forward_length"
    if architecture == "bert":
        return _bert_problem(header, layers, sizes, shapes)
    return _wrong_shape(_plain_shapes(sizes), shapes) or (
        _llama_problem(header, layers, shapes) if architecture == "llama" else None
    )


def _plain_shapes(s: Sizes) -> dict[str, tuple[int, ...]]:
    """Suffix of a block's tensor → its shape."""
    shapes: dict[str, tuple[int, ...]] = {
        "attn_norm.weight": (s.width,),
        "ffn_norm.weight": (s.width,),
        "attn_q.weight": (s.width, s.query),
        "attn_k.weight": (s.width, s.key),
        "attn_v.weight": (s.width, s.value),
        "attn_output.weight": (s.attended, s.width),
        "attn_q.bias": (s.query,),
        "attn_k.bias": (s.key,),
        "attn_v.bias": (s.value,),
    }
    if s.inner is not None:
        shapes |= {
            "ffn_gate.weight": (s.width, s.inner),
            "ffn_up.weight": (s.width, s.inner),
            "ffn_down.weight": (s.inner, s.width),
        }
    return shapes


def _wrong_shape(expected: Mapping[str, tuple[int, ...]], shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    for name, shape in shapes.items():
        match = _BLOCK.fullmatch(name)
        wanted = expected.get(match[2] if match else name)
        if wanted is not None and shape != wanted:
            return f"tensor {name!r} has the shape {list(shape)}, expected {list(wanted)}"
    return None


def _llama_problem(header: GgufHeader, layers: int, shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    if "llama.attention.layer_norm_rms_epsilon" not in header.values:
        return "it does not say its llama.attention.layer_norm_rms_epsilon"
    has_experts = bool(header.integer("llama.expert_count"))
    return _names_problem("llama", _LLAMA_NAMES, _llama_needs(layers, has_experts, shapes), shapes)


def _llama_needs(layers: int, has_experts: bool, shapes: Mapping[str, tuple[int, ...]]) -> Iterator[str]:
    yield "output_norm.weight"
    for block in range(layers):
        prefix = f"blk.{block}."
        yield from (f"{prefix}{name}.weight" for name in ("attn_norm", "attn_output", "ffn_norm"))
        if f"{prefix}attn_qkv.weight" not in shapes:
            yield from (f"{prefix}attn_{part}.weight" for part in ("q", "k", "v"))
        if has_experts:
            yield f"{prefix}ffn_gate_inp.weight"
        else:
            yield from (f"{prefix}ffn_{part}.weight" for part in ("gate", "up", "down"))


def _bert_problem(header: GgufHeader, layers: int, s: Sizes, shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    if "bert.attention.layer_norm_epsilon" not in header.values:
        return "it does not say its bert.attention.layer_norm_epsilon"
    if not s.token_types or not s.context:
        return "it does not say its tokenizer.ggml.token_type_count"
    expected: dict[str, tuple[int, ...]] = {
        "position_embd.weight": (s.width, s.context),
        "token_types.weight": (s.width, s.token_types),
        "token_embd_norm.weight": (s.width,),
        "token_embd_norm.bias": (s.width,),
        "attn_q.weight": (s.width, s.query),
        "attn_k.weight": (s.width, s.key),
        "attn_v.weight": (s.width, s.value),
        "attn_output.weight": (s.attended, s.width),
        "attn_output_norm.weight": (s.width,),
        "attn_output_norm.bias": (s.width,),
        "layer_output_norm.weight": (s.width,),
        "layer_output_norm.bias": (s.width,),
    }
    if s.inner is not None:
        expected |= {"ffn_up.weight": (s.width, s.inner), "ffn_down.weight": (s.inner, s.width)}
    return _wrong_shape(expected, shapes) or _names_problem("bert", _BERT_NAMES, _bert_needs(layers, shapes), shapes)


def _bert_needs(layers: int, shapes: Mapping[str, tuple[int, ...]]) -> Iterator[str]:
    yield from ("position_embd.weight", "token_embd_norm.weight", "token_embd_norm.bias")
    for block in range(layers):
        prefix = f"blk.{block}."
        if f"{prefix}attn_qkv.weight" not in shapes:
            yield from (f"{prefix}attn_{part}.weight" for part in ("q", "k", "v"))
        for name in ("attn_output", "attn_output_norm", "ffn_up", "ffn_down", "layer_output_norm"):
            yield f"{prefix}{name}.weight"
        yield from (f"{prefix}{name}.bias" for name in ("attn_output_norm", "layer_output_norm"))


def _names_problem(
    architecture: str, known: re.Pattern[str], needed: Iterator[str], shapes: Mapping[str, tuple[int, ...]]
) -> str | None:
    missing = [name for name in needed if name not in shapes]
    if missing:
        more = f" and {len(missing) - 1} others" if len(missing) > 1 else ""
        return f"it has no tensor {missing[0]!r}{more}"
    strange = next((name for name in shapes if not known.fullmatch(name)), None)
    return f"tensor {strange!r} is none of a {architecture} model" if strange is not None else None

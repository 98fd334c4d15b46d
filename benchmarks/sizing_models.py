"""What is loaded: shapes of real models, and how."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import lru_cache

from benchmarks.sizing_files import LARGEST_PIECES
from undercroft.catalog.families import Catalogue, load_catalogue
from undercroft.catalog.shapes import CacheType, Experts, LatentAttention, ModelShape

# Merges that the real tokenizers list; a file's header says them, the catalogue does not. Others get one a token.
_MERGES = {
    "llama-3": 280_147,
    "qwen": 151_387,
    "smollm3": 280_147,
    "smollm": 48_900,
    "granite": 48_891,
    "olmoe": 50_009,
}

_GRANITE_MOE = ModelShape(
    architecture="granitemoe",
    layers=24,
    width=1024,
    heads=16,
    kv_heads=(8,) * 24,
    head_dim=64,
    value_head_dim=64,
    feed_forward=512,
    vocabulary=49_155,
    context_tokens=4096,
    is_tied=True,
    experts=Experts(count=32, used=8, feed_forward=512),
)
_OLMOE = ModelShape(
    architecture="olmoe",
    layers=16,
    width=2048,
    heads=16,
    kv_heads=(16,) * 16,
    head_dim=128,
    value_head_dim=128,
    feed_forward=1024,
    vocabulary=50_304,
    context_tokens=4096,
    has_query_key_norm=True,
    experts=Experts(count=64, used=8, feed_forward=1024),
)
_FALCON_3 = ModelShape(
    architecture="llama",
    layers=18,
    width=2048,
    heads=8,
    kv_heads=(4,) * 18,
    head_dim=256,
    value_head_dim=256,
    feed_forward=8192,
    vocabulary=131_072,
    context_tokens=8192,
)
_DEEPSEEK = ModelShape(
    architecture="deepseek2",
    layers=27,
    width=2048,
    heads=16,
    kv_heads=(1,) * 27,
    head_dim=192,
    value_head_dim=128,
    feed_forward=10_944,
    vocabulary=102_400,
    context_tokens=163_840,
    experts=Experts(count=64, used=6, feed_forward=1408, shared=2, shared_feed_forward=2816, dense_layers=1),
    latent=LatentAttention(kv_rank=512, rope_dim=64),
)
_OTHERS = {
    "granite-3.0-1b-a400m": _GRANITE_MOE,
    "olmoe-1b-7b": _OLMOE,
    "falcon3-1b": _FALCON_3,
    "deepseek-v2-lite": _DEEPSEEK,
}
# Of the catalogue, with fewer blocks than they have.
_CUT = {"qwen3-30b-a3b (8 blocks)": ("qwen3-30b-a3b", 8)}


@dataclass(frozen=True, slots=True)
class Load:
    """One model, loaded in one way.

    Args:
        model: Name in the catalogue, or of `_OTHERS`.
        quantization: A mix of llama.cpp's.
        context_tokens: Of one slot.
        slots: Count.
        cache_type: Of keys and values.
        is_filled: The prompt of each slot fills its context, which takes long; else it is a piece and a little more.
    """

    model: str
    quantization: str
    context_tokens: int
    slots: int = 1
    cache_type: CacheType = "f16"
    is_filled: bool = False


QUICK = (
    Load("tinyllama-1.1b", "Q4_K_M", 2048),
    Load("qwen2.5-0.5b", "Q4_K_M", 4096),
    Load("qwen2.5-1.5b", "Q4_0", 2048, 2),
    Load("qwen2.5-3b", "Q4_K_M", 4096),
    Load("qwen3-0.6b", "Q8_0", 4096, 1, "q8_0"),
    Load("qwen3-1.7b", "Q6_K", 2048),
    Load("llama-3.2-1b", "Q4_K_M", 8192),
    Load("llama-3.2-3b", "IQ4_XS", 2048),
    Load("smollm2-135m", "Q8_0", 2048, 4),
    Load("smollm2-360m", "Q5_K_M", 2048),
    Load("gemma-3-1b", "Q4_0", 8192),
    Load("gemma-3-270m", "F16", 4096, 2),
    Load("granite-3.0-1b-a400m", "Q4_K_M", 2048),
    Load("bge-small-en", "F16", 512),
    Load("multilingual-e5-small", "Q8_0", 512),
)
FULL = (
    *QUICK,
    Load("tinyllama-1.1b", "Q8_0", 2048, 8, "q4_0"),
    Load("tinyllama-1.1b", "F16", 1024),
    Load("qwen2.5-0.5b", "F16", 32_768),
    Load("qwen2.5-0.5b", "IQ4_NL", 2048, 8),
    Load("qwen2.5-1.5b", "Q2_K", 8192, 1, "q8_0"),
    Load("qwen2.5-3b", "Q3_K_M", 2048, 4),
    Load("qwen3-0.6b", "Q4_K_M", 16_384),
    Load("qwen3-0.6b", "BF16", 1024, 2),
    Load("qwen3-1.7b", "Q4_K_S", 4096, 4),
    Load("llama-3.2-1b", "Q8_0", 2048, 4, "q4_0"),
    Load("llama-3.2-1b", "Q5_0", 32_768),
    Load("llama-3.2-3b", "Q4_K_M", 8192, 2),
    Load("smollm2-135m", "F32", 1024),
    Load("smollm2-135m", "Q4_K_M", 8192, 8),
    Load("smollm2-360m", "Q6_K", 4096, 16),
    Load("gemma-3-1b", "Q8_0", 2048, 4),
    Load("gemma-3-270m", "Q4_K_M", 32_768),
    Load("granite-3.0-1b-a400m", "Q8_0", 1024, 4),
    Load("olmoe-1b-7b", "Q4_K_M", 1024),
    Load("minilm-l6", "F32", 256),
    Load("minilm-l6", "Q4_K_M", 512),
    Load("tinyllama-1.1b", "Q5_K_M", 2048, 2),
    Load("qwen2.5-1.5b", "IQ4_XS", 32_768, 1, "q4_0"),
    Load("llama-3.2-1b", "Q2_K", 4096),
    Load("smollm2-135m", "Q4_0", 8192, is_filled=True),
    Load("gemma-3-270m", "Q8_0", 4096, is_filled=True),
)
# Not looked at while the formulas were made.
HELD_BACK = (
    Load("smollm2-1.7b", "IQ4_XS", 4096, 4),
    Load("phi-3-mini-4k", "Q4_0", 4096),
    Load("gemma-2-2b", "Q5_K_M", 8192, 2),
    Load("falcon3-1b", "Q8_0", 8192, 1, "q8_0"),
    Load("qwen3-4b", "Q2_K", 16_384, 1, "q4_0"),
    Load("smollm3-3b", "Q6_K", 4096),
    Load("qwen3-30b-a3b (8 blocks)", "Q4_K_M", 4096, 2),
    Load("deepseek-v2-lite", "Q2_K", 4096),
    Load("bge-m3", "F16", 2048),
    Load("bert-base-multilingual", "Q8_0", 512),
    Load("qwen2.5-7b", "Q4_K_M", 4096),
    Load("mistral-7b-v0.3", "Q4_0", 8192, 1, "q8_0"),
)


def shape_of(load: Load) -> ModelShape:
    """The shape with its real number of merges, as the header of the real file would give it."""
    shape = _OTHERS.get(load.model) or _cut(load.model) or _catalogue().find(load.model).shape
    if shape.is_encoder or shape.vocabulary <= LARGEST_PIECES or shape.architecture.startswith("gemma"):
        return shape
    merges = next((n for start, n in _MERGES.items() if load.model.startswith(start)), shape.vocabulary - 257)
    return dataclasses.replace(shape, extra={**shape.extra, "merge_count": merges})


def _cut(name: str) -> ModelShape | None:
    if name not in _CUT:
        return None
    whole, layers = _CUT[name]
    shape = _catalogue().find(whole).shape
    return dataclasses.replace(shape, layers=layers, kv_heads=shape.kv_heads[:layers], parameters=0)


@lru_cache(maxsize=1)
def _catalogue() -> Catalogue:
    return load_catalogue()

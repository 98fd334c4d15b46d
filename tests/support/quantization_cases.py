"""Which random models are quantized with which schemes, here and by llama.cpp's own quantizer."""

from __future__ import annotations

from pathlib import Path

from tests.support.random_networks import RandomNetwork, write_random
from undercroft.optimize.quantization.schemes import OWN_SCHEMES, SCHEMES

MATRIX = "matrix.gguf"
MODEL = "model.gguf"

_BERT = {"position_embd.weight": (64, 384), "token_types.weight": (2, 384)}

NETWORKS = {
    "llama": RandomNetwork(),
    "llama-tied": RandomNetwork(is_tied=True, kv_heads=1, kind="BF16"),
    "llama-f32": RandomNetwork(blocks=9, kind="F32", heads=8, kv_heads=8),
    "llama-q8": RandomNetwork(blocks=8, kind="Q8_0"),
    "llama-70b": RandomNetwork(blocks=80, heads=8, kv_heads=1, rows=2, feed_forward=256),
    "qwen2-72b": RandomNetwork("qwen2", blocks=80, heads=8, kv_heads=8, rows=2, feed_forward=256),
    "qwen2": RandomNetwork(
        "qwen2", blocks=24, width=896, feed_forward=4864, heads=14, kv_heads=2, rows=2, is_tied=True
    ),
    "falcon": RandomNetwork("falcon", blocks=32, is_fused=True, heads=8, kv_heads=1),
    "phi3": RandomNetwork("phi3", blocks=12, is_fused=True, heads=8, kv_heads=8),
    "bert": RandomNetwork("bert", blocks=6, width=384, feed_forward=1536, heads=12, kv_heads=12, extra=_BERT),
    "mixtral-8": RandomNetwork("llama", blocks=16, experts=8, heads=4, kv_heads=2, rows=2),
    "qwen3moe-4": RandomNetwork("qwen3moe", blocks=16, experts=4, heads=8, kv_heads=8, rows=2),
    "qwen3moe-16": RandomNetwork("qwen3moe", blocks=16, experts=16, heads=8, kv_heads=2, rows=2),
    "odd": RandomNetwork("llama", blocks=4, width=320, feed_forward=200, heads=5, kv_heads=5),
    "narrow": RandomNetwork("gemma3", blocks=4, width=96, feed_forward=512, heads=4, kv_heads=4, is_tied=True),
}

_EVERYDAY = ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_K_S", "Q4_0", "Q3_K_L", "Q3_K_M", "Q2_K", "IQ4_XS", "IQ4_NL")
_ALL = tuple(name for name in SCHEMES if name not in OWN_SCHEMES)
_BOTH = (False, True)
_WITH_ALL = ("llama", "mixtral-8", "llama-tied")

# Model → scheme, and whether with an importance matrix.
CASES = {
    name: [(scheme, matrix) for scheme in (_ALL if name in _WITH_ALL else _EVERYDAY) for matrix in _BOTH]
    for name in NETWORKS
}
for _name in ("llama-70b", "qwen2-72b", "falcon"):
    CASES[_name] += [(scheme, True) for scheme in ("IQ3_M", "IQ3_XS", "IQ2_M", "Q2_K_S", "IQ3_XXS")]
for _name in ("qwen3moe-4", "qwen3moe-16", "odd", "narrow"):
    CASES[_name] += [(scheme, True) for scheme in ("MXFP4_MOE", "IQ1_S", "IQ2_S", "IQ3_M", "TQ1_0")]


def sources(folder: Path, name: str) -> Path:
    """Writes one of the models into a folder, as both quantizers get it."""
    return write_random(folder / MODEL, NETWORKS[name])

"""Shapes of published models, written by hand, for the arithmetic of the tests."""

from __future__ import annotations

from undercroft.catalog.shapes import Experts, ModelShape


def llama(
    layers: int, width: int, heads: int, kv_heads: int, feed_forward: int, vocabulary: int, *, is_tied: bool = False
) -> ModelShape:
    """A Llama; the head size is the width shared out."""
    head = width // heads
    return ModelShape(
        architecture="llama",
        layers=layers,
        width=width,
        heads=heads,
        kv_heads=(kv_heads,) * layers,
        head_dim=head,
        value_head_dim=head,
        feed_forward=feed_forward,
        vocabulary=vocabulary,
        context_tokens=131072,
        is_tied=is_tied,
    )


LLAMA_7B = llama(32, 4096, 32, 32, 11008, 32000)
LLAMA_8B = llama(32, 4096, 32, 8, 14336, 128256)
TINY_LLAMA = llama(22, 2048, 32, 4, 5632, 32000)
# Ministral 3 3B: heads of 128, output and embedding in one.
MINISTRAL_3B = ModelShape(
    "llama", 26, 3072, 32, (8,) * 26, 128, 128, 9216, 131072, 262144, is_tied=True, parameters=3_400_000_000
)
QWEN_7B = ModelShape(
    "qwen2", 28, 3584, 28, (4,) * 28, 128, 128, 18944, 152064, 32768, has_attention_bias=True, parameters=7_615_616_512
)
QWEN_30B_A3B = ModelShape(
    "qwen3moe",
    48,
    2048,
    32,
    (4,) * 48,
    128,
    128,
    0,
    151936,
    40960,
    has_query_key_norm=True,
    experts=Experts(count=128, used=8, feed_forward=768),
)
MINI_LM = ModelShape(
    "bert",
    6,
    384,
    12,
    (12,) * 6,
    32,
    32,
    1536,
    30522,
    512,
    is_tied=True,
    is_gated=False,
    has_attention_bias=True,
    is_encoder=True,
    position_rows=512,
    extra={"token_type_count": 2},
)

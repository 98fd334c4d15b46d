"""Shapes of published models that the catalogue does not have, and a small one."""

from __future__ import annotations

from undercroft.catalog.shapes import Experts, LatentAttention, ModelShape

TINYLLAMA = ModelShape(
    architecture="llama",
    layers=22,
    width=2048,
    heads=32,
    kv_heads=(4,) * 22,
    head_dim=64,
    value_head_dim=64,
    feed_forward=5632,
    vocabulary=32_000,
    context_tokens=2048,
)
QWEN_MOE = ModelShape(
    architecture="qwen2moe",
    layers=24,
    width=2048,
    heads=16,
    kv_heads=(16,) * 24,
    head_dim=128,
    value_head_dim=128,
    feed_forward=5632,
    vocabulary=151_936,
    context_tokens=8192,
    has_attention_bias=True,
    experts=Experts(count=60, used=4, feed_forward=1408, shared=1, shared_feed_forward=5632),
)
MIXTRAL = ModelShape(
    architecture="llama",
    layers=32,
    width=4096,
    heads=32,
    kv_heads=(8,) * 32,
    head_dim=128,
    value_head_dim=128,
    feed_forward=14_336,
    vocabulary=32_000,
    context_tokens=32_768,
    experts=Experts(count=8, used=2, feed_forward=14_336),
)
OLMOE = ModelShape(
    architecture="olmoe",
    layers=16,
    width=2048,
    heads=16,
    kv_heads=(16,) * 16,
    head_dim=128,
    value_head_dim=128,
    feed_forward=0,
    vocabulary=50_304,
    context_tokens=4096,
    has_query_key_norm=True,
    experts=Experts(count=64, used=8, feed_forward=1024),
)
DEEPSEEK_V2_LITE = ModelShape(
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
DEEPSEEK_V3 = ModelShape(
    architecture="deepseek2",
    layers=61,
    width=7168,
    heads=128,
    kv_heads=(1,) * 61,
    head_dim=192,
    value_head_dim=128,
    feed_forward=18_432,
    vocabulary=129_280,
    context_tokens=163_840,
    experts=Experts(count=256, used=8, feed_forward=2048, shared=1, shared_feed_forward=2048, dense_layers=3),
    latent=LatentAttention(kv_rank=512, rope_dim=64, query_rank=1536),
    extra={"expert_bias": 1},
)

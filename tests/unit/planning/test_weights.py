"""Tensors by shape: their number of parameters is what the makers publish."""

from __future__ import annotations

import dataclasses

import pytest

from undercroft.catalog.families import load_catalogue
from undercroft.catalog.shapes import Experts, LatentAttention, ModelShape, StoredTensor
from undercroft.planning.weights import parameter_count, tensor_shapes

CATALOGUE = load_catalogue()

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


@pytest.mark.parametrize(
    ("model", "published"),
    [
        (TINYLLAMA, 1_100_048_384),
        (MIXTRAL, 46_702_792_704),
        (QWEN_MOE, 14_315_784_192),
        (OLMOE, 6_919_161_856),
        (DEEPSEEK_V2_LITE, 15_706_484_224),
        (DEEPSEEK_V3, 671_026_419_200),
    ],
    ids=["tinyllama", "mixtral-8x7b", "qwen1.5-moe-a2.7b", "olmoe-1b-7b", "deepseek-v2-lite", "deepseek-v3"],
)
def test_parameters_of_a_shape_are_the_published_ones(model: ModelShape, published: int) -> None:
    """Safetensors metadata of the makers' repositories says the same number, to the last parameter."""
    assert parameter_count(model) == published


@pytest.mark.parametrize("entry", CATALOGUE.models, ids=lambda entry: entry.name)
def test_parameters_of_the_catalogue_are_computed_exactly(entry: object) -> None:
    """What the catalogue quotes from the makers comes out of the sizes alone."""
    shape = entry.shape  # type: ignore[attr-defined]
    assert parameter_count(shape) == shape.parameters


def test_what_a_file_says_goes_first() -> None:
    """Tensors that were read are not computed again."""
    tensor = StoredTensor("token_embd.weight", (8, 4), "F16", 64)
    assert [t.name for t in tensor_shapes(dataclasses.replace(TINYLLAMA, tensors=(tensor,)))] == ["token_embd.weight"]


def test_a_tied_network_has_no_output_matrix() -> None:
    """The embedding table is used twice and stored once."""
    names = {tensor.name for tensor in tensor_shapes(dataclasses.replace(TINYLLAMA, is_tied=True))}
    assert "output.weight" not in names
    assert "token_embd.weight" in names

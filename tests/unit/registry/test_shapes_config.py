"""Shapes from ``config.json``: published ones give what the catalogue says; wrong ones are refused with the key."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from undercroft.catalog.families import load_catalogue
from undercroft.catalog.shapes import Experts, LatentAttention
from undercroft.core.errors import InvalidError
from undercroft.planning.weights import parameter_count
from undercroft.registry.shapes_config import KNOWN_KINDS, shape_of_config

CATALOGUE = load_catalogue()


def config(kind: str, layers: int, width: int, heads: int, inner: int, tokens: int, **more: Any) -> dict[str, Any]:
    """The keys that most configurations have."""
    return {
        "model_type": kind,
        "num_hidden_layers": layers,
        "hidden_size": width,
        "num_attention_heads": heads,
        "intermediate_size": inner,
        "vocab_size": tokens,
        **more,
    }


# As published in config.json of each model's repository; keys that say nothing of the shape are left out.
PUBLISHED: dict[str, dict[str, Any]] = {
    "llama-3.2-3b": config("llama", 28, 3072, 24, 8192, 128_256, num_key_value_heads=8, head_dim=128,
                           max_position_embeddings=131_072, tie_word_embeddings=True, attention_bias=False),
    "tinyllama-1.1b": config("llama", 22, 2048, 32, 5632, 32_000, num_key_value_heads=4,
                             max_position_embeddings=2048, tie_word_embeddings=False),
    "mistral-7b-v0.1": config("mistral", 32, 4096, 32, 14_336, 32_000, num_key_value_heads=8, sliding_window=4096,
                              max_position_embeddings=32_768, tie_word_embeddings=False),
    "mistral-7b-v0.3": config("mistral", 32, 4096, 32, 14_336, 32_768, num_key_value_heads=8, sliding_window=None,
                              max_position_embeddings=32_768, tie_word_embeddings=False),
    "qwen2.5-7b": config("qwen2", 28, 3584, 28, 18_944, 152_064, num_key_value_heads=4, sliding_window=131_072,
                         use_sliding_window=False, max_window_layers=28, max_position_embeddings=32_768,
                         tie_word_embeddings=False),
    "qwen2.5-0.5b": config("qwen2", 24, 896, 14, 4864, 151_936, num_key_value_heads=2, sliding_window=32_768,
                           use_sliding_window=False, max_position_embeddings=32_768, tie_word_embeddings=True),
    "qwen3-1.7b": config("qwen3", 28, 2048, 16, 6144, 151_936, num_key_value_heads=8, head_dim=128,
                         sliding_window=None, use_sliding_window=False, max_position_embeddings=40_960,
                         tie_word_embeddings=True, attention_bias=False),
    "qwen3-30b-a3b": config("qwen3_moe", 48, 2048, 32, 6144, 151_936, num_key_value_heads=4, head_dim=128,
                            num_experts=128, num_experts_per_tok=8, moe_intermediate_size=768, mlp_only_layers=[],
                            max_position_embeddings=40_960, tie_word_embeddings=False),
    "gemma-2-9b": config("gemma2", 42, 3584, 16, 14_336, 256_000, num_key_value_heads=8, head_dim=256,
                         sliding_window=4096, max_position_embeddings=8192),
    "gemma-3-1b": config("gemma3_text", 26, 1152, 4, 6912, 262_144, num_key_value_heads=1, head_dim=256,
                         sliding_window=512, sliding_window_pattern=6, max_position_embeddings=32_768),
    "gemma-3-4b": {"model_type": "gemma3", "vision_config": {"hidden_size": 1152}, "text_config": {
        "hidden_size": 2560, "intermediate_size": 10_240, "model_type": "gemma3_text", "num_hidden_layers": 34,
        "sliding_window": 1024}},
    "phi-3-mini-4k": config("phi3", 32, 3072, 32, 8192, 32_064, num_key_value_heads=32, sliding_window=2047,
                            max_position_embeddings=4096, tie_word_embeddings=False),
    "phi-3.5-mini": config("phi3", 32, 3072, 32, 8192, 32_064, num_key_value_heads=32, sliding_window=262_144,
                           max_position_embeddings=131_072, tie_word_embeddings=False),
    "chatglm3-6b": {"model_type": "chatglm", "num_layers": 28, "hidden_size": 4096, "num_attention_heads": 32,
                    "multi_query_attention": True, "multi_query_group_num": 2, "kv_channels": 128,
                    "ffn_hidden_size": 13_696, "padded_vocab_size": 65_024, "vocab_size": 65_024, "seq_length": 8192,
                    "add_qkv_bias": True, "tie_word_embeddings": False},
    "glm-4-9b-0414": config("glm4", 40, 4096, 32, 13_696, 151_552, num_key_value_heads=2, head_dim=128,
                            attention_bias=True, max_position_embeddings=32_768, tie_word_embeddings=False),
    "smollm3-3b": config("smollm3", 36, 2048, 16, 11_008, 128_256, num_key_value_heads=4, attention_bias=False,
                         max_position_embeddings=65_536, sliding_window=None, use_sliding_window=False),
    "bert-base": config("bert", 12, 768, 12, 3072, 30_522, max_position_embeddings=512, type_vocab_size=2,
                        architectures=["BertModel"]),
    "bge-m3": config("xlm-roberta", 24, 1024, 16, 4096, 250_002, max_position_embeddings=8194, type_vocab_size=1,
                     architectures=["XLMRobertaModel"]),
}  # fmt: skip


@pytest.mark.parametrize("name", list(PUBLISHED))
def test_a_published_configuration_has_the_shape_of_the_catalogue(name: str) -> None:
    """What the configuration says, and what its kind's defaults say where it is silent, is the catalogue's entry."""
    wanted = CATALOGUE.find(name).shape
    assert shape_of_config(PUBLISHED[name]) == replace(wanted, parameters=0)


def test_mixtral() -> None:
    """All blocks have experts, so none has an ordinary feed-forward part; 46.7 billion parameters as published."""
    mixtral = config("mixtral", 32, 4096, 32, 14_336, 32_000, num_key_value_heads=8, num_local_experts=8,
                     num_experts_per_tok=2, sliding_window=None, max_position_embeddings=32_768)  # fmt: skip
    shape = shape_of_config(mixtral)
    assert (shape.feed_forward, shape.experts) == (0, Experts(8, 2, 14_336))
    assert parameter_count(shape) == 46_702_792_704


def test_qwen_1_5_moe() -> None:
    """Shared experts are counted beside the routed ones; 14.3 billion parameters as published."""
    qwen = config("qwen2_moe", 24, 2048, 16, 5632, 151_936, num_key_value_heads=16, num_experts=60,
                  num_experts_per_tok=4, moe_intermediate_size=1408, shared_expert_intermediate_size=5632,
                  use_sliding_window=False, sliding_window=32_768, max_position_embeddings=8192)  # fmt: skip
    shape = shape_of_config(qwen)
    assert shape.experts == Experts(60, 4, 1408, 1, 5632)
    assert parameter_count(shape) == 14_315_784_192


def test_deepseek_v2_lite() -> None:
    """Latent attention, two shared experts and one dense block; 15.7 billion parameters as published."""
    deepseek = config("deepseek_v2", 27, 2048, 16, 10_944, 102_400, num_key_value_heads=16, kv_lora_rank=512,
                      q_lora_rank=None, qk_rope_head_dim=64, qk_nope_head_dim=128, v_head_dim=128,
                      n_routed_experts=64, n_shared_experts=2, num_experts_per_tok=6, moe_intermediate_size=1408,
                      first_k_dense_replace=1, max_position_embeddings=163_840)  # fmt: skip
    shape = shape_of_config(deepseek)
    assert shape.latent == LatentAttention(512, 64, 0, 128, 128)
    assert shape.experts == Experts(64, 6, 1408, 2, 2816, 1)
    assert parameter_count(shape) == 15_706_484_224


def test_nomic_bert() -> None:
    """GPT-2's names for the sizes, rotary positions and a gate."""
    shape = shape_of_config({"model_type": "nomic_bert", "n_layer": 12, "n_embd": 768, "n_head": 12, "n_inner": 3072,
                             "n_positions": 8192, "vocab_size": 30_528, "qkv_proj_bias": False})  # fmt: skip
    assert (shape.architecture, shape.position_rows, shape.is_gated) == ("nomic-bert", 0, True)
    assert (shape.context_tokens, shape.has_attention_bias, shape.is_encoder) == (8192, False, True)


def test_windows_named_block_by_block() -> None:
    """Newer configurations say for each block what it sees; Qwen 2 has its window from a block on, if switched on."""
    types = ["sliding_attention", "sliding_attention", "full_attention"]
    gemma = config("gemma3_text", 3, 1152, 4, 6912, 262_144, sliding_window=512, layer_types=types)
    assert shape_of_config(gemma).window_layers == frozenset({0, 1})
    qwen = config("qwen2", 4, 896, 14, 4864, 151_936, num_key_value_heads=2, sliding_window=128, max_window_layers=3,
                  use_sliding_window=True, max_position_embeddings=1024)  # fmt: skip
    assert shape_of_config(qwen).window_layers == frozenset({3})


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"model_type": "mamba"}, "its model_type is 'mamba', known are bert, chatglm"),
        ({"model_type": ["llama"]}, "its model_type is"),
        ({"num_hidden_layers": None}, "does not say its num_hidden_layers"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers is 1,000,000,000, expected at most 1,024"),
        ({"hidden_size": "4096"}, "hidden_size is '4096', expected a count"),
        ({"hidden_size": -1}, "hidden_size is '-1', expected a count"),
        ({"vocab_size": True}, "vocab_size is 'True', expected a count"),
        ({"vocab_size": 2**50}, "expected a count"),
        ({"num_key_value_heads": 5}, "24 attention heads cannot share 5 key/value heads"),
    ],
)
def test_a_configuration_that_cannot_be(changes: dict[str, Any], problem: str) -> None:
    """The error names the key, what was expected and what was found."""
    with pytest.raises(InvalidError) as caught:
        shape_of_config({**PUBLISHED["llama-3.2-3b"], **changes})
    assert caught.value.code == "bad-config"
    assert problem in caught.value.message


@pytest.mark.parametrize("document", [[], "x", None, 7])
def test_a_document_that_is_no_configuration(document: Any) -> None:
    """JSON that is not an object is refused."""
    with pytest.raises(InvalidError, match="it is not an object"):
        shape_of_config(document)


def test_kinds_that_are_known() -> None:
    """The kinds that the guide names."""
    assert {"llama", "mixtral", "qwen2_moe", "gemma3_text", "deepseek_v3", "xlm-roberta", "granitemoe"} <= {
        *KNOWN_KINDS
    }

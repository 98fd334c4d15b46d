"""Shapes from ``config.json``: published ones give what the catalogue says; wrong ones are refused with the key."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from undercroft.catalog.families import load_catalogue
from undercroft.catalog.shapes import Experts, LatentAttention
from undercroft.core.errors import InvalidError
from undercroft.planning.memory_cache import cache_bytes_per_token
from undercroft.planning.weights import parameter_count
from undercroft.registry.config_kinds import KNOWN_KINDS
from undercroft.registry.shapes_config import shape_of_config

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
    "bge-reranker-v2-m3": config("xlm-roberta", 24, 1024, 16, 4096, 250_002, max_position_embeddings=8194,
                                 type_vocab_size=1, architectures=["XLMRobertaForSequenceClassification"],
                                 id2label={"0": "LABEL_0"}),
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


LLAMA_4_SCOUT: dict[str, Any] = {"model_type": "llama4", "vision_config": {"hidden_size": 1408}, "text_config": {
    **config("llama4_text", 48, 5120, 40, 8192, 202_048, num_key_value_heads=8, head_dim=128, num_local_experts=16),
    "intermediate_size_mlp": 16_384, "interleave_moe_layer_step": 1, "num_experts_per_tok": 1,
    "attention_chunk_size": 8192, "max_position_embeddings": 10_485_760}}  # fmt: skip


def test_llama_4_scout() -> None:
    """An expert and a shared one in every block, windows in three of four; 107.8 billion parameters of text."""
    shape = shape_of_config(LLAMA_4_SCOUT)
    assert (shape.architecture, shape.is_guessed) == ("llama4", False)
    assert shape.experts == Experts(16, 1, 8192, 1, 8192)
    assert (shape.window_tokens, len(shape.window_layers)) == (8192, 36)
    block = 2 * 5120 * 5120 + 2 * 5120 * 1024 + 16 * 5120 + 17 * 3 * 5120 * 8192 + 2 * 5120
    assert parameter_count(shape) == 48 * block + 2 * 202_048 * 5120 + 5120


GPT_OSS = config("gpt_oss", 24, 2880, 64, 2880, 201_088, num_key_value_heads=8, head_dim=64, num_local_experts=32,
                 num_experts_per_tok=4, sliding_window=128, max_position_embeddings=131_072,
                 tie_word_embeddings=False)  # fmt: skip
OTHERS: dict[str, tuple[dict[str, Any], int, int]] = {
    "gpt2": ({"model_type": "gpt2", "n_layer": 12, "n_embd": 768, "n_head": 12, "n_positions": 1024,
              "vocab_size": 50_257}, 124_439_808, 36_864),
    "falcon-7b": (config("falcon", 32, 4544, 71, 18_176, 65_024, multi_query=True, num_kv_heads=71),
                  6_921_720_704, 8192),
    "falcon-40b": (config("falcon", 60, 8192, 128, 32_768, 65_024, new_decoder_architecture=True, num_kv_heads=8),
                   41_303_293_952, 122_880),
    "starcoder": ({"model_type": "gpt_bigcode", "n_layer": 40, "n_embd": 6144, "n_head": 48, "n_inner": 24_576,
                   "n_positions": 8192, "vocab_size": 49_152}, 15_517_456_384, 20_480),
    "command-r": (config("cohere", 40, 8192, 64, 22_528, 256_000, max_position_embeddings=8192),
                  34_980_831_232, 1_310_720),
    "olmo-2-7b": (config("olmo2", 32, 4096, 32, 11_008, 100_352, max_position_embeddings=4096),
                  7_298_617_344, 524_288),
    "mpt-7b": ({"model_type": "mpt", "n_layers": 32, "d_model": 4096, "n_heads": 32, "max_seq_len": 2048,
                "vocab_size": 50_432}, 6_649_286_656, 524_288),
    "bloom-7b1": ({"model_type": "bloom", "n_layer": 30, "n_embed": 4096, "num_attention_heads": 32,
                   "vocab_size": 250_880}, 7_069_016_064, 491_520),
    "deepseek-moe-16b": (config("deepseek", 28, 2048, 16, 10_944, 102_400, n_routed_experts=64, n_shared_experts=2,
                                num_experts_per_tok=6, moe_intermediate_size=1408, first_k_dense_replace=1,
                                max_position_embeddings=4096), 16_375_728_128, 229_376),
    "gpt-oss-20b": (GPT_OSS, 20_914_757_184, 49_152),
}  # fmt: skip


@pytest.mark.parametrize("name", list(OTHERS))
def test_kinds_outside_the_catalogue(name: str) -> None:
    """Parameters as their makers publish them, to 0.1 % (biases and sinks are left out); the cache by hand."""
    document, parameters, cache_bytes = OTHERS[name]
    shape = shape_of_config(document)
    assert parameter_count(shape) == pytest.approx(parameters, rel=1e-3)
    assert cache_bytes_per_token(shape) == cache_bytes
    assert not shape.is_guessed


def test_every_second_block_of_gpt_oss_has_a_window() -> None:
    """The window is the kind's own where no list names the blocks."""
    shape = shape_of_config(GPT_OSS)
    assert (shape.window_tokens, shape.window_layers) == (128, frozenset(range(0, 24, 2)))


@pytest.mark.parametrize("said", [{"model_type": "\x1b[2Jfoo\u202e"}, {"model_type": "2Jfoo"}])
def test_a_kind_that_nobody_told_us_of(said: dict[str, Any]) -> None:
    """It is read as Llama's, says so, and its name reaches no terminal as it stands."""
    shape = shape_of_config({**PUBLISHED["llama-3.2-3b"], **said})
    assert (shape.is_guessed, shape.architecture) == (True, "2Jfoo")
    assert parameter_count(shape) == 3_212_749_824


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"model_type": "mamba"}, "model_type 'mamba' keeps a state in some of its blocks"),
        ({"model_type": "new", "mamba_d_state": 16}, "model_type 'new' keeps a state"),
        ({"model_type": "new", "layer_types": ["linear_attention"]}, "model_type 'new' keeps a state"),
        ({"model_type": "t5"}, "model_type 't5' has an encoder and a decoder"),
        ({"model_type": "new", "is_encoder_decoder": True}, "model_type 'new' has an encoder and a decoder"),
        ({"model_type": "new", "architectures": ["NewForMaskedLM"]}, "model_type 'new' only encodes"),
        ({"model_type": "gemma3n_text"}, "model_type 'gemma3n_text' has tables for each block"),
        ({"model_type": "gemma3n", "hidden_size_per_layer_input": 256}, "model_type 'gemma3n' has tables for each"),
        ({"model_type": "new", "num_kv_shared_layers": 10}, "or blocks that share caches"),
        ({"model_type": "llama4_text", "interleave_moe_layer_step": 2}, "has experts in some of its blocks only"),
        (
            {"model_type": "new", "num_experts": 8, "num_experts_per_tok": 2, "mlp_only_layers": [0]},
            "has experts in some of its blocks only",
        ),
    ],
)
def test_a_configuration_that_does_not_show_enough(changes: dict[str, Any], problem: str) -> None:
    """What cannot be counted from its configuration is not guessed."""
    with pytest.raises(InvalidError) as caught:
        shape_of_config({**PUBLISHED["llama-3.2-3b"], **changes})
    assert caught.value.code == "unknown-kind"
    assert problem in caught.value.message


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"model_type": ["llama"]}, "its model_type is \"['llama']\", expected a text"),
        ({"num_attention_heads": 0}, "num_attention_heads is 0, expected at least 1"),
        ({"vocab_size": None}, "does not say its vocab_size"),
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


@pytest.mark.parametrize(("count", "used", "problem"), [(8, 9, "through 9 of 8 experts"), (2**20, 2, "at most 4,096")])
def test_a_mixture_that_cannot_be(count: int, used: int, problem: str) -> None:
    """Its forecast would be nonsense, or would not end."""
    with pytest.raises(InvalidError, match=problem):
        shape_of_config({**GPT_OSS, "num_local_experts": count, "num_experts_per_tok": used})

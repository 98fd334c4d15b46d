"""Shapes from the headers of GGUF files: the same as the catalogue's, and what no catalogue has."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.raw_gguf import ARRAY, BOOL, I32, STRING, U32, U64, RawGguf, RawTensor, sound
from tests.support.sparse_ggufs import write_sparse
from undercroft.catalog.families import load_catalogue
from undercroft.catalog.shapes import Experts, LatentAttention, ModelShape
from undercroft.core.errors import InvalidError
from undercroft.planning.weights import tensor_shapes
from undercroft.registry.inspection.gguf import read_gguf
from undercroft.registry.shapes_gguf import shape_of_gguf

CATALOGUE = load_catalogue()
# The engine knows no window in these architectures, so their files do not speak of one.
WITHOUT_WINDOW = {"llama"}


def shape_of(path: Path) -> ModelShape:
    return shape_of_gguf([read_gguf(path, path.name)])


def shape_of_raw(made: RawGguf, folder: Path) -> ModelShape:
    path = folder / "m.gguf"
    path.write_bytes(made.build())
    return shape_of(path)


@pytest.mark.parametrize("name", [model.name for model in CATALOGUE.models])
def test_a_file_has_the_shape_of_the_catalogue(name: str, tmp_path: Path) -> None:
    """A GGUF of each model of the catalogue, by its keys and tensors alone, has the same shape."""
    wanted = CATALOGUE.find(name).shape
    if wanted.architecture in WITHOUT_WINDOW:
        wanted = replace(wanted, window_tokens=0, window_layers=frozenset())
    found = shape_of(write_sparse(tmp_path / "m.gguf", wanted))
    plain = replace(found, tensors=(), parameters=wanted.parameters, extra=wanted.extra)
    assert plain == wanted
    assert found.extra.get("token_type_count") == wanted.extra.get("token_type_count")
    assert [(t.name, t.shape) for t in found.tensors] == [(t.name, t.shape) for t in tensor_shapes(wanted)]
    assert all(tensor.type_name == "F16" for tensor in found.tensors)


def test_sizes_of_a_plain_llama(tmp_path: Path) -> None:
    """Heads share key/value heads, the head size follows from the width, tensors keep their stored size."""
    shape = shape_of_raw(sound(), tmp_path)
    assert (shape.layers, shape.width, shape.heads, shape.kv_heads, shape.head_dim) == (1, 8, 2, (1,), 4)
    assert (shape.vocabulary, shape.context_tokens, shape.feed_forward, shape.is_tied) == (5, 64, 16, True)
    assert shape.parameters == sum(tensor.size_bytes for tensor in shape.tensors) // 4


def test_heads_that_differ_from_block_to_block(tmp_path: Path) -> None:
    """A block without key/value heads keeps no cache, and says so in its entry."""
    made = sound()
    made.set("llama.block_count", U32, 3)
    made.set("llama.attention.head_count_kv", ARRAY, (U32, [1, 0, 2]))
    assert shape_of_raw(made, tmp_path).kv_heads == (1, 0, 2)
    made.set("llama.attention.head_count_kv", ARRAY, (U32, [1, 0]))
    with pytest.raises(InvalidError, match="holds 2 counts, expected 3"):
        shape_of_raw(made, tmp_path)


def test_a_pattern_of_windows_in_the_file(tmp_path: Path) -> None:
    """Flags for each block go before the engine's own pattern; a window as long as the context is none."""
    made = sound()
    made.set("llama.block_count", U32, 3)
    made.set("llama.attention.sliding_window", U32, 16)
    made.set("llama.attention.sliding_window_pattern", ARRAY, (BOOL, [1, 0, 1]))
    shape = shape_of_raw(made, tmp_path)
    assert (shape.window_tokens, shape.window_layers) == (16, frozenset({0, 2}))
    made.set("llama.attention.sliding_window", U32, 64)
    assert shape_of_raw(made, tmp_path).window_tokens == 0


def test_experts_and_latent_attention(tmp_path: Path) -> None:
    """DeepSeek's kind: a dense first block, routed and shared experts, one compressed row for all heads."""
    made = sound()
    made.keys = [(str(key).replace("llama.", "deepseek2."), raw) for key, raw in made.keys]
    made.set_raw("general.architecture", sound_text("deepseek2"))
    for key, number in {
        "block_count": 2,
        "attention.kv_lora_rank": 32,
        "attention.q_lora_rank": 48,
        "attention.key_length": 40,
        "attention.value_length": 32,
        "attention.key_length_mla": 24,
        "attention.value_length_mla": 16,
        "rope.dimension_count": 8,
        "expert_count": 4,
        "expert_used_count": 2,
        "expert_shared_count": 1,
    }.items():
        made.set(f"deepseek2.{key}", U32, number)
    made.tensors += [
        RawTensor("blk.1.ffn_up_exps.weight", (8, 12, 4)),
        RawTensor("blk.1.ffn_up_shexp.weight", (8, 12)),
        RawTensor("blk.1.exp_probs_b.bias", (4,)),
    ]
    shape = shape_of_raw(made, tmp_path)
    assert shape.experts == Experts(4, 2, 12, shared=1, shared_feed_forward=12, dense_layers=1)
    assert shape.latent == LatentAttention(kv_rank=32, rope_dim=8, query_rank=48, nope_dim=16, value_dim=16)
    assert (shape.head_dim, shape.value_head_dim, shape.feed_forward) == (24, 16, 16)
    assert shape.extra["expert_bias"] == 1


def test_recurrent_blocks_keep_a_state_and_no_cache(tmp_path: Path) -> None:
    """A Mamba block keeps 3 x (16 + 2 x 2 x 4) + 4 x 16 values; a block that has keys as well keeps both."""
    made = sound()
    made.set("llama.block_count", U32, 3)
    for key, number in {"conv_kernel": 4, "inner_size": 16, "state_size": 4, "group_count": 2}.items():
        made.set(f"llama.ssm.{key}", U32, number)
    made.tensors += [
        RawTensor("blk.1.ssm_in.weight", (8, 12)),
        RawTensor("blk.2.ssm_in.weight", (8, 12)),
        RawTensor("blk.2.attn_k.weight", (8, 4)),
    ]
    shape = shape_of_raw(made, tmp_path)
    assert (shape.recurrent_layers, shape.recurrent_values) == (frozenset({1, 2}), 3 * (16 + 2 * 2 * 4) + 4 * 16)
    assert shape.kv_heads == (1, 0, 1)


def test_a_short_convolution_keeps_what_it_looks_back_to(tmp_path: Path) -> None:
    """Three tokens long, it keeps two of the network's width."""
    made = sound()
    made.set("llama.shortconv.l_cache", U32, 3)
    made.tensors.append(RawTensor("blk.0.shortconv.conv.weight", (3, 8)))
    assert shape_of_raw(made, tmp_path).recurrent_values == 2 * 8


def test_merges_are_counted(tmp_path: Path) -> None:
    """An engine keeps them all, so a forecast asks how many there are."""
    made = sound()
    made.set("tokenizer.ggml.merges", ARRAY, (STRING, ["a b", "b c", "c d"]))
    assert shape_of_raw(made, tmp_path).extra["merge_count"] == 3


def sound_text(content: str) -> bytes:
    """A string value with its type."""
    made = RawGguf()
    made.set("x", 8, content)
    return made.keys[0][1]


@pytest.mark.parametrize("key", ["block_count", "embedding_length", "context_length"])
def test_a_size_that_every_network_has(tmp_path: Path, key: str) -> None:
    """Where it is missing, the error names it."""
    made = sound()
    made.drop(f"llama.{key}")
    with pytest.raises(InvalidError, match=f"does not say its llama.{key}"):
        shape_of_raw(made, tmp_path)


def test_a_number_of_blocks_that_cannot_be(tmp_path: Path) -> None:
    """A file of some bytes does not make us count billions of blocks."""
    made = sound()
    made.set("llama.block_count", U32, 2**31)
    with pytest.raises(InvalidError, match="expected at most 1,024"):
        shape_of_raw(made, tmp_path)


@pytest.mark.parametrize(
    ("key", "kind", "number", "problem"),
    [
        ("attention.head_count", I32, -1, "llama.attention.head_count is -1, expected a count"),
        ("attention.head_count_kv", I32, -1, "llama.attention.head_count_kv is -1, expected a count"),
        ("attention.head_count_kv", U32, 4, "2 attention heads cannot share 4 key/value heads"),
        ("attention.head_count", U32, 9, "9 attention heads cannot share a width of 8"),
        ("context_length", U64, 2**63, "llama.context_length is 9,223,372,036,854,775,808, expected a count"),
        ("expert_count", U32, 2**31, "2,147,483,648 experts in a block, expected at most 4,096"),
        ("expert_used_count", U32, 9, "a token cannot pass through 9 of 8 experts"),
    ],
)
def test_counts_that_cannot_be(tmp_path: Path, key: str, kind: int, number: int, problem: str) -> None:
    """They are refused with both numbers: a forecast of them would be nonsense, or would not end."""
    made = sound()
    made.set("llama.expert_count", U32, 8)
    made.set(f"llama.{key}", kind, number)
    with pytest.raises(InvalidError) as caught:
        shape_of_raw(made, tmp_path)
    assert problem in caught.value.message

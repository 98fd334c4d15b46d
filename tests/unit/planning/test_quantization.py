"""Quantizations: sizes are those that llama.cpp's own table gives."""

from __future__ import annotations

import pytest

from tests.unit.planning.shapes import MIXTRAL, QWEN_MOE
from undercroft.catalog.families import load_catalogue
from undercroft.core.errors import InvalidError
from undercroft.planning.memory_weights import stored_tensors
from undercroft.planning.quantization import MIXES, known_mix, quantized, tensor_bytes
from undercroft.planning.weights import TensorShape

TABLE = "token_embd.weight"
LLAMA_8B = load_catalogue().find("llama-3.1-8b").shape

# Bits a weight of Llama-3.1-8B: tools/quantize/README.md of llama.cpp.
PUBLISHED = {
    "IQ1_S": 2.0042,
    "IQ1_M": 2.1460,
    "IQ2_XXS": 2.3824,
    "IQ2_XS": 2.5882,
    "IQ2_S": 2.7403,
    "IQ2_M": 2.9294,
    "IQ3_XXS": 3.2548,
    "IQ3_XS": 3.4977,
    "IQ3_S": 3.6606,
    "IQ3_M": 3.7628,
    "IQ4_XS": 4.4597,
    "IQ4_NL": 4.6818,
    "Q2_K_S": 2.9697,
    "Q2_K": 3.1593,
    "Q3_K_S": 3.6429,
    "Q3_K_M": 3.9960,
    "Q3_K_L": 4.2979,
    "Q4_K_S": 4.6672,
    "Q4_K_M": 4.8944,
    "Q5_K_S": 5.5704,
    "Q5_K_M": 5.7036,
    "Q6_K": 6.5633,
    "Q8_0": 8.5008,
    "F16": 16.0005,
}


@pytest.mark.parametrize("mix", PUBLISHED)
def test_bits_a_weight_are_those_of_llama_cpp(mix: str) -> None:
    """Every mix of llama.cpp's table comes out to the last of its four decimals."""
    total = sum(tensor.size_bytes for tensor in stored_tensors(LLAMA_8B, mix))
    assert round(total * 8 / LLAMA_8B.parameters, 4) == PUBLISHED[mix]


@pytest.mark.parametrize(
    ("name", "mix", "gib"),
    [("qwen2.5-7b", "Q4_K_M", 4.36), ("llama-3.2-1b", "Q8_0", 1.22), ("llama-3.3-70b", "Q4_K_M", 39.59)],
)
def test_sizes_of_published_files(name: str, mix: str, gib: float) -> None:
    """What llama.cpp prints as file size of files on the hub."""
    total = sum(tensor.size_bytes for tensor in stored_tensors(load_catalogue().find(name).shape, mix))
    assert round(total / 1024**3, 2) == gib


def test_more_bits_go_where_the_rule_says() -> None:
    """Q4_K_M keeps values and down projections finer in the first and last eighth and in every third block between."""
    stored = {tensor.name: tensor.type_name for tensor in stored_tensors(LLAMA_8B, "Q4_K_M")}
    finer = [layer for layer in range(32) if stored[f"blk.{layer}.attn_v.weight"] == "Q6_K"]
    assert finer == [0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 28, 29, 30, 31]
    assert stored["output.weight"] == "Q6_K"
    assert stored[TABLE] == "Q4_K"
    assert stored["blk.0.attn_norm.weight"] == "F32"


def test_rows_that_are_no_multiple_of_256_fall_back() -> None:
    """Qwen 2.5 0.5B has rows of 896 values: most of its Q4_K_M is Q5_0, its table Q8_0."""
    stored = {t.name: t.type_name for t in stored_tensors(load_catalogue().find("qwen2.5-0.5b").shape, "Q4_K_M")}
    assert stored["blk.5.attn_q.weight"] == "Q5_0"
    assert stored["blk.6.ffn_down.weight"] == "Q4_K"
    assert stored[TABLE] == "Q8_0"


def test_eight_experts_keep_keys_and_values_finer() -> None:
    """Mixtral's keys and values are Q8_0 in Q4_K_M; its router is not quantized."""
    stored = {tensor.name: tensor.type_name for tensor in stored_tensors(MIXTRAL, "Q4_K_M")}
    assert stored["blk.3.attn_k.weight"] == stored["blk.3.attn_v.weight"] == "Q8_0"
    assert stored["blk.3.attn_output.weight"] == "Q5_K"
    assert stored["blk.3.ffn_gate_inp.weight"] == "F32"


def test_experts_follow_their_block_not_their_order() -> None:
    """A shared expert beside the routed ones does not shift which blocks are finer."""
    stored = {tensor.name: tensor.type_name for tensor in stored_tensors(QWEN_MOE, "Q4_K_M")}
    assert {stored[f"blk.{layer}.ffn_down_shexp.weight"] for layer in (0, 1, 2, 23)} == {"Q6_K"}


@pytest.mark.parametrize(("written", "found"), [("q4_k_m", "Q4_K_M"), (" FP16 ", "F16"), ("Q4_K", "Q4_K_M")])
def test_names_are_read_as_people_write_them(written: str, found: str) -> None:
    """Case and usual other names do not matter."""
    assert known_mix(written) == found


def test_an_unknown_mix_is_refused_with_the_known_ones() -> None:
    """The sentence says what there is."""
    with pytest.raises(InvalidError, match=r"unknown-quantization.*Q9_Z.*Q4_K_M"):
        known_mix("Q9_Z")


def test_bytes_of_a_tensor_by_hand() -> None:
    """2,048 x 3 values in Q4_K: 8 blocks of 144 bytes a row."""
    assert tensor_bytes("Q4_K", (2048, 3)) == 3 * 8 * 144
    with pytest.raises(InvalidError, match="unknown-tensor-type"):
        tensor_bytes("Q9", (1,))


@pytest.mark.parametrize("mix", MIXES)
def test_every_mix_stores_every_tensor(mix: str) -> None:
    """No tensor is lost and none is empty, whatever its row length."""
    tensors = (TensorShape("token_embd.weight", (100, 7)), TensorShape("blk.0.ffn_down.weight", (96, 100)))
    stored = quantized(tensors, mix, LLAMA_8B)
    assert [tensor.name for tensor in stored] == [tensor.name for tensor in tensors]
    assert all(tensor.size_bytes > 0 for tensor in stored)

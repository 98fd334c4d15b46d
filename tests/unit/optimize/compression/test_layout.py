"""Which tensors become smaller, in which groups, and how large the file will be."""

from __future__ import annotations

import math

import pytest

from undercroft.core.errors import InvalidError
from undercroft.optimize.compression.layout import Planned, choose_group_size, file_bytes, matrices, planned
from undercroft.optimize.compression.schemes import COMPRESSED
from undercroft.registry.inspection.safetensors import StoredTensor


def tensor(name: str, *shape: int, dtype: str = "BF16") -> StoredTensor:
    return StoredTensor(name, dtype, shape, 0, math.prod(shape) * 2)


TENSORS = [
    tensor("lm_head.weight", 500, 192),
    tensor("model.embed_tokens.weight", 500, 192),
    tensor("model.layers.0.input_layernorm.weight", 192),
    tensor("model.layers.0.mlp.down_proj.weight", 192, 576),
    tensor("model.layers.0.self_attn.q_proj.bias", 192),
    tensor("model.layers.0.self_attn.q_proj.weight", 192, 192),
    tensor("model.norm.weight", 192),
]
CHOSEN = ["model.layers.0.mlp.down_proj.weight", "model.layers.0.self_attn.q_proj.weight"]


def plan(scheme: str, group_size: int | None, *, is_tied: bool = False) -> dict[str, tuple[str, tuple[int, ...]]]:
    made = planned(TENSORS, COMPRESSED[scheme], group_size, chosen=matrices(TENSORS, "m"), is_tied=is_tied)
    return {name: (kind, shape) for name, kind, shape in made}


def test_the_matrices_of_the_blocks_are_chosen() -> None:
    """No table, no output layer, no norm, no bias."""
    assert [one.name for one in matrices(TENSORS, "m")] == CHOSEN


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ([*TENSORS, tensor("model.layers.0.mlp.experts.0.up_proj.weight", 8, 8)], "holds experts or convolutions"),
        ([*TENSORS, tensor("model.layers.0.conv.weight", 8, 8, 3)], "holds experts or convolutions"),
        ([tensor("transformer.h.0.attn.c_attn.weight", 8, 8)], "has no matrices in layers.0"),
    ],
)
def test_another_layout_is_refused(tensors: list[StoredTensor], words: str) -> None:
    """Experts and other names of blocks, with the way by GGUF."""
    with pytest.raises(InvalidError, match=f"unknown-layout: model 'm' {words}") as caught:
        matrices(tensors, "m")
    assert "undercroft optimize convert m" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("widths", "wanted", "size"),
    [([256, 512], None, 128), ([192, 576], None, 64), ([96], None, 32), ([192], 32, 32), ([256], 128, 128)],
)
def test_the_largest_group_that_divides_is_taken(widths: list[int], wanted: int | None, size: int) -> None:
    """Unless a smaller one is asked for."""
    assert choose_group_size(COMPRESSED["gptq-w4a16"], widths, wanted, model="m") == size


@pytest.mark.parametrize(
    ("scheme", "widths", "wanted", "hint"),
    [
        ("gptq-w4a16", [192, 704], 128, "--group-size 64, the nearest that does"),
        ("awq-w4a16", [96, 192], 64, "--group-size 32, the nearest that does"),
        ("gptq-w4a16", [100], None, "fp8 and w8a8 have no groups"),
        ("mxfp4a16", [48], None, "fp8 and w8a8 have no groups"),
        ("nvfp4a16", [24], None, "fp8 and w8a8 have no groups"),
    ],
)
def test_a_group_that_does_not_divide_is_refused(scheme: str, widths: list[int], wanted: int | None, hint: str) -> None:
    """With the widths, and the nearest that divides or a scheme without groups."""
    with pytest.raises(InvalidError, match=r"group-size: .* do not divide rows of \d") as caught:
        choose_group_size(COMPRESSED[scheme], widths, wanted, model="m")
    assert caught.value.hint == hint


def test_fixed_and_whole_rows() -> None:
    """FP4 has its groups, W8A8 and FP8 a scale a row."""
    sizes = {name: choose_group_size(scheme, [192], None, model="m") for name, scheme in COMPRESSED.items()}
    assert sizes == {"gptq-w4a16": 64, "awq-w4a16": 64, "w8a8": None, "fp8": None, "mxfp4a16": 32, "nvfp4a16": 16}


@pytest.mark.parametrize(
    ("scheme", "group_size", "made"),
    [
        ("gptq-w4a16", 64, {"_packed": ("I32", (192, 72)), "_scale": ("BF16", (192, 9)), "_shape": ("I64", (2,))}),
        ("w8a8", None, {"": ("I8", (192, 576)), "_scale": ("BF16", (192, 1))}),
        ("fp8", None, {"": ("F8_E4M3", (192, 576)), "_scale": ("BF16", (192, 1))}),
        ("mxfp4a16", 32, {"_packed": ("U8", (192, 288)), "_scale": ("U8", (192, 18))}),
        (
            "nvfp4a16",
            16,
            {"_packed": ("U8", (192, 288)), "_scale": ("F8_E4M3", (192, 36)), "_global_scale": ("F32", (1,))},
        ),
    ],
)
def test_what_a_matrix_becomes(
    scheme: str, group_size: int | None, made: dict[str, tuple[str, tuple[int, ...]]]
) -> None:
    """Packed numbers and scales; all else is as it was."""
    found = plan(scheme, group_size)
    name = CHOSEN[0]
    assert {key: found[f"{name}{key}"] for key in made} == made
    assert found["model.embed_tokens.weight"] == ("BF16", (500, 192))
    untouched = {one.name for one in TENSORS} - set(CHOSEN)
    assert len(found) == len(untouched) + 2 * len(made)


def test_a_tied_output_layer_is_written_once() -> None:
    """It is the table of the tokens."""
    assert "lm_head.weight" not in plan("fp8", None, is_tied=True)
    assert "lm_head.weight" in plan("fp8", None)


def test_the_bytes_of_a_file() -> None:
    """Length, header padded to eight bytes, data; as the library of safetensors wrote these tensors."""
    made: list[Planned] = [("a", "I32", (2, 2)), ("b", "F32", (4,)), ("c", "BF16", (3,))]
    header = (
        '{"__metadata__":{"format":"pt"},"b":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"a":{"dtype":"I32",'
        '"shape":[2,2],"data_offsets":[16,32]},"c":{"dtype":"BF16","shape":[3],"data_offsets":[32,38]}}'
    )
    assert file_bytes(made) == 8 + math.ceil(len(header) / 8) * 8 + 38

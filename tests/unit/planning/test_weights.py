"""Tensors by shape: their number of parameters is what the makers publish."""

from __future__ import annotations

import dataclasses

import pytest

from tests.unit.planning.shapes import DEEPSEEK_V2_LITE, DEEPSEEK_V3, MIXTRAL, OLMOE, QWEN_MOE, TINYLLAMA
from undercroft.catalog.families import load_catalogue
from undercroft.catalog.shapes import ModelShape, StoredTensor
from undercroft.planning.weights import parameter_count, tensor_shapes

CATALOGUE = load_catalogue()


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

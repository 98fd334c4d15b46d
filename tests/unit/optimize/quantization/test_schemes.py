"""Schemes are found by the names that people write, and near misses are told."""

from __future__ import annotations

import pytest

from undercroft.core.errors import InvalidError
from undercroft.optimize.quantization.schemes import SCHEMES, TYPES, scheme_named
from undercroft.registry.inspection.gguf_types import FILE_TYPES


@pytest.mark.parametrize(
    ("written", "name"), [("Q4_K_M", "Q4_K_M"), ("q4_k_m", "Q4_K_M"), (" Q4-K-M", "Q4_K_M"), ("q5_k", "Q5_K_M")]
)
def test_a_scheme_has_its_name_in_any_case(written: str, name: str) -> None:
    """As llama-quantize takes them, aliases included."""
    assert scheme_named(written).name == name


@pytest.mark.parametrize(("written", "near"), [("Q4_K_N", "Q4_K_M"), ("Q8", "Q8_0"), ("iq4xs", "IQ4_XS")])
def test_a_misspelt_scheme_is_answered_with_the_nearest(written: str, near: str) -> None:
    """The hint begins with a name that exists."""
    with pytest.raises(InvalidError) as caught:
        scheme_named(written)
    assert caught.value.code == "unknown-scheme"
    assert near in (caught.value.hint or "")


def test_the_file_type_says_the_same_everywhere() -> None:
    """What a result says of itself is what the registry reads."""
    for scheme in SCHEMES.values():
        assert FILE_TYPES[scheme.file_type] == scheme.name.removesuffix("_MOE")
        assert scheme.base in TYPES


def test_bits_are_those_of_the_blocks() -> None:
    """Scales are counted."""
    assert SCHEMES["Q4_K_M"].base_bits == 4.5
    assert SCHEMES["Q8_0"].base_bits == 8.5


@pytest.mark.parametrize(("name", "needs"), [("IQ2_XXS", True), ("Q2_K_S", True), ("Q4_K_M", False), ("IQ4_XS", False)])
def test_a_scheme_says_whether_it_needs_a_matrix(name: str, needs: bool) -> None:
    """Before a model is looked at."""
    assert SCHEMES[name].needs_importance is needs

"""Names of schemes of both forms: found in any writing, and refused with what to do."""

from __future__ import annotations

import pytest

from undercroft.core.errors import InvalidError
from undercroft.optimize.compression.schemes import COMPRESSED
from undercroft.optimize.scheme_names import check_form, find_scheme


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("q4_k_m", "Q4_K_M"),
        ("MXFP4", "MXFP4"),
        ("GPTQ_W4A16", "gptq-w4a16"),
        ("awq", "awq-w4a16"),
        (" W8A8 ", "w8a8"),
        ("fp8", "fp8"),
        ("mxfp4a16", "mxfp4a16"),
    ],
)
def test_a_name_in_any_writing(written: str, name: str) -> None:
    """Case, dashes and usual short names do not matter; the two lists share no name."""
    assert find_scheme(written).name == name


@pytest.mark.parametrize(
    ("written", "near"),
    [("w4a16", "gptq-w4a16 or awq-w4a16"), ("nvfp4a8", "nvfp4a16"), ("Q4_KM", "Q4_K_M"), ("fp9", "fp8"), ("?", "Q4")],
)
def test_an_unknown_name_gets_the_nearest_of_both_lists(written: str, near: str) -> None:
    """Both lists stand in the message, the nearest in the hint."""
    with pytest.raises(
        InvalidError, match=r"unknown-scheme: .* for a GGUF one of F32.* for safetensors one of gptq"
    ) as caught:
        find_scheme(written)
    assert near in str(caught.value.hint)


def test_a_scheme_for_the_other_form_is_refused_with_what_to_do() -> None:
    """Convert first, or take a scheme of the form that the model has."""
    with pytest.raises(InvalidError, match="wrong-form: model 'm' is safetensors, Q4_K_M is for GGUF") as caught:
        check_form(find_scheme("Q4_K_M"), "m", "safetensors")
    assert "undercroft optimize convert m" in str(caught.value.hint)
    with pytest.raises(InvalidError, match="model 'm' is gguf, w8a8 is for safetensors") as caught:
        check_form(find_scheme("w8a8"), "m", "gguf")
    assert "as it was published" in str(caught.value.hint)
    with pytest.raises(InvalidError, match="model 'm' is onnx, w8a8 is for safetensors"):
        check_form(find_scheme("w8a8"), "m", "onnx")
    check_form(find_scheme("w8a8"), "m", "safetensors")
    check_form(find_scheme("Q4_K_M"), "m", "gguf")


def test_what_may_cost_accuracy_is_said() -> None:
    """Floats of four and of eight bits come with a warning, integers with none."""
    warned = {name for name, scheme in COMPRESSED.items() if "accuracy may go" in scheme.warning}
    assert warned == {"fp8", "mxfp4a16", "nvfp4a16"}


def test_four_bits_for_onnx_are_asked_for_otherwise() -> None:
    """The builder rounds a model that generates while it converts it, which the error says."""
    with pytest.raises(InvalidError) as caught:
        find_scheme("int4")
    assert "--to onnx --type int4" in (caught.value.hint or "")


@pytest.mark.parametrize("name", ["int8-static", "INT8_STATIC", " Int8-Static "])
def test_schemes_of_onnx_are_found_however_they_are_written(name: str) -> None:
    """In any case, with either dash."""
    assert find_scheme(name).name == "INT8-STATIC"

"""A library of another layout is refused, not read wrongly."""

from __future__ import annotations

import ctypes
import ctypes.util
from pathlib import Path

import pytest

from undercroft.core.errors import UnavailableError
from undercroft.optimize.llama_library import layout
from undercroft.optimize.llama_library.binding import LlamaLibrary


def ignore(level: int, line: str) -> None:
    """What a library says that is never loaded."""


def context_parameters() -> layout.ContextParameters:
    """The defaults as our layout has them."""
    made = layout.ContextParameters()
    for name, value in layout.CONTEXT_DEFAULTS.items():
        setattr(made, name, value)
    return made


def test_the_layout_that_is_known_has_no_differences() -> None:
    """Defaults that read as they should are no problem."""
    assert layout.differences(context_parameters(), layout.CONTEXT_DEFAULTS) == []


def test_a_field_that_was_put_before_others_is_seen() -> None:
    """A library with one more field reads shifted, and every field that moved is named."""
    known = bytes(context_parameters())
    shifted = layout.ContextParameters.from_buffer_copy(b"\x07\x00\x00\x00" + known[:-4])
    found = layout.differences(shifted, layout.CONTEXT_DEFAULTS)
    assert found[:2] == ["n_ctx is 7, not 512", "n_batch is 512, not 2048"]
    assert "rope_scaling_type is 0, not -1" in found


@pytest.mark.parametrize(
    "name", [name for name, _ in layout.ContextParameters._fields_ if name not in {"spare", "n_ctx"}]
)
def test_a_field_in_the_middle_is_seen(name: str) -> None:
    """Wherever one more field of four bytes is put in, something does not read as it should."""
    known, place = bytes(context_parameters()), getattr(layout.ContextParameters, name).offset
    moved = layout.ContextParameters.from_buffer_copy(known[:place] + b"\x01\x00\x00\x00" + known[place:-4])
    assert layout.differences(moved, layout.CONTEXT_DEFAULTS)


def test_every_field_is_compared() -> None:
    """No field of either structure is left out of what is compared, but data of callbacks that are not there."""
    for structure, defaults in (
        (layout.ContextParameters, layout.CONTEXT_DEFAULTS),
        (layout.ModelParameters, layout.MODEL_DEFAULTS),
    ):
        names = {name for name, _ in structure._fields_} - {"spare", "progress_callback_user_data"}
        assert names == set(defaults)


def test_another_library_is_refused() -> None:
    """A library without llama.cpp's functions is named with what it lacks."""
    name = ctypes.util.find_library("c")
    assert name is not None
    with pytest.raises(UnavailableError, match="has no llama_backend_init") as refused:
        LlamaLibrary(Path(name), log=ignore)
    assert refused.value.code == "llama-library-other"


def test_a_library_that_is_not_there_is_told() -> None:
    """A missing file is an error that says what to install."""
    with pytest.raises(UnavailableError, match=r"/nowhere/llama\.so cannot be loaded") as refused:
        LlamaLibrary(Path("/nowhere/llama.so"), log=ignore)
    assert "pip install" in str(refused.value)

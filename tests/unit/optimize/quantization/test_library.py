"""The engine's functions are called only as they can be called, and what is missing is said."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest

from undercroft.core.errors import InvalidError, RefusedError, UnavailableError
from undercroft.optimize.quantization.library import Library, open_library
from undercroft.optimize.quantization.schemes import TYPES

_ROWS = np.random.default_rng(0).standard_normal((3, 512), dtype=np.float32)


def _room(kind: str) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.zeros((3, open_library().row_bytes(kind, 512)), np.uint8)


def test_a_simple_type_is_what_the_owners_of_the_format_make() -> None:
    """Q8_0, whose rule their own Python code knows too."""
    room = _room("Q8_0")
    open_library().quantize("Q8_0", _ROWS, None, room)
    assert np.array_equal(room, gguf.quants.quantize(_ROWS, gguf.GGMLQuantizationType.Q8_0))


@pytest.mark.parametrize("kind", ["F16", "BF16", "Q8_0", "Q6_K", "Q5_K", "Q4_K", "Q4_0", "Q3_K", "IQ4_XS", "IQ3_S"])
def test_blocks_become_the_numbers_that_the_owners_of_the_format_read(kind: str) -> None:
    """Both readers agree to the last bit."""
    room, values = _room(kind), np.empty_like(_ROWS)
    open_library().quantize(kind, _ROWS, None, room)
    open_library().dequantize(kind, room, values)
    numbers = room.view(np.float16) if kind == "F16" else room
    theirs = gguf.quants.dequantize(numbers, gguf.GGMLQuantizationType[kind])
    assert np.array_equal(values, theirs.astype(np.float32))


def test_every_half_precision_number_is_read_exactly() -> None:
    """All 65,536 of them, those below the normal ones too; any number of them at a time."""
    halves = np.arange(65_536, dtype=np.uint16).view(np.float16)
    expected = halves.astype(np.float32)
    for count in (65_536, 7):
        values = np.empty(count, np.float32)
        open_library().dequantize("F16", halves[-count:].view(np.uint8), values)
        assert np.array_equal(values, expected[-count:], equal_nan=True)


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16"])
def test_a_number_that_is_none_is_found_wherever_it_stands(kind: str) -> None:
    """At both ends, and infinity as well."""
    library = open_library()
    room = _room(kind)
    library.quantize(kind, _ROWS, None, room)
    assert library.is_valid(kind, room)
    infinity = {"F32": 0x7F800000, "F16": 0x7C00, "BF16": 0x7F80}[kind]
    numbers = room.view(np.uint32 if kind == "F32" else np.uint16)
    for place in ((0, 0), (-1, -1)):
        for bits in (infinity, infinity + 1):
            before, numbers[place] = numbers[place].copy(), bits
            assert not library.is_valid(kind, room)
            numbers[place] = before


@pytest.mark.parametrize("kind", ["IQ2_XXS", "IQ2_XS", "IQ1_S"])
def test_what_would_end_the_process_is_refused(kind: str) -> None:
    """These three types abort inside the library when they get no matrix."""
    with pytest.raises(RefusedError) as caught:
        open_library().quantize(kind, _ROWS, None, _room(kind))
    assert caught.value.code == "needs-importance"


def test_shapes_that_do_not_belong_together_are_refused() -> None:
    """Rows of a wrong length, room of a wrong size, weights for other columns."""
    library = open_library()
    with pytest.raises(InvalidError, match="multiple of 256"):
        library.row_bytes("Q4_K", 500)
    with pytest.raises(InvalidError):
        library.quantize("Q4_K", _ROWS, None, _room("Q6_K"))
    with pytest.raises(InvalidError):
        library.quantize("Q4_K", _ROWS, np.ones(256, np.float32), _room("Q4_K"))
    with pytest.raises(InvalidError):
        library.dequantize("Q4_K", _room("Q4_K"), np.empty(512, np.float32))


def test_numbers_too_large_for_a_type_are_refused() -> None:
    """F16 ends at 65,504."""
    with pytest.raises(InvalidError, match="F16"):
        open_library().quantize("F16", _ROWS * np.float32(1e6), None, _room("F16"))


def test_whole_numbers_are_no_weights() -> None:
    """Tables of token numbers are stored as I32."""
    assert not open_library().can_read("I32")
    assert open_library().can_read("F32")
    assert set(TYPES) >= {"MXFP4", "TQ1_0"}


@pytest.mark.parametrize("content", [b"", b"no library"])
def test_a_library_that_cannot_be_loaded_is_said_to_be_one(content: bytes, tmp_path: Path) -> None:
    """With what to do about it."""
    path = tmp_path / "library.so"
    path.write_bytes(content)
    with pytest.raises(UnavailableError) as caught:
        Library(path)
    assert caught.value.code == "no-quantizer"
    assert caught.value.hint

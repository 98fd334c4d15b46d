"""Safetensors headers: each thing that can be wrong, one at a time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.raw_safetensors import build, build_raw, entry, sound_header
from undercroft.core.errors import InvalidError
from undercroft.registry.inspection.safetensors import read_safetensors


def test_sound_file(tmp_path: Path) -> None:
    """Tensors come in the order of their bytes."""
    path = tmp_path / "m.safetensors"
    path.write_bytes(build(sound_header()))
    tensors = read_safetensors(path, path.name)
    assert [(t.name, t.elements) for t in tensors] == [("a.weight", 8), ("a.bias", 4)]


def changed(**entries: Any) -> bytes:
    return build({**sound_header(), **entries})


CASES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "length of the header"),
    "header longer than the file": (build_raw(b"{}", length=2**20), "past the end of the file"),
    "header of 2^63 bytes": (build_raw(b"{}", length=2**63), "expected at most 10,000,000"),
    "header of 2^64-1 bytes": (build_raw(b"{}", length=2**64 - 1), "expected at most 10,000,000"),
    "not an object": (build_raw(b"[1]"), "begins with b'[1]'"),
    "not JSON": (build_raw(b"{nope"), "not JSON"),
    "not UTF-8": (build_raw(b'{"\xff":1}'), "not JSON in UTF-8"),
    "nested without an end": (build_raw(b'{"a":' + b"[" * 100_000), "not JSON"),
    "key twice": (build_raw(b'{"a":1,"a":2}'), "'a' is there twice"),
    "no tensors": (build({"__metadata__": {}}), "no tensors"),
    "metadata that is no object of strings": (changed(__metadata__={"a": 1}), "object of strings"),
    "entry that is no object": (changed(b=1), "not an object of dtype"),
    "entry with another field": (changed(b={**entry("F32", [1], 40, 44), "code": 1}), "not an object of dtype"),
    "unknown dtype": (changed(b=entry("Q4_K", [1], 40, 44)), "'Q4_K', which is not known"),
    "dtype that is no text": (changed(b=entry([], [1], 40, 44)), "which is not known"),  # type: ignore[arg-type]
    "size below zero": (changed(b=entry("F32", [-1], 40, 36)), "list of up to"),
    "size that is true": (changed(b=entry("F32", [True], 40, 44)), "list of up to"),
    "size that is a fraction": (changed(b=entry("F32", [1.0], 40, 44)), "list of up to"),  # type: ignore[list-item]
    "product that overflows": (changed(b=entry("F32", [2**32, 2**32], 40, 40)), "product does not fit"),
    "offset below zero": (changed(b=entry("F32", [1], -4, 0)), "two byte counts"),
    "end before its beginning": (changed(b=entry("F32", [1], 44, 40)), "expected 4 for its shape"),
    "one offset": (changed(b={"dtype": "F32", "shape": [1], "data_offsets": [40]}), "two byte counts"),
    "size that is not shape times dtype": (changed(b=entry("F32", [2], 40, 44)), "expected 8 for its shape"),
    "overlap": (changed(b=entry("F32", [1], 36, 40)), "overlaps the one before it"),
    "hole": (build({**sound_header(), "b": entry("F32", [1], 44, 48)}, 48), "leaves a hole"),
    "past the end": (changed(b=entry("F32", [1], 40, 44)), "need 44 bytes of data, it has 40"),
    "bytes that no tensor has": (build(sound_header(), 48), "need 40 bytes of data, it has 48"),
    "half a byte": (changed(b=entry("F4", [3], 40, 41)), "whole byte"),
}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_refused(tmp_path: Path, case: str) -> None:
    """A header that does not describe its data exactly is refused with a sentence that says where."""
    content, words = CASES[case]
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    with pytest.raises(InvalidError) as caught:
        read_safetensors(path, path.name)
    assert words in caught.value.message
    assert "\n" not in caught.value.message


def test_name_of_somebody_elses_is_shown_safely(tmp_path: Path) -> None:
    """A tensor's name cannot send codes to the terminal."""
    path = tmp_path / "m.safetensors"
    path.write_bytes(build_raw(json.dumps({"\x1b[2J": 1}).encode()))
    with pytest.raises(InvalidError) as caught:
        read_safetensors(path, "\x1b[31m.safetensors")
    assert caught.value.message.isprintable()

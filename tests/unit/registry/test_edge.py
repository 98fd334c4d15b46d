"""Programs for devices: known by their content, run as their manifest says, refused where the two disagree."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from undercroft.core.errors import InvalidError
from undercroft.registry.inspection.edge import EdgeManifest, Tensor, read_manifest
from undercroft.registry.inspection.repository import inspect_files

_MANIFEST = EdgeManifest(
    runtime="litert",
    program="model.tflite",
    tokenizer="tokenizer.json",
    task="embed",
    weights="int8",
    parameters=200,
    most_tokens=64,
    lengths=(32, 64),
    is_length_fixed=True,
    pad_token=0,
    width=8,
    pooling="mean",
    end_tokens=(),
    inputs=(Tensor("input_ids", "int32", (1, "length")), Tensor("attention_mask", "int32", (1, "length"))),
    outputs=(Tensor("sentence_embedding", "float32", (1, 8)),),
)


def flatbuffer(schema: bytes, *, root: int = 32, size_bytes: int = 100) -> bytes:
    """The beginning of a FlatBuffer, and zeros."""
    return (struct.pack("<I", root) + schema).ljust(size_bytes, b"\0")


def files_of(folder: Path, program: bytes, name: str, /, **changed: Any) -> dict[str, Path]:
    """A folder with a program, its tokenizer, the settings of a BERT and a manifest."""
    written = {
        name: program,
        "edge.json": json.dumps({**_MANIFEST.to_dict(), **changed}).encode(),
        "tokenizer.json": b"{}",
        "config.json": json.dumps(
            {"architectures": ["BertModel"], "model_type": "bert", "max_position_embeddings": 512}
        ).encode(),
    }
    for file, content in written.items():
        (folder / file).write_bytes(content)
    return {file: folder / file for file in written}


@pytest.mark.parametrize(
    ("runtime", "program", "schema"), [("litert", "model.tflite", b"TFL3"), ("executorch", "model.pte", b"ET12")]
)
def test_what_a_program_is(tmp_path: Path, runtime: str, program: str, schema: bytes) -> None:
    """Runtime, task, weights and longest text come from the program and its manifest, the rest from config.json."""
    files = files_of(tmp_path, flatbuffer(schema), program, runtime=runtime, program=program)
    found = inspect_files(files)
    facts = found.facts
    assert (found.format, facts.architecture, facts.task, facts.quantization) == (runtime, "BertModel", "embed", "INT8")
    assert (facts.context_tokens, facts.parameters, facts.bits_per_weight) == (64, 200, 4.0)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"runtime": "executorch"}, "speaks of 'model.tflite' for executorch"),
        ({"program": "other.tflite"}, "speaks of 'other.tflite'"),
        ({"program": "../model.tflite"}, "expected the plain name"),
        ({"program": "/model.tflite"}, "expected the plain name"),
        ({"tokenizer": "other.json"}, "tokenizer: Input should be"),
        ({"lengths": []}, "the largest is most_tokens"),
        ({"lengths": [32]}, "the largest is most_tokens"),
        ({"lengths": [0, 64]}, "the largest is most_tokens"),
        ({"parameters": "many"}, "parameters"),
        ({"task": "guess"}, "task"),
    ],
)
def test_a_manifest_that_is_wrong(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    """A manifest that speaks of another program, or leads elsewhere, is refused with what is wrong in it."""
    files = files_of(tmp_path, flatbuffer(b"TFL3"), "model.tflite", **change)
    with pytest.raises(InvalidError, match=told):
        inspect_files(files)


@pytest.mark.parametrize("missing", ["edge.json", "tokenizer.json"])
def test_what_a_program_needs(tmp_path: Path, missing: str) -> None:
    """A program without the file that says how it is run, or without its tokenizer, is refused."""
    files = files_of(tmp_path, flatbuffer(b"TFL3"), "model.tflite")
    del files[missing]
    with pytest.raises(InvalidError, match=f"comes with {missing}"):
        inspect_files(files)


@pytest.mark.parametrize(("root", "size_bytes"), [(97, 100), (0, 100), (2**32 - 1, 100), (8, 40)])
def test_a_root_outside(tmp_path: Path, root: int, size_bytes: int) -> None:
    """A program whose root table lies outside its file is refused."""
    files = files_of(tmp_path, flatbuffer(b"TFL3", root=root, size_bytes=size_bytes), "model.tflite")
    with pytest.raises(InvalidError, match="its root is at byte"):
        inspect_files(files)


def test_a_manifest_is_read_as_it_was_written() -> None:
    """What is written as JSON comes back the same."""
    assert read_manifest(json.loads(json.dumps(_MANIFEST.to_dict())), "edge.json") == _MANIFEST


def test_what_is_read_in_pieces() -> None:
    """What LiteRT writes text with reads pieces shorter than its cache; what makes vectors takes the longest whole."""
    document = {**json.loads(json.dumps(_MANIFEST.to_dict())), "lengths": [1, 32]}
    assert read_manifest({**document, "task": "generate"}, "edge.json").lengths == (1, 32)
    with pytest.raises(InvalidError, match="the largest is most_tokens"):
        read_manifest(document, "edge.json")
    with pytest.raises(InvalidError, match="the largest is most_tokens"):
        read_manifest({**document, "task": "generate", "runtime": "executorch"}, "edge.json")


@pytest.mark.parametrize("lengths", [[], [0, 32], [1, 65]])
def test_pieces_that_no_cache_takes_are_refused(lengths: list[int]) -> None:
    """None, one of nothing, or one that is longer than all that is kept."""
    document = {**json.loads(json.dumps(_MANIFEST.to_dict())), "task": "generate", "lengths": lengths}
    with pytest.raises(InvalidError, match="none above most_tokens") as caught:
        read_manifest(document, "edge.json")
    assert caught.value.code == "bad-edge-manifest"

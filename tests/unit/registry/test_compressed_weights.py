"""Weights that compressed-tensors has packed: what they are called, how many they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.raw_safetensors import build, entry
from undercroft.core.home import Home
from undercroft.registry import models
from undercroft.registry.inspection.compressed_weights import count_weights, name_of
from undercroft.registry.inspection.safetensors import StoredTensor
from undercroft.storage.database import Database


def config(*groups: dict[str, Any], method: str = "compressed-tensors") -> dict[str, Any]:
    named = {f"group_{number}": group for number, group in enumerate(groups)}
    return {"quantization_config": {"quant_method": method, "config_groups": named}}


def group(kind: str, bits: int, size: int | None = None, *, read: int | None = None) -> dict[str, Any]:
    inputs = None if read is None else {"type": kind, "num_bits": read}
    return {"weights": {"type": kind, "num_bits": bits, "group_size": size}, "input_activations": inputs}


@pytest.mark.parametrize(
    ("made", "name"),
    [
        (group("int", 4, 128), "W4A16"),
        (group("int", 4, 64), "W4A16_G64"),
        (group("int", 8, read=8), "W8A8"),
        (group("float", 8, read=8), "FP8"),
        (group("float", 8), "FP8A16"),
        (group("float", 4, 32), "MXFP4A16"),
        (group("float", 4, 16), "NVFP4A16"),
        (group("float", 4, 16, read=4), "NVFP4"),
        (group("float", 4, 48), None),
        (group("complex", 4), None),
        ({"weights": None}, None),
        ({"weights": {"type": "int", "num_bits": True}}, None),
    ],
)
def test_what_a_scheme_is_called(made: dict[str, Any], name: str | None) -> None:
    """Bits of the weights, bits of what is read, and groups where they are not the usual ones."""
    assert name_of(config(made)) == name


def test_what_has_no_name() -> None:
    """Weights of other tools, of two schemes, or of none."""
    assert name_of(config(group("int", 4, 128), group("int", 8, read=8))) is None
    assert name_of(config(group("int", 4, 128), method="gptq")) is None
    assert name_of({}) is None
    assert name_of({"quantization_config": "int4"}) is None


def tensor(name: str, dtype: str, *shape: int) -> StoredTensor:
    return StoredTensor(name, dtype, shape, 0, 0)


def test_packed_weights_are_counted_as_what_they_stand_for() -> None:
    """Eight of four bits in a word, two in a byte; scales and shapes are none."""
    words = [
        tensor("a.weight_packed", "I32", 16, 8),
        tensor("a.weight_scale", "BF16", 16, 1),
        tensor("a.weight_shape", "I64", 2),
        tensor("norm.weight", "BF16", 64),
    ]
    assert count_weights(words, config(group("int", 4, 64))) == 16 * 64 + 64
    pairs = [tensor("a.weight_packed", "U8", 16, 32), tensor("a.weight_global_scale", "F32", 1)]
    assert count_weights(pairs, config(group("float", 4, 16))) == 16 * 64
    whole = [tensor("a.weight", "I8", 16, 64), tensor("a.weight_scale", "BF16", 16, 1)]
    assert count_weights(whole, config(group("int", 8, read=8))) == 16 * 64
    assert count_weights(whole, {}) is None


def test_facts_of_a_compressed_folder(database: Database, home: Home, tmp_path: Path) -> None:
    """The registry shows the scheme, the weights that there are, and bits a weight with their scales."""
    folder = tmp_path / "small"
    folder.mkdir()
    settings = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", **config(group("int", 4, 64))}
    (folder / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    header = {
        "a.weight_packed": entry("I32", [16, 8], 0, 512),
        "a.weight_scale": entry("BF16", [16, 1], 512, 544),
        "a.weight_shape": entry("I64", [2], 544, 560),
    }
    (folder / "model.safetensors").write_bytes(build(header, 560))
    facts = models.add_local(database, home, folder, name="small", actor="test").facts
    assert (facts.quantization, facts.parameters, facts.bits_per_weight) == ("W4A16_G64", 1024, 4.38)

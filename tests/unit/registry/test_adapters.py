"""Adapters in the registry: what their files say, which base they belong to, and that they are no models."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from tests.support.adapters import write_adapter
from tests.support.ggufs import write_chat_model, write_embedding_model
from tests.support.raw_gguf import F32, STRING, U32, RawGguf, RawTensor
from undercroft.core.errors import InvalidError, NotFoundError
from undercroft.core.home import Home
from undercroft.registry import adapters, models
from undercroft.registry.entries import Model
from undercroft.registry.facts import ModelFacts
from undercroft.registry.inspection.gguf_adapter import Pair, find_misfit
from undercroft.registry.stored_shapes import stored_shape
from undercroft.storage.database import Database

BASE = {"blk.0.attn_q.weight": (64, 48), "token_embd.weight": (64, 300), "blk.0.ffn_up_exps.weight": (64, 128, 4)}


def add(database: Database, home: Home, path: Path, base: str | None = None) -> Model:
    return models.add_local(database, home, path, actor="test", base=base)


def test_adapter_is_a_model_of_its_own_kind(database: Database, home: Home, tmp_path: Path) -> None:
    """What an adapter's file says is read at its import and is the same when the registry is read again."""
    path = write_adapter(tmp_path / "polite.gguf", rank=4, alpha=8.0)
    model = add(database, home, path)
    facts = model.facts
    assert (facts.kind, facts.architecture, facts.task) == ("adapter", "llama", None)
    assert facts.adapter is not None
    assert (facts.adapter.rank, facts.adapter.alpha, facts.adapter.changed_tensors) == (4, 8.0, 2)
    assert facts.adapter.changes == ("attn_output", "attn_q")
    assert facts.adapter.has_half_precision is False
    assert facts.parameters == 4 * 64 * 4
    assert ModelFacts.from_dict(facts.to_dict()) == facts
    with database.read() as connection:
        assert models.get(connection, "polite") == model
    assert adapters.base_of(model) is None


def test_whole_model_says_nothing_of_adapters(database: Database, home: Home, tmp_path: Path) -> None:
    """The plain data of a whole model is as it was before there were adapters."""
    facts = add(database, home, write_chat_model(tmp_path / "chat.gguf")).facts
    assert facts.kind == "model"
    assert "adapter" not in facts.to_dict()
    assert ModelFacts.from_dict(facts.to_dict()) == facts


def test_base_is_kept_with_its_digest(database: Database, home: Home, tmp_path: Path) -> None:
    """An adapter that fits the base that was named keeps that base's name and digest in its lineage."""
    base = add(database, home, write_chat_model(tmp_path / "chat.gguf"))
    adapter = add(database, home, write_adapter(tmp_path / "polite.gguf"), base="chat")
    assert adapters.base_of(adapter) == {"name": "chat", "digest": base.digest}
    assert adapter.lineage["kind"] != ""
    adapters.check_fits(home, adapter, base)


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"width": 32}, "'blk.0.attn_q.weight' as 32 × 32, this model has it as 64 × 64"),
        ({"architecture": "qwen2"}, "the architecture 'qwen2', this is 'llama'"),
        ({"block": 7}, "changes the tensor 'blk.7.attn_q.weight', which this model does not have"),
    ],
)
def test_adapter_of_another_base_is_refused(
    database: Database, home: Home, tmp_path: Path, wanted: dict[str, int], words: str
) -> None:
    """An adapter that its base could not load is refused with the tensor that does not fit, and gets no name."""
    add(database, home, write_chat_model(tmp_path / "chat.gguf"))
    with pytest.raises(InvalidError) as caught:
        add(database, home, write_adapter(tmp_path / "polite.gguf", **wanted), base="chat")  # type: ignore[arg-type]
    assert caught.value.code == "adapter-does-not-fit"
    assert words in caught.value.message
    with database.read() as connection, pytest.raises(NotFoundError):
        models.get(connection, "polite")


def test_base_has_to_be_a_whole_model(database: Database, home: Home, tmp_path: Path) -> None:
    """A base that is not there, one that is an adapter, and a base for a whole model are refused by name."""
    add(database, home, write_chat_model(tmp_path / "chat.gguf"))
    add(database, home, write_adapter(tmp_path / "polite.gguf"))
    rude = write_adapter(tmp_path / "rude.gguf", seed=2)
    with pytest.raises(NotFoundError, match="there is no model 'gone'"):
        add(database, home, rude, base="gone")
    with pytest.raises(InvalidError, match="model 'polite' is an adapter itself"):
        add(database, home, rude, base="polite")
    with pytest.raises(InvalidError, match="'embed' is a whole model, expected a LoRA adapter of the base 'chat'"):
        add(database, home, write_embedding_model(tmp_path / "embed.gguf"), base="chat")


def test_adapter_is_not_run_alone(database: Database, home: Home, tmp_path: Path) -> None:
    """Neither an engine nor a plan gets an adapter as if it were a model; the error has the command that serves it."""
    add(database, home, write_chat_model(tmp_path / "chat.gguf"))
    adapter = add(database, home, write_adapter(tmp_path / "polite.gguf"), base="chat")
    with database.read() as connection:
        with pytest.raises(InvalidError) as caught:
            models.model_file(home, connection, adapter)
        with pytest.raises(InvalidError, match="is a LoRA adapter"):
            stored_shape(home, connection, adapter)
    assert caught.value.code == "adapter-alone"
    assert caught.value.hint == "undercroft deployment create chat --adapter polite"


def test_adapter_is_found_by_name_and_by_digest(database: Database, home: Home, tmp_path: Path) -> None:
    """A name and the beginning of a digest find an adapter; a whole model and what is not there are refused."""
    add(database, home, write_chat_model(tmp_path / "chat.gguf"))
    adapter = add(database, home, write_adapter(tmp_path / "polite.gguf"))
    with database.read() as connection:
        assert adapters.find_adapter(connection, "polite") == adapter
        assert adapters.find_adapter(connection, adapter.digest[:20]) == adapter
        with pytest.raises(InvalidError, match="model 'chat' is a whole model"):
            adapters.find_adapter(connection, "chat")
        with pytest.raises(NotFoundError, match="there is no adapter 'gone'"):
            adapters.find_adapter(connection, "gone")


def test_half_precision_is_told(database: Database, home: Home, tmp_path: Path) -> None:
    """An adapter with F16 matrices says so, since large activations overflow in them."""
    facts = add(database, home, write_adapter(tmp_path / "half.gguf", dtype=np.float16)).facts
    assert facts.adapter is not None
    assert facts.adapter.has_half_precision
    assert facts.quantization == "F16"


@pytest.mark.parametrize(
    ("name", "pair", "fits"),
    [
        ("blk.0.attn_q.weight", Pair((64, 4), (4, 48)), True),
        ("blk.0.attn_q.weight", Pair((48, 4), (4, 64)), False),
        ("token_embd.weight", Pair((4, 300), (4, 64)), True),
        ("token_embd.weight", Pair((64, 4), (4, 300)), False),
        ("blk.0.ffn_up_exps.weight", Pair((64, 4, 4), (4, 128, 4)), True),
        ("blk.0.ffn_up_exps.weight", Pair((64, 4, 2), (4, 128, 2)), False),
        ("blk.1.attn_q.weight", Pair((64, 4), (4, 48)), False),
    ],
)
def test_shapes_that_fit(name: str, pair: Pair, fits: bool) -> None:
    """A pair fits where its product has the shape of the base's matrix; the token table's is the other way round."""
    misfit = find_misfit({name: pair}, architecture="llama", base=BASE, base_architecture="llama")
    assert (misfit is None) is fits


def lora(**changes: object) -> RawGguf:
    """A LoRA of one pair that differs from a sound one in what is said."""
    file = RawGguf()
    for key, value in {"general.type": "adapter", "general.architecture": "llama", "adapter.type": "lora"}.items():
        file.set(key, STRING, value)
    file.set("adapter.lora.alpha", F32, 4.0)
    file.tensors = [RawTensor("m.weight.lora_a", (8, 2)), RawTensor("m.weight.lora_b", (2, 8))]
    for field, content in changes.items():
        setattr(file, field, content)
    return file


def refusal(tmp_path: Path, database: Database, home: Home, file: RawGguf) -> str:
    path = tmp_path / "bad.gguf"
    path.write_bytes(file.build())
    with pytest.raises(InvalidError) as caught:
        add(database, home, path)
    assert caught.value.code == "bad-gguf"
    return caught.value.message


def test_what_llama_cpp_would_not_load_is_refused(database: Database, home: Home, tmp_path: Path) -> None:
    """Each thing that makes a LoRA unusable is a sentence before an engine is started."""
    a, b = RawTensor("m.weight.lora_a", (8, 2)), RawTensor("m.weight.lora_b", (2, 8))

    def told(file: RawGguf) -> str:
        return refusal(tmp_path, database, home, file)

    good = tmp_path / "good.gguf"
    good.write_bytes(lora().build())
    assert add(database, home, good).facts.kind == "adapter"
    assert "only one of lora_a and lora_b" in told(lora(tensors=[a]))
    assert "which do not multiply" in told(lora(tensors=[a, RawTensor("m.weight.lora_b", (3, 8))]))
    norm = RawTensor("blk.0.attn_norm.weight", (8,))
    assert "'blk.0.attn_norm.weight' without a pair" in told(lora(tensors=[a, b, norm]))
    assert "it holds no tensors" in told(lora(tensors=[]))
    other = lora()
    other.set("adapter.type", STRING, "ia3")
    assert "of the type 'ia3', expected 'lora'" in told(other)
    typed = lora()
    typed.set("adapter.lora.alpha", U32, 4)
    assert "has type UINT32, expected FLOAT32" in told(typed)
    wild = lora()
    wild.set("adapter.lora.alpha", F32, struct.unpack("<f", b"\x00\x00\xc0\x7f")[0])
    assert "expected a number from 0 up" in told(wild)
    nameless = lora()
    nameless.drop("general.architecture")
    assert "does not say its general.architecture" in told(nameless)

"""What is refused before an adapter is converted, each time with what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.adapters import write_adapter, write_peft, write_published
from tests.support.ggufs import write_chat_model
from undercroft.core.errors import NotFoundError, UndercroftError
from undercroft.core.home import Home
from undercroft.optimize.conversion.adapting import alpha_of
from undercroft.optimize.preparing import prepare
from undercroft.optimize.recipes import make_recipe
from undercroft.optimize.sources import open_adapter
from undercroft.registry import models
from undercroft.storage.database import Database


@pytest.fixture
def published(database: Database, home: Home, tmp_path: Path) -> None:
    """Two models as they are published, ``bot`` and ``other``, and a GGUF ``chat``."""
    for path, name in (
        (write_published(tmp_path / "bot"), "bot"),
        (write_published(tmp_path / "other", layers=3), "other"),
        (write_chat_model(tmp_path / "chat.gguf"), "chat"),
    ):
        models.add_local(database, home, path, name=name, actor="cli:anna")


def pull(database: Database, home: Home, path: Path, base: str | None = "bot") -> None:
    models.add_local(database, home, path, name="polite", actor="cli:anna", base=base)


def refusal(database: Database, home: Home, **step: Any) -> UndercroftError:
    recipe = make_recipe({"from": "polite", "to": "made", "steps": [{"convert": {"to": "gguf", **step}}]})
    with database.read() as connection, pytest.raises(UndercroftError) as caught:
        prepare(home, connection, recipe)
    return caught.value


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize(
    ("config", "step", "words"),
    [
        ({}, {"base": "chat", "type": "f16"}, "wrong-type: adapter 'polite' cannot be kept in f16: expected f32 or"),
        ({}, {"base": "bot"}, "wrong-format: model 'bot' cannot be read by this recipe: expected a GGUF"),
        ({}, {}, "no-base: no GGUF here was converted from model 'bot'"),
        ({"alpha_pattern": {"q_proj": 3}}, {"base": "chat"}, "no-one-scale: adapter_config.json says alpha_pattern"),
        ({"rank_pattern": {"v_proj": 4}, "r": 8, "use_rslora": True}, {"base": "chat"}, "says rank_pattern"),
        ({}, {"base": "chat"}, "no-environment"),
    ],
)
def test_what_cannot_be_converted(
    database: Database, home: Home, tmp_path: Path, config: dict[str, Any], step: dict[str, Any], words: str
) -> None:
    """Its type, its base and its scale are looked at before the environment is asked for."""
    pull(database, home, write_peft(tmp_path / "polite", **config))
    assert words in str(refusal(database, home, **step))


@pytest.mark.usefixtures("published")
def test_without_its_base(database: Database, home: Home, tmp_path: Path) -> None:
    """What was pulled without its base cannot be compared with anything."""
    pull(database, home, write_peft(tmp_path / "polite"), base=None)
    error = refusal(database, home, base="chat")
    assert "compared with a base, and it names none" in error.message
    assert "--base BASE" in (error.hint or "")


@pytest.mark.usefixtures("published")
def test_base_that_is_gone(database: Database, home: Home, tmp_path: Path) -> None:
    """The base that an adapter was held against is told by the name that it had."""
    pull(database, home, write_peft(tmp_path / "polite"))
    models.remove(database, "bot", actor="cli:anna")
    with database.read() as connection, pytest.raises(NotFoundError, match="its base 'bot', which is not here any"):
        open_adapter(home, connection, "polite", "chat")


@pytest.mark.usefixtures("published")
def test_gguf_adapter_is_there_already(database: Database, home: Home, tmp_path: Path) -> None:
    """What llama.cpp loads as it is needs no converter."""
    pull(database, home, write_adapter(tmp_path / "polite.gguf"), base="chat")
    assert "expected PEFT's folder, it is gguf" in refusal(database, home).message


@pytest.mark.usefixtures("published")
def test_bases_belong_to_adapters(database: Database, home: Home) -> None:
    """A whole model has no base, and only llama.cpp's form of an adapter is tried beside one."""
    recipe = make_recipe({"from": "bot", "to": "made", "steps": [{"convert": {"to": "gguf", "base": "chat"}}]})
    with database.read() as connection, pytest.raises(UndercroftError, match="model 'bot' is none"):
        prepare(home, connection, recipe)
    with pytest.raises(UndercroftError, match="base: belongs to gguf, of an adapter"):
        make_recipe({"from": "bot", "to": "made", "steps": [{"convert": {"to": "onnx", "base": "chat"}}]})


@pytest.mark.parametrize(
    ("config", "alpha"),
    [
        ({"r": 16, "lora_alpha": 8}, 8.0),
        ({"r": 16, "lora_alpha": 8, "use_rslora": True}, 32.0),
        ({"r": 16, "lora_alpha": 8, "rank_pattern": {"q_proj": 4}, "alpha_pattern": {"q_proj": 8}}, 8.0),
    ],
)
def test_one_number_says_the_scale(config: dict[str, Any], alpha: float) -> None:
    """llama.cpp divides it by the rank of each pair: an rsLoRA's is multiplied by its root, alpha / √16 = 32 / 16."""
    assert alpha_of(config) == alpha

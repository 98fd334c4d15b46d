"""What compressing a published model would make and take, and what is refused before it begins."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.folders import write_folder
from tests.support.raw_safetensors import build, entry
from undercroft.core.clock import to_iso, utc_now
from undercroft.core.errors import InvalidError, RefusedError, UnavailableError
from undercroft.core.home import Home
from undercroft.environments.installed import Record, environment_of
from undercroft.environments.recipes import find
from undercroft.optimize.compression.compressing import compared_tokens
from undercroft.optimize.jobs import asking
from undercroft.optimize.prepared import Prepared
from undercroft.optimize.recipes import make_recipe
from undercroft.registry import models
from undercroft.storage.database import Database

WIDTH = 96


def publish(database: Database, home: Home, folder: Path, *, dtype: str = "BF16", **config: object) -> None:
    """A model with one matrix in one block, and a table."""
    write_folder(folder, **config)
    size = {"BF16": 2, "F8_E4M3": 1}[dtype]
    table, matrix = 100 * WIDTH * size, WIDTH * WIDTH * size
    header = {
        "model.embed_tokens.weight": entry(dtype, [100, WIDTH], 0, table),
        "model.layers.0.self_attn.q_proj.weight": entry(dtype, [WIDTH, WIDTH], table, table + matrix),
    }
    (folder / "model.safetensors").write_bytes(build(header, table + matrix))
    models.add_local(database, home, folder, name="tiny", actor="cli:anna")


def pretend_installed(home: Home) -> None:
    """The record of an installation, and an interpreter: what is looked at before work begins."""
    environment = environment_of(home, "compress")
    environment.python.parent.mkdir(parents=True)
    environment.python.touch()
    environment.complete(Record(find("compress").digest(), "3.11", {"torch": "2.13.0"}, 1, to_iso(utc_now())))


def prepared(database: Database, home: Home, scheme: str, **settings: object) -> Prepared:
    step = {"quantize": {"scheme": scheme, **settings}}
    return asking.look_at(home, database, make_recipe({"from": "tiny", "to": "new", "steps": [step]}))


def test_the_forecast(database: Database, home: Home, tmp_path: Path) -> None:
    """The bytes of the result to the byte, but for what describes it; what is kept of the source on the disk, too."""
    publish(database, home, tmp_path / "tiny")
    pretend_installed(home)
    found = prepared(database, home, "mxfp4a16")
    forecast = found.forecast
    packed = 100 * WIDTH * 2 + WIDTH * WIDTH // 2 + WIDTH * WIDTH // 32
    assert 0 < forecast.result_bytes - packed < 5000
    assert forecast.disk_bytes - forecast.result_bytes == compared_tokens(100) * 100 * 4
    assert "accuracy may go" in found.steps[0].warning
    assert found.steps[0].is_reproducible


def test_texts_that_are_read_take_memory(database: Database, home: Home, tmp_path: Path) -> None:
    """More where more of them is read; the largest group that divides is told."""
    publish(database, home, tmp_path / "tiny")
    pretend_installed(home)
    texts = tmp_path / "texts.txt"
    texts.write_text("one\n\ntwo", encoding="utf-8")
    few, many = (
        prepared(database, home, "gptq-w4a16", calibration={"texts": texts, "samples": samples})
        for samples in (1, 4096)
    )
    assert few.forecast.memory_bytes < many.forecast.memory_bytes
    assert many.steps[0].told["settings"]["group_size"] == 32
    assert not many.steps[0].is_reproducible
    with pytest.raises(InvalidError, match="groups of 128 do not divide rows of 96 weights") as caught:
        prepared(database, home, "gptq-w4a16", calibration={"texts": texts}, group_size=128)
    assert "--group-size 32" in str(caught.value.hint)
    texts.write_text("one line", encoding="utf-8")
    with pytest.raises(InvalidError, match="are one line: expected at least 2"):
        prepared(database, home, "gptq-w4a16", calibration={"texts": texts})


def test_without_its_environment(database: Database, home: Home, tmp_path: Path) -> None:
    """The command that installs it is named."""
    publish(database, home, tmp_path / "tiny")
    with pytest.raises(UnavailableError, match="the environment 'compress' is not installed") as caught:
        prepared(database, home, "fp8")
    assert caught.value.hint == "undercroft engine install compress"


def test_a_model_that_is_rounded_already(database: Database, home: Home, tmp_path: Path) -> None:
    """Is not rounded again."""
    publish(database, home, tmp_path / "tiny", dtype="F8_E4M3")
    with pytest.raises(RefusedError, match="model 'tiny' is rounded to F8_E4M3 already; making fp8 of it"):
        prepared(database, home, "fp8")


def test_a_model_that_makes_no_text(database: Database, home: Home, tmp_path: Path) -> None:
    """Cannot be compared, so it is not made smaller."""
    publish(database, home, tmp_path / "tiny", architectures=["BertModel"], model_type="bert")
    with pytest.raises(InvalidError, match="wrong-task: model 'tiny' is for embed"):
        prepared(database, home, "fp8")

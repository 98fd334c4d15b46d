"""What fine-tuning would make and take, and what is refused before it begins."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.prunable import write_prunable
from undercroft.core.errors import ConflictError, InvalidError, UnavailableError
from undercroft.core.home import Home
from undercroft.core.settings import EngineSettings
from undercroft.environments.installed import Environment, Record, environment_of
from undercroft.environments.recipes import find
from undercroft.optimize.finetune_step import FinetuneStep
from undercroft.optimize.jobs import asking
from undercroft.optimize.jobs.room import Forecast
from undercroft.optimize.recipes import make_recipe
from undercroft.optimize.steps import Workspace
from undercroft.optimize.training.closing import write_merged
from undercroft.optimize.training.lessons import Material
from undercroft.optimize.training.opening import look_into
from undercroft.optimize.training.settings import Finetune
from undercroft.registry import models
from undercroft.storage.database import Database


def installed(home: Home) -> None:
    """The environment ``train``, as far as its record."""
    environment, recipe = environment_of(home, "train"), find("train")
    (environment.folder / "bin").mkdir(parents=True)
    environment.python.touch()
    environment.complete(Record(recipe.digest(), "3.11", {"torch": "2"}, 1, "2026-11-22T00:00:00Z"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two conversations."""
    said = (("hello", "hi"), ("bye", "hi"))
    lines = [
        {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]}
        for asked, answer in said
    ]
    path = tmp_path / "chat.jsonl"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    return path


@pytest.fixture
def file(database: Database, home: Home, tmp_path: Path) -> Path:
    """The file of a registered model."""
    made = write_prunable(tmp_path / "base.gguf")
    models.add_local(database, home, made, actor="cli:anna", name="base")
    return made


def forecast(database: Database, home: Home, data: Path, *, source: str = "base", **settings: object) -> Forecast:
    steps = [{"finetune": {"data": data, **settings}}]
    return asking.look_at(home, database, make_recipe({"from": source, "to": "new", "steps": steps})).forecast


def test_the_forecast_is_of_what_learns(database: Database, home: Home, file: Path, data: Path, tmp_path: Path) -> None:
    """A whole model takes its own size, an adapter what its matrices take; learning all takes the more memory."""
    installed(home)
    lora, full = forecast(database, home, data, rank=2), forecast(database, home, data, method="full")
    write_merged(file, {}, tmp_path / "whole.gguf")
    assert abs((tmp_path / "whole.gguf").stat().st_size - full.result_bytes) < 16_384  # keys and the vocabulary
    rows_and_columns = 2 * (64 + 64) + 2 * (64 + 32) + 3 * (64 + 128)  # of a block, in and out
    assert lora.result_bytes == 4 * 2 * 4 * rows_and_columns
    assert lora.memory_bytes < full.memory_bytes
    assert forecast(database, home, data, merge=True, type="f32").result_bytes > 1.5 * full.result_bytes


def test_the_environment_is_asked_for(database: Database, home: Home, file: Path, data: Path) -> None:
    """With the command that installs it."""
    with pytest.raises(UnavailableError) as caught:
        forecast(database, home, data)
    assert caught.value.hint == "undercroft engine install train"


def test_too_few_conversations_are_refused_before_the_job(
    database: Database, home: Home, file: Path, data: Path
) -> None:
    """One that would be measured by leaves nothing to learn from."""
    installed(home)
    data.write_text(data.read_text(encoding="utf-8").splitlines()[0] + "\n", encoding="utf-8")
    with pytest.raises(InvalidError, match="too-few-conversations"):
        forecast(database, home, data)
    assert forecast(database, home, data, validation_share=0).result_bytes > 0


def test_other_data_than_was_meant_is_refused(database: Database, home: Home, file: Path, data: Path) -> None:
    """A recipe keeps the digest of its data; and more questions than there are cannot be drawn."""
    installed(home)
    with pytest.raises(ConflictError, match="not what the recipe was made for"):
        forecast(database, home, data, data_digest=f"sha256:{'0' * 64}")
    with pytest.raises(InvalidError, match="has 2 questions, 3 are to be rehearsed"):
        forecast(database, home, data, rehearse={"questions": data, "count": 3})


def test_one_that_was_killed_while_it_cleared_up_is_done(file: Path, tmp_path: Path) -> None:
    """Its findings are written last; then nothing is taught a second time."""
    work = Workspace(file, tmp_path / "step", seed=0, threads=1)
    (work.folder / "training" / "base").mkdir(parents=True)
    work.findings.write_text("{}", encoding="utf-8")
    FinetuneStep(
        Finetune(data=tmp_path / "chat.jsonl"),
        Material([], None, 0.0, [], tmp_path / "chat.jsonl"),
        look_into(file),
        base="base",
        name="new",
        environment=Environment(tmp_path / "none"),
        engines=EngineSettings(),
    ).run(work, lambda progress: None)
    assert not (work.folder / "training").exists()

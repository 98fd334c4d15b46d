"""A model in several parts is for every recipe what its whole is: the same results, byte for byte."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.ggufs import write_chat_model
from tests.support.split_ggufs import write_split
from undercroft.core.errors import UnavailableError
from undercroft.core.home import Home
from undercroft.core.processes import identify
from undercroft.optimize.evaluation.subjects import find_model
from undercroft.optimize.jobs import asking, store
from undercroft.optimize.jobs.running import run_job
from undercroft.optimize.jobs.store import Job, Parent
from undercroft.optimize.measures.divergence import measure_divergence
from undercroft.optimize.measures.perplexity import measure_perplexity
from undercroft.optimize.measures.reading import Reading
from undercroft.optimize.pruning.changes import Changes
from undercroft.optimize.pruning.pruning import prune_file
from undercroft.optimize.quantization.source import read_header
from undercroft.optimize.recipes import make_recipe
from undercroft.optimize.training.opening import open_model
from undercroft.registry import models
from undercroft.registry.inspection.gguf import read_gguf
from undercroft.storage.blobs import BlobStore
from undercroft.storage.database import Database

TEXT = "the cat sat on the mat, and the dog sat beside it, as they did on the day before. " * 4


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """A model in one file."""
    return write_chat_model(tmp_path / "whole.gguf", width=256, layers=3, context_tokens=512)


@pytest.fixture
def split(whole: Path, tmp_path: Path) -> Path:
    """The same in three parts; the first."""
    return write_split(whole, tmp_path, parts=3, stem="tiny")


@pytest.fixture
def registered(database: Database, home: Home, whole: Path, split: Path) -> None:
    """Both in the registry, as ``whole`` and ``tiny``."""
    models.add_local(database, home, whole, actor="cli:anna")
    models.add_local(database, home, split, actor="cli:anna")


def made(database: Database, home: Home, source: str, **steps: Any) -> models.Model:
    """What a job makes of a model."""
    recipe = make_recipe({"from": source, "to": f"{source}-new", "steps": [steps]})
    prepared = asking.look_at(home, database, recipe)
    process = identify(os.getpid())
    assert process is not None
    parents = [Parent(one.model.name, one.model.digest) for one in prepared.sources]
    with database.write() as connection:
        store.add(
            connection, kind=next(iter(steps)), recipe=prepared.recipe.to_dict(), parents=parents,
            result=f"{source}-new", actor="cli:anna", reason=None,
        )  # fmt: skip
        job: Job | None = store.claim(connection, process)
    assert job is not None
    run_job(home, database, job, tell=lambda text: None)
    with database.read() as connection:
        return models.get(connection, f"{source}-new")


@pytest.mark.usefixtures("registered")
def test_a_job_makes_the_same_of_both(database: Database, home: Home) -> None:
    """One file, whose digest is that of what the whole gives; the parent is the split model."""
    of_whole = made(database, home, "whole", quantize={"scheme": "Q4_K_M"})
    of_parts = made(database, home, "tiny", quantize={"scheme": "Q4_K_M"})
    assert of_parts.digest == of_whole.digest
    assert [file.path for file in of_parts.files] == ["tiny-new.gguf"]
    with database.read() as connection:
        tiny = models.get(connection, "tiny")
    assert len(tiny.files) == 3
    assert of_parts.lineage["parents"] == [{"name": "tiny", "digest": tiny.digest}]


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize(
    "step",
    [
        lambda folder: {"quantize": {"scheme": "Q8_0", "importance": {"texts": texts(folder)}}},
        lambda folder: {"prune": {"depth": 1, "texts": texts(folder)}},
    ],
    ids=["quantize", "prune"],
)
def test_what_is_forecast_is_that_of_the_whole(
    database: Database, home: Home, tmp_path: Path, step: Callable[[Path], dict[str, Any]]
) -> None:
    """Bytes of the result and memory, to what the heads of the parts take."""
    found = []
    for name in ("whole", "tiny"):
        recipe = make_recipe({"from": name, "to": "new", "steps": [step(tmp_path)]})
        found.append(asking.look_at(home, database, recipe).forecast)
    assert found[1].result_bytes == pytest.approx(found[0].result_bytes, abs=1024)
    assert found[1].memory_bytes == pytest.approx(found[0].memory_bytes, abs=4096)


def texts(folder: Path) -> str:
    """A file of texts."""
    (folder / "texts.txt").write_text("\n\n".join([TEXT] * 8), encoding="utf-8")
    return str(folder / "texts.txt")


def test_its_header_is_that_of_the_whole(whole: Path, split: Path) -> None:
    """All tensors in their order, and nothing of the parts among the metadata."""
    one, other = read_gguf(whole, "whole", with_tokens=False), read_header(split)
    assert [(t.name, t.shape, t.kind) for t in other.tensors] == [(t.name, t.shape, t.kind) for t in one.tensors]
    assert set(other.values) == set(one.values)
    assert read_header(whole).tensors == one.tensors


def test_pruned_it_is_the_same_file(whole: Path, split: Path, tmp_path: Path) -> None:
    """Without a block."""
    for source, target in ((whole, "a.gguf"), (split, "b.gguf")):
        prune_file(source, tmp_path / target, Changes(dropped=frozenset({1})), report=lambda done, total: None)
    assert (tmp_path / "a.gguf").read_bytes() == (tmp_path / "b.gguf").read_bytes()


def test_opened_for_training_it_is_the_same(whole: Path, split: Path, tmp_path: Path) -> None:
    """All weights, as published."""
    assert open_model(split, tmp_path / "b") == open_model(whole, tmp_path / "a")
    for file in (tmp_path / "a").iterdir():
        assert (tmp_path / "b" / file.name).read_bytes() == file.read_bytes(), file.name


@pytest.mark.usefixtures("registered")
def test_measured_it_is_the_same(database: Database, home: Home, whole: Path) -> None:
    """The engine's library reads all parts, from where the registry keeps them."""
    reading = Reading(threads=1)
    found = find_model("tiny", home, database)
    assert found.subject.parameters == find_model("whole", home, database).subject.parameters
    assert measure_perplexity(found.path, [TEXT], reading).value == measure_perplexity(whole, [TEXT], reading).value
    divergence = measure_divergence(found.path, whole, [TEXT], reading)
    assert np.isclose(divergence.mean_nats, 0.0, atol=1e-6)


@pytest.mark.usefixtures("registered")
def test_a_part_that_is_gone_is_told_before_work(database: Database, home: Home) -> None:
    """By the registry, which knows each part's digest."""
    with database.read() as connection:
        third = models.get(connection, "tiny").files[2]
    BlobStore(home.blobs).path(third.digest).unlink()
    recipe = make_recipe({"from": "tiny", "to": "new", "steps": [{"quantize": {"scheme": "Q8_0"}}]})
    with pytest.raises(UnavailableError, match="tiny-00003-of-00003"):
        asking.look_at(home, database, recipe)

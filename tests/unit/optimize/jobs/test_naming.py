"""What a job of several steps has made: which of it gets a name, and with which lineage."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.support.prunable import write_prunable
from undercroft.core.errors import ConflictError, InvalidError
from undercroft.core.home import Home
from undercroft.core.processes import identify
from undercroft.optimize.jobs import asking, store
from undercroft.optimize.jobs.folders import JobFolder
from undercroft.optimize.jobs.running import run_job
from undercroft.optimize.jobs.store import Job, Parent
from undercroft.optimize.prepared import Prepared
from undercroft.optimize.recipes import make_recipe
from undercroft.optimize.steps import note_files
from undercroft.registry import models
from undercroft.storage import journal
from undercroft.storage.database import Database


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """What a step prunes by."""
    path = tmp_path / "texts.jsonl"
    path.write_text("\n".join(json.dumps({"text": f"bird number {n} sat on a wire"}) for n in range(6)), "utf-8")
    return path


@pytest.fixture
def model(database: Database, home: Home, tmp_path: Path) -> models.Model:
    """A registered model."""
    return models.add_local(database, home, write_prunable(tmp_path / "tiny.gguf"), actor="cli:anna")


def prepared(database: Database, home: Home, texts: Path, **more: Any) -> Prepared:
    """A recipe that prunes and quantizes."""
    steps = [{"prune": {"texts": texts, "depth": 1}}, {"quantize": {"scheme": "Q8_0"}}]
    return asking.look_at(home, database, make_recipe({"from": "tiny", "to": "small", "steps": steps, **more}))


def pruned(database: Database, home: Home, wanted: Prepared, tmp_path: Path) -> Job:
    """A job of this process whose first step was done before it was interrupted."""
    process = identify(os.getpid())
    assert process is not None
    with database.write() as connection:
        store.add(
            connection,
            kind=wanted.recipe.kind,
            recipe=wanted.recipe.to_dict(),
            parents=[Parent(source.model.name, source.model.digest) for source in wanted.sources],
            result="small",
            actor="cli:anna",
            reason=None,
        )
        job = store.claim(connection, process)
    assert job is not None
    folder = JobFolder(home, job.id)
    folder.prepare()
    folder.step(0).mkdir()
    write_prunable(tmp_path / "made.gguf", layers=3).rename(folder.step(0) / "model.gguf")
    note_files(folder.step(0))
    return job


def test_the_model_of_an_earlier_step_is_kept_with_its_own_lineage(
    database: Database, home: Home, model: models.Model, texts: Path, tmp_path: Path
) -> None:
    """It knows the steps that made it, and no more; the job's folder is not needed any longer."""
    job = pruned(database, home, prepared(database, home, texts, keep="all"), tmp_path)
    run_job(home, database, job, tell=lambda line: None)
    JobFolder(home, job.id).clear()
    with database.read() as connection:
        kept, made = models.get(connection, "small-1-prune"), models.get(connection, "small")
        models.model_file(home, connection, kept)
        (done,) = [entry for entry, _ in journal.entries(connection) if entry.action == "job.done"]
    assert (kept.facts.layers, kept.facts.quantization, made.facts.quantization) == (3, "F16", "Q8_0")
    assert [step["kind"] for step in kept.lineage["steps"]] == ["prune"]
    assert [step["kind"] for step in made.lineage["steps"]] == ["prune", "quantize"]
    assert kept.lineage["parents"] == made.lineage["parents"] == [{"name": "tiny", "digest": model.digest}]
    assert kept.source.endswith("prune of tiny")
    assert done.after == {"model": "small", "digest": made.digest, "kept": ["small-1-prune"]}


def test_without_a_word_only_the_last_is_kept(
    database: Database, home: Home, model: models.Model, texts: Path, tmp_path: Path
) -> None:
    """What lies between is removed with the job."""
    run_job(home, database, pruned(database, home, prepared(database, home, texts), tmp_path), tell=lambda line: None)
    with database.read() as connection:
        assert sorted(one.name for one in models.list_models(connection)) == ["small", "tiny"]


def test_all_get_their_names_or_none(
    database: Database, home: Home, model: models.Model, texts: Path, tmp_path: Path
) -> None:
    """A job that is cancelled at the last moment leaves nothing of its earlier steps."""
    job = pruned(database, home, prepared(database, home, texts, keep=[1]), tmp_path)

    def cancel_late(line: str) -> None:
        if line == "checking and naming the result":
            with database.write() as connection:
                store.cancel(connection, job.id, actor="cli:ben", reason=None)

    with pytest.raises(ConflictError, match="job-taken"):
        run_job(home, database, job, tell=cancel_late)
    with database.read() as connection:
        assert [one.name for one in models.list_models(connection)] == ["tiny"]


def test_a_name_that_is_taken_is_refused_at_once(
    database: Database, home: Home, model: models.Model, texts: Path, tmp_path: Path
) -> None:
    """Not after hours of work."""
    other = write_prunable(tmp_path / "small-1-prune.gguf", seed=3)
    models.add_local(database, home, other, actor="cli:anna")
    with pytest.raises(ConflictError, match="small-1-prune"):
        prepared(database, home, texts, keep="all")


@pytest.mark.parametrize(
    ("prune", "keep", "problem"),
    [
        ({"depth": 1}, [2], "keep: expected numbers of steps before the last"),
        ({"sparsity": "2:4"}, [1], "keep: what step 1 makes is of no use before"),
        ({"depth": 1}, "some", "keep"),
        ({"depth": 1}, [], "keep"),
    ],
)
def test_what_cannot_be_kept_is_refused(texts: Path, prune: dict[str, Any], keep: Any, problem: str) -> None:
    """With the reason."""
    steps = [{"prune": {"texts": texts, **prune}}, {"distill": {"data": texts}}]
    with pytest.raises(InvalidError, match=problem):
        make_recipe({"from": "tiny", "to": "small", "steps": steps, "keep": keep})


def test_zeros_that_were_not_repaired_are_not_kept(texts: Path) -> None:
    """All means all that is worth a name; and a long name is cut."""
    steps = [
        {"prune": {"texts": texts, "sparsity": 0.5}},
        {"distill": {"data": texts}},
        {"quantize": {"scheme": "Q8_0"}},
    ]
    recipe = make_recipe({"from": "tiny", "to": "n" * 63, "steps": steps, "keep": "all"})
    assert recipe.kept == {2: "n" * 53 + "-2-distill"}

"""Students are really taught: repaired after pruning, by what a teacher expects, by what it answers, and after a kill.

All of it needs the environment ``train``, which is installed from the package index, a gigabyte:
``pytest -m long --full tests/scenario/test_distillation.py``.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import gguf
import numpy as np
import pytest

from tests.support.cellar import Cellar
from tests.support.prunable import write_prunable
from undercroft.core.home import Home
from undercroft.environments import installing
from undercroft.environments.recipes import find
from undercroft.storage.database import Database

TEXTS = [f"{'abcdefgh'[n % 8] * 3} and {n} birds sat on wire {n * n}, " * 3 for n in range(20)]
SCHEDULE = ("--rate", "5e-4", "--epochs", "20")


@pytest.fixture(scope="module")
def cellar(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Cellar]:
    """A home with the environment, a model and its texts; it goes when the last test has ended."""
    if not pytestconfig.getoption("--full"):
        pytest.skip("teaching needs an environment of a gigabyte: pytest -m long --full")
    folder = tmp_path_factory.mktemp("distillation")
    cellar = Cellar(folder)
    home = Home(cellar.home)
    home.prepare()
    installing.install(home, Database(home.database_file), find("train"), actor="cli:test")
    (folder / "texts.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in TEXTS), encoding="utf-8")
    questions = (json.dumps({"prompt": f"how many birds on wire {n}"}) for n in range(12))
    (folder / "questions.jsonl").write_text("\n".join(questions), encoding="utf-8")
    for name, seed in (("large", 0), ("other", 5)):
        cellar.run("model", "pull", str(write_prunable(folder / f"{name}.gguf", kind="F32", seed=seed)), "--name", name)
    yield cellar
    shutil.rmtree(cellar.home, ignore_errors=True)  # not there where all was skipped


def texts(cellar: Cellar) -> str:
    """The file of texts."""
    return str(cellar.home.parent / "texts.jsonl")


def make(cellar: Cellar, *words: str) -> str:
    """A command that may take long on a busy machine; what it said."""
    process = cellar.start("optimize", *words)
    out, problem = process.communicate(timeout=1000)
    assert process.returncode == 0, problem
    return " ".join(out.split())


def found(cellar: Cellar, name: str) -> list[dict[str, Any]]:
    """What each step of a model's making has found."""
    return [step["found"] for step in cellar.json("model", "show", name)["lineage"]["steps"]]


def weights(cellar: Cellar, name: str) -> dict[str, gguf.ReaderTensor]:
    """The tensors of a model."""
    digest = cellar.json("model", "show", name)["files"][0]["digest"].removeprefix("sha256:")
    path = cellar.home / "blobs" / "sha256" / digest[:2] / digest[2:]
    return {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}


@pytest.mark.timeout(1200)
def test_what_pruning_broke_is_repaired(cellar: Cellar) -> None:
    """One job prunes and lets the whole model teach what is left; the divergence from it falls, on texts kept apart."""
    prune = ("prune", "large", "--depth", "2", "--texts", texts(cellar))
    said = make(cellar, *prune, "--repair", *SCHEDULE, "--name", "small")
    pruned, taught = found(cellar, "small")
    distillation = taught["distillation"]
    assert pruned["quality"]["divergence_nats"] == pytest.approx(distillation["divergence_before_nats"], rel=0.05)
    assert distillation["divergence_after_nats"] < distillation["divergence_before_nats"]
    assert distillation["is_held_out"]
    assert (distillation["teacher"], taught["agreement"]["same"] > 0) == ("large", True)
    assert f"taught by large: perplexity {distillation['perplexity_before']:.4g} before" in said
    assert [parent["name"] for parent in cellar.json("model", "show", "small")["lineage"]["parents"]] == ["large"]


@pytest.mark.timeout(1200)
def test_zeros_stay_where_pruning_put_them(cellar: Cellar) -> None:
    """Two of every four are zero after the repair, too; without one the command is refused."""
    options = ("prune", "large", "--sparsity", "2:4", "--texts", texts(cellar))
    refused = cellar.run("optimize", *options, expected=2).stderr
    assert "zeros put in at once cost more" in " ".join(refused.split())
    make(cellar, *options, "--repair", *SCHEDULE, "--name", "sparse")
    for name, tensor in weights(cellar, "sparse").items():
        if name.startswith("blk.") and tensor.data.ndim == 2:
            assert ((tensor.data.reshape(-1, 4) == 0).sum(axis=1) >= 2).all(), name
    pruned, taught = found(cellar, "sparse")
    assert pruned["zero_ratio"] == pytest.approx(0.5, abs=0.01)
    assert "neither smaller nor faster" in pruned["note"]["text"]
    assert taught["distillation"]["divergence_after_nats"] < taught["distillation"]["divergence_before_nats"]


@pytest.mark.timeout(1200)
def test_a_student_learns_from_another_model(cellar: Cellar) -> None:
    """By what it expects and by what it answers; both are parents, the first nears it."""
    teach = ("distill", "large", "--teacher", "other", *SCHEDULE)
    make(cellar, *teach, "--data", texts(cellar), "--name", "by-logits")
    (taught,) = found(cellar, "by-logits")
    assert taught["distillation"]["divergence_after_nats"] < taught["distillation"]["divergence_before_nats"]
    shown = cellar.json("model", "show", "by-logits")["lineage"]
    assert [parent["name"] for parent in shown["parents"]] == ["large", "other"]
    questions = str(cellar.home.parent / "questions.jsonl")
    recipe = cellar.home.parent / "answers.yaml"
    recipe.write_text(
        "from: large\nto: by-answers\nsteps:\n"
        f"  - distill: {{teacher: other, method: answers, data: {questions}, rate: 5e-4, answer_tokens: 400}}\n",
        encoding="utf-8",
    )
    done = cellar.start("optimize", "run", str(recipe))
    _, problem = done.communicate(timeout=600)
    # A random teacher may never end an answer; then that is what is said.
    assert done.returncode == 0 or "none of 12 answers of the teacher was whole" in " ".join(problem.split())


@pytest.mark.timeout(1200)
def test_killed_while_it_learns_it_goes_on(cellar: Cellar) -> None:
    """``kill -9`` loses only time: resumed, it goes on from its last checkpoint, and gives what it would have given."""
    teach = ("distill", "large", "--teacher", "other", "--data", texts(cellar), "--rate", "5e-4", "--epochs", "20")
    make(cellar, *teach, "--name", "undisturbed")
    job = cellar.json("optimize", *teach, "--name", "disturbed", "--detach")["id"]
    progress = cellar.home / "jobs" / job / "progress.json"
    while not (progress.exists() and json.loads(progress.read_bytes())["losses"]):
        time.sleep(0.05)
    with closing(sqlite3.connect(cellar.home / "undercroft.db")) as database:
        ((pid,),) = database.execute("SELECT pid FROM jobs WHERE id = ?", (job,)).fetchall()
    os.kill(pid, signal.SIGKILL)
    while cellar.json("job", "show", job)["state"] != "interrupted":
        time.sleep(0.05)
    process = cellar.start("job", "resume", job)
    _, problem = process.communicate(timeout=1000)
    assert process.returncode == 0, problem
    resumed = cellar.json("job", "show", job)
    assert (resumed["state"], resumed["attempts"]) == ("done", 2)
    one, other = weights(cellar, "undisturbed"), weights(cellar, "disturbed")
    assert all(np.array_equal(one[name].data, tensor.data) for name, tensor in other.items())
    digests = [cellar.json("model", "show", name)["digest"] for name in ("undisturbed", "disturbed")]
    assert digests[0] == digests[1]


@pytest.mark.timeout(1200)
def test_a_student_of_a_new_shape_is_taught_from_nothing(cellar: Cellar) -> None:
    """One job draws its weights and lets the model teach it: nearer to its teacher than what knows nothing."""
    shape = ("--new-student", "blocks=2,width=32,heads=2")
    refused = cellar.run(
        "optimize", "distill", "large", "--data", texts(cellar), "--new-student", "heads=7", expected=2
    )
    assert "7 heads do not divide" in " ".join(refused.stderr.split())
    make(cellar, "distill", "large", "--data", texts(cellar), *shape, "--epochs", "20", "--name", "fresh")
    drawn, taught = found(cellar, "fresh")
    distillation = taught["distillation"]
    assert (drawn["student"]["blocks"], drawn["student"]["width"], drawn["student"]["head_width"]) == (2, 32, 16)
    assert distillation["divergence_after_nats"] < distillation["divergence_before_nats"]
    assert taught["agreement"]["same"] > 0
    assert {name for name in weights(cellar, "fresh") if name.startswith("blk.2.")} == set()
    facts = cellar.json("model", "show", "fresh")["facts"]
    assert facts["layers"] == 2
    assert drawn["student"]["parameters"] == facts["parameters"]

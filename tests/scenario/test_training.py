"""Models are really taught, in the environment ``train``, which is installed from the package index: a gigabyte.

All of it needs that, so all of it runs at full size only: ``pytest -m long --full tests/scenario/test_training.py``.
"""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.cellar import Cellar
from tests.support.prunable import write_prunable
from undercroft.core.errors import InvalidError
from undercroft.core.home import Home
from undercroft.core.processes import ProcessIdentity
from undercroft.environments import installing
from undercroft.environments.installed import Environment
from undercroft.environments.recipes import find
from undercroft.optimize.jobs import store
from undercroft.optimize.jobs.states import State
from undercroft.optimize.measures.splitting import split_texts
from undercroft.optimize.training.checking import Trial, check_result
from undercroft.optimize.training.opening import open_model
from undercroft.optimize.training.orders import (
    CrossEntropy,
    Divergence,
    Holding,
    Lora,
    Loss,
    Preference,
    Schedule,
    TrainingOrder,
)
from undercroft.optimize.training.sequences import TokenSequence, write_sequences
from undercroft.storage.database import Database

TRIALS = Path(__file__).parents[1] / "support" / "training_trials.py"
TEXTS = ["hello there, how are you", "0123456789 and so on", "the cellar keeps what is yours"]
ANSWERS = [f"answer {number}: {'abc' * (number % 7 + 1)}" for number in range(40)]


@pytest.fixture(scope="module")
def cellar(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Cellar]:
    """A home with the environment; it goes when the last test has ended."""
    if not pytestconfig.getoption("--full"):
        pytest.skip("training needs an environment of a gigabyte: pytest -m long --full")
    cellar = Cellar(tmp_path_factory.mktemp("training"))
    home = Home(cellar.home)
    home.prepare()
    installing.install(home, Database(home.database_file), find("train"), actor="cli:test")
    yield cellar
    shutil.rmtree(cellar.home, ignore_errors=True)  # not there where all was skipped


@pytest.fixture(scope="module")
def environment(cellar: Cellar) -> Environment:
    """The environment ``train``."""
    return Environment(Home(cellar.home).environments / "train")


def sequences(model: Path, texts: list[str]) -> list[TokenSequence]:
    """Texts as they are, all of them judged."""
    return [TokenSequence((1, *tokens, 2), (True,) * (len(tokens) + 2)) for tokens in split_texts(model, texts)]


def order(
    folder: Path, *, method: Any = "full", loss: Loss | None = None, seed: int = 0, **schedule: Any
) -> TrainingOrder:
    """A small model and texts that it learns; the folder is made."""
    folder.mkdir()
    model = write_prunable(folder / "model.gguf", kind="F32", seed=seed)
    open_model(model, folder / "base")
    write_sequences(folder / "training.npz", sequences(model, ANSWERS[:32]))
    write_sequences(folder / "validation.npz", sequences(model, ANSWERS[32:]))
    settings = {"rate": 3e-3, "epochs": 4.0, "window_tokens": 96, "evaluations": 4, **schedule}
    return TrainingOrder(
        model=folder / "base",
        training=folder / "training.npz",
        validation=folder / "validation.npz",
        target=folder / "result",
        folder=folder,
        method=method,
        loss=loss or CrossEntropy(),
        schedule=Schedule(**settings),
        lora=None if method == "full" else Lora(4, 8.0, 0.1),
        seed=3,
    )


def tried(environment: Environment, *trials: tuple[TrainingOrder, int | None, int | None]) -> list[dict[str, Any]]:
    """What comes of orders, each with the step at which it is killed and the largest file that it may write."""
    told = [{"order": one.to_dict(), "kill_at": step, "most_bytes": most} for one, step, most in trials]
    command = [environment.python, "-P", TRIALS]
    done = subprocess.run(command, input=json.dumps(told), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


def digests(folder: Path) -> dict[str, str]:
    """Of the weights in a folder."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.safetensors")}


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3"])
def test_torch_computes_what_llama_computes(environment: Environment, tmp_path: Path, architecture: str) -> None:
    """An opened model gives each token the probability that llama.cpp gives it; another model does not pass."""
    model = write_prunable(tmp_path / "model.gguf", architecture, kind="F32")
    open_model(model, tmp_path / "base")
    trials = [Trial(text, (1, *tokens)) for text, tokens in zip(TEXTS, split_texts(model, TEXTS), strict=True)]
    found = check_result(
        model, None, tmp_path / "base", None, trials, environment, work=tmp_path, kind="f32", threads=1
    )
    assert found.compared > 40
    assert found.mean_difference < 0.005
    if architecture != "llama":
        return
    other = write_prunable(tmp_path / "other.gguf", architecture, kind="F32", seed=9)
    with pytest.raises(InvalidError, match=r"llama\.cpp does not compute what was trained"):
        check_result(other, None, tmp_path / "base", None, trials, environment, work=tmp_path, kind="f32", threads=1)


def test_packed_sequences_do_not_see_each_other(environment: Environment, tmp_path: Path) -> None:
    """The first step's loss and the validation's are those of the same sequences each in a row of its own."""
    whole = {"rate": 1e-3, "epochs": 1.0, "accumulation": 64}
    together = order(tmp_path / "packed", window_tokens=512, **whole)
    apart = order(tmp_path / "alone", window_tokens=1, **whole)
    packed, alone = tried(environment, (together, None, None), (apart, None, None))
    assert packed["steps"] == alone["steps"] == 1
    for name, tolerance in (("training", 1e-5), ("validation", 1e-4)):
        for (_, one), (_, other) in zip(packed["curve"][name], alone["curve"][name], strict=True):
            assert one == pytest.approx(other, abs=tolerance)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_killed_and_resumed_it_is_the_same_to_the_bit(environment: Environment, tmp_path: Path, method: str) -> None:
    """After kills in the middle and a disk that was full the weights are those of an undisturbed run, dropout and order
    of data included; each time it goes on from what it kept and does not begin again."""
    undisturbed = order(tmp_path / "undisturbed", method=method)
    killed = order(tmp_path / "killed", method=method, checkpoint_seconds=0.0)
    first, one, full, other, last = tried(
        environment,
        (undisturbed, None, None),
        (killed, 5, None),
        (killed, None, 20_000),
        (killed, 11, None),
        (killed, None, None),
    )
    assert (one, other) == ({"killed": 5}, {"killed": 11})
    assert (full["outcome"], full["errno"]) == ("os-error", errno.EFBIG)
    assert len(last["resumed_at"]) == 2
    assert all(4 <= step <= 11 for step in last["resumed_at"])
    assert digests(killed.target) == digests(undisturbed.target) != {}
    assert last["curve"] == first["curve"]


def test_losses_fall(environment: Environment, tmp_path: Path) -> None:
    """With each method and each loss; what learns is what the method says, and it ends when it gets no better."""
    full = order(tmp_path / "full")
    teacher = Divergence(tmp_path / "full" / "base", temperature=2.0, share=0.5)
    model = full.folder / "model.gguf"
    pairs = [text for number in range(16) for text in (ANSWERS[number], "zzz")]
    hasty = order(tmp_path / "hasty")
    orders = {
        "full": full,
        "lora": order(tmp_path / "lora", method="lora"),
        "qlora": order(tmp_path / "qlora", method="qlora"),
        "divergence": order(tmp_path / "divergence", loss=teacher, seed=5),
        "preference": order(tmp_path / "preference", method="lora", loss=Preference(0.1)),
        "hasty": replace(hasty, schedule=replace(hasty.schedule, rate=0.5, patience=1, evaluations=8)),
    }
    for name in ("training", "validation"):
        write_sequences(tmp_path / "preference" / f"{name}.npz", sequences(model, pairs))
    said = tried(environment, *((one, None, None) for one in orders.values()))
    found = dict(zip(orders, said, strict=True))
    ended = found.pop("hasty")
    for name, one in found.items():
        losses = [loss for _, loss in one["curve"]["validation"]]
        assert losses[-1] < losses[0], name
        assert (one["learnt_values"] < one["all_values"]) == (name not in ("full", "divergence")), name
    assert found["preference"]["curve"]["validation"][0][1] == pytest.approx(0.6931, abs=1e-3)  # it knows no better yet
    assert ended["has_stopped_early"]
    assert ended["kept_step"] < ended["steps"]


@pytest.mark.parametrize("method", ["full", "lora"])
def test_what_is_held_moves_less(environment: Environment, tmp_path: Path, method: str) -> None:
    """Before the first step a held text has moved by nothing; after the last one what was held firmly has moved less
    than what was hardly held, by the same texts and steps."""
    moved = {}
    for strength in (10.0, 1e-6):
        base = tmp_path / str(strength) / "base" if method == "full" else None
        one = order(tmp_path / str(strength), method=method, loss=Holding(strength, base))
        every = sequences(one.folder / "model.gguf", ANSWERS)
        held = [replace(sequence, is_held=True) for sequence in every[16:]]
        write_sequences(one.training, [*every[:16], *held])
        assert one.validation is not None
        write_sequences(one.validation, held)
        one = replace(one, lora=None if one.lora is None else Lora(4, 8.0), schedule=replace(one.schedule, epochs=6.0))
        (said,) = tried(environment, (one, None, None))
        moved[strength] = [loss / strength for _, loss in said["curve"]["validation"]]
    assert all(found[0] == pytest.approx(0, abs=1e-6) for found in moved.values())
    assert 0 < moved[10.0][-1] < moved[1e-6][-1] / 2


def conversations(path: Path) -> Path:
    """A file of them."""
    lines = [
        {"messages": [{"role": "user", "content": f"question {number}"}, {"role": "assistant", "content": answer}]}
        for number, answer in enumerate(ANSWERS)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def test_the_command_makes_an_adapter_and_goes_on_after_a_kill(cellar: Cellar, tmp_path: Path) -> None:
    """An adapter with its base in the lineage, its loss as a picture and PEFT's folder beside the log; a job that was
    killed with -9 and resumed gives the same digest."""
    base, data = write_prunable(tmp_path / "base.gguf"), conversations(tmp_path / "chat.jsonl")
    cellar.run("model", "pull", str(base), "--name", "base")
    words = ("--data", str(data), "--rate", "3e-3", "--epochs", "6", "--batch-tokens", "64")
    cellar.run("optimize", "finetune", "base", "--name", "one", *words)
    one = cellar.json("model", "show", "one")
    (step,) = one["lineage"]["steps"]
    assert one["facts"]["adapter"]["rank"] == 8
    assert one["lineage"]["parents"][0]["name"] == "base"
    assert step["found"]["agreement"]["compared"] > 100
    report = cellar.home / "jobs" / one["lineage"]["job"] / "report"
    assert {path.name for path in report.iterdir()} == {"loss.csv", "loss.svg", "peft"}
    assert json.loads((report / "peft" / "adapter_config.json").read_text())["base_model_name_or_path"] == "base"
    cellar.run("model", "pull", str(report / "peft"), "--name", "as-peft")
    kept = cellar.json("model", "show", "as-peft")["facts"]
    assert (kept["adapter"]["rank"], kept["base_models"]) == (8, ["base"])
    assert kept["adapter"]["changed_tensors"] == one["facts"]["adapter"]["changed_tensors"]
    cellar.run("model", "remove", "one")
    cellar.run("optimize", "finetune", "base", "--name", "one", *words, "--detach")
    job = kill_at_step(cellar, 3)
    cellar.run("job", "resume", job)
    assert cellar.json("model", "show", "one")["digest"] == one["digest"]


def kill_at_step(cellar: Cellar, step: int) -> str:
    """Kills the newest job's process once it has done some steps; its id."""
    database = Database(Home(cellar.home).database_file)
    try:
        while True:
            with database.read() as connection:
                job = store.list_all(connection)[0]
            assert job.state in (State.QUEUED, State.RUNNING)
            told = cellar.home / "jobs" / job.id / "progress.json"
            progress = json.loads(told.read_text()) if told.exists() else {}
            if progress.get("unit") == "steps" and progress.get("done", 0) >= step:
                break
            time.sleep(0.05)
        process: ProcessIdentity | None = job.process
        assert process is not None
        process.send(signal.SIGKILL)
        while process.is_alive():
            time.sleep(0.05)
        return job.id
    finally:
        database.close()

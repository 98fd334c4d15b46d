"""``undercroft optimize`` and ``job`` as they are installed: made, killed, resumed, cancelled, refused."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import undercroft
from tests.support.cellar import Cellar
from tests.support.ggufs import write_chat_model
from tests.support.server import COMMAND
from undercroft.core.processes import ProcessIdentity, identify

STARTER = Path(undercroft.__file__).parent / "starter" / "ticket-pilot.gguf"
# Slow to make, so that there is a middle to be killed in.
SLOW = "IQ4_XS"


@pytest.fixture(scope="module", autouse=True)
def _one_processor() -> Iterator[None]:
    """However many a machine has, jobs take long enough to be met in the middle of their work."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    yield
    os.sched_setaffinity(0, before)


@pytest.fixture(scope="module")
def large_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model of sixteen million weights."""
    return write_chat_model(tmp_path_factory.mktemp("models") / "large.gguf", width=512, layers=6, licence="apache-2.0")


@pytest.fixture
def cellar(tmp_path: Path) -> Cellar:
    """An empty home."""
    return Cellar(tmp_path)


def until(cellar: Cellar, job: str, is_so: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The job as soon as it is so; the test's own limit ends the waiting."""
    while not is_so(found := cellar.json("job", "show", job)):
        time.sleep(0.02)
    return dict(found)


def stopped_in_the_middle(cellar: Cellar, job: str) -> ProcessIdentity:
    """The process of a job that has begun to write its result, and writes no more until it is told to."""
    progress = cellar.home / "jobs" / job / "progress.json"
    while not progress.exists():
        time.sleep(0.01)
    with closing(sqlite3.connect(cellar.home / "undercroft.db")) as database:
        ((pid,),) = database.execute("SELECT pid FROM jobs WHERE id = ?", (job,)).fetchall()
    os.kill(pid, signal.SIGSTOP)
    found = identify(pid)
    assert found is not None
    return found


def test_a_model_becomes_smaller_and_says_how(cellar: Cellar) -> None:
    """The starter becomes Q4_K_M when that is meant; list, show and lineage say how; its licence goes with it."""
    cellar.run("model", "pull", str(STARTER), "--name", "pilot-q8_0")
    refused = cellar.run("optimize", "quantize", "pilot-q8_0", "--to", "Q4_K_M", expected=3).stderr
    assert "model 'pilot-q8_0' is rounded to Q8_0 already" in refused
    options = ("optimize", "quantize", "pilot-q8_0", "--to", "q4_k_m", "--allow-requantize")
    forecast = cellar.json(*options, "--dry-run")
    assert forecast["fits"]
    assert cellar.json("job", "list") == []
    said = cellar.run(*options, "--because", "for the shops").stdout
    assert "Model pilot-q4_k_m is registered:" in said
    (job,) = cellar.json("job", "list")
    assert (job["state"], job["result"], job["kind"], job["reason"]) == (
        "done",
        "pilot-q4_k_m",
        "quantize",
        "for the shops",
    )
    made, parent = cellar.json("model", "show", "pilot-q4_k_m"), cellar.json("model", "show", "pilot-q8_0")
    assert made["facts"]["licence"] == parent["facts"]["licence"] == "apache-2.0"
    assert abs(made["size_bytes"] - forecast["needs"]["result_bytes"]) < 1024
    lineage = made["lineage"]
    assert lineage["parents"] == [{"name": "pilot-q8_0", "digest": parent["digest"]}]
    assert lineage["job"] == job["id"]
    assert lineage["recipe"] == job["recipe"]
    assert lineage["use"] == parent["lineage"]["use"]
    assert lineage["is_reproducible"]
    assert {"python", "numpy", "xllamacpp"} <= set(lineage["versions"])
    shown = cellar.run("model", "show", "pilot-q4_k_m").stdout
    assert "quantize scheme=Q4_K_M allow_requantize=true" in shown
    assert [entry["action"] for entry in cellar.json("journal", "show")][-3:] == ["job.create", "model.add", "job.done"]
    assert "model-exists" in cellar.run(*options, expected=5).stderr
    assert sorted(path.name for path in (cellar.home / "jobs" / job["id"]).iterdir()) == ["log.txt"]
    assert list((cellar.home / "quarantine").iterdir()) == []


@pytest.mark.long
def test_killed_in_the_middle_it_is_resumed(cellar: Cellar, large_file: Path) -> None:
    """kill -9 loses nothing but time: the job is seen as interrupted, and gives the digest of an undisturbed one."""
    cellar.run("model", "pull", str(large_file), "--name", "large")
    whole = cellar.json("optimize", "quantize", "large", "--to", SLOW, "--name", "undisturbed")
    job = cellar.json("optimize", "quantize", "large", "--to", SLOW, "--detach")["id"]
    stopped_in_the_middle(cellar, job).send(signal.SIGKILL)
    until(cellar, job, lambda found: found["state"] == "interrupted")
    assert f"Try: undercroft job resume {job}" in cellar.run("job", "list").stdout
    assert [model["name"] for model in cellar.json("model", "list")] == ["large", "undisturbed"]
    resumed = cellar.json("job", "resume", job)
    assert (resumed["state"], resumed["attempts"]) == ("done", 2)
    assert resumed["model"]["digest"] == whole["model"]["digest"]
    assert resumed["note"] == "its content is that of model undisturbed"
    assert sorted(path.name for path in (cellar.home / "jobs" / job).iterdir()) == ["log.txt"]


@pytest.mark.long
def test_one_is_cancelled_and_the_next_goes_on(cellar: Cellar, large_file: Path) -> None:
    """One job at a time; a cancelled one leaves no model and no file, and the one behind it gets its turn."""
    cellar.run("model", "pull", str(large_file), "--name", "large")
    first = cellar.json("optimize", "quantize", "large", "--to", SLOW, "--detach")["id"]
    process = stopped_in_the_middle(cellar, first)
    second = cellar.json("optimize", "quantize", "large", "--to", "Q8_0", "--detach")["id"]
    assert cellar.json("job", "show", second)["state"] == "queued"
    assert "name-wanted" in cellar.run("optimize", "quantize", "large", "--to", "Q8_0", expected=5).stderr
    assert f"Job {first} is cancelled" in cellar.run("job", "cancel", first, "--because", "too slow").stdout
    assert not (cellar.home / "jobs" / first / "work").exists()
    assert not process.is_alive()
    followed = cellar.json("job", "follow", second)
    assert followed["state"] == "done"
    assert [model["name"] for model in cellar.json("model", "list")] == ["large", "large-q8_0"]
    assert "job-ended" in cellar.run("job", "cancel", first, expected=5).stderr


@pytest.mark.long
def test_a_full_disk_leaves_nothing_half(cellar: Cellar, large_file: Path) -> None:
    """The error says what to do, no file is left, and the job goes on when there is room."""
    cellar.run("model", "pull", str(large_file), "--name", "large")
    limited = subprocess.run(
        ["sh", "-c", f"ulimit -f 8192; exec {COMMAND} optimize quantize large --to Q8_0"],
        env=cellar.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert limited.returncode == 6, limited.stderr
    assert "disk-full" in limited.stderr
    (job,) = cellar.json("job", "list")
    assert (job["state"], job["problem"]["code"]) == ("failed", "disk-full")
    assert [path for path in (cellar.home / "jobs" / job["id"]).rglob("*") if path.is_file()] == [
        cellar.home / "jobs" / job["id"] / "log.txt"
    ]
    assert cellar.json("job", "resume", job["id"])["state"] == "done"


def test_what_does_not_pass_its_gate_gets_no_name(cellar: Cellar, tmp_path: Path) -> None:
    """It is measured beside its parent and kept with its card, as failed, until somebody cancels the job."""
    cellar.run("model", "pull", str(STARTER), "--name", "pilot")
    (tmp_path / "texts.txt").write_text("The parcel came broken, I want my money back.\n" * 12, encoding="utf-8")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "from: pilot\nto: small\nsteps:\n  - quantize: {scheme: Q2_K, allow_requantize: true}\n"
        "evaluation: {texts: texts.txt}\ngate: {max_kl: 0.0000001}\n",
        encoding="utf-8",
    )
    said = cellar.run("optimize", "run", str(recipe), expected=3).stderr
    assert "gate-not-passed: model 'small' does not pass its gate and gets no name:\n  - max_kl: " in said
    assert [model["name"] for model in cellar.json("model", "list")] == ["pilot"]
    (job,) = cellar.json("job", "list")
    folder = cellar.home / "jobs" / job["id"]
    assert (folder / "work" / "step-0" / "model.gguf").exists()
    cellar.run("job", "cancel", job["id"])
    assert not (folder / "work").exists()
    assert (folder / "card" / "card.html").exists()


def test_a_wrong_recipe_is_refused_at_once(cellar: Cellar, tmp_path: Path) -> None:
    """Each mistake with its line and the nearest right word, before a home is looked into."""
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("from: tiny\nto: small\nsteps:\n  - quantize: {scheme: Q4_KM}\nsede: 1\n", encoding="utf-8")
    said = cellar.run("optimize", "run", str(recipe), expected=2).stderr
    assert "line 4: steps[1].quantize.scheme: expected a scheme: for a GGUF one of F32," in said
    assert "(nearest is 'Q4_K_M')" in said
    assert "line 5: sede: there is no such field; nearest is 'seed'" in said
    assert not cellar.home.exists()

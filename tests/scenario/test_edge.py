"""Published models become programs of ExecuTorch and LiteRT that say the same, and are timed as a device times them.

The environments are really installed from the package index: two gigabytes each.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.support.cellar import Cellar
from tests.support.environments import Environments, publish


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("runtime", ["executorch", "litert"])
def test_an_encoder_on_a_device(tmp_path: Path, environments: Environments, runtime: str, is_full: bool) -> None:
    """Made in F32 and INT8, run beside its source, timed, and copied to where nothing of ours is."""
    if not is_full:
        pytest.skip("two gigabytes are installed for it: pytest -m long --full")
    cellar = Cellar(tmp_path)
    environment = environments.lend(cellar.home, runtime)
    folder = publish(environment, "published_models", "bert", folder=tmp_path / "bert")
    cellar.run("model", "pull", str(folder), "--name", "bert")
    for kept in ("f32", "int8"):
        cellar.run("optimize", "convert", "bert", "--to", runtime, "--type", kept, "--name", kept)
        made = cellar.json("model", "show", kept)
        assert (made["format"], made["facts"]["quantization"]) == (runtime, kept.upper())
        agreement = made["lineage"]["steps"][0]["found"]["agreement"]
        assert agreement["same"] == agreement["compared"] == 28
        timed = cellar.json("bench", kept, "--rounds", "10")
        assert [one["rounds"] for one in timed["lengths"]] == [10, 10, 10]
    device = tmp_path / "device"
    cellar.run("bench", "int8", "--export", str(device))
    said = [environment.python, device / "run_edge.py", "--text", "the door has a lock"]
    shown = subprocess.run(said, capture_output=True, text=True, check=True)
    assert len(json.loads(shown.stdout.splitlines()[-1])) == 64


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("runtime", ["executorch", "litert"])
@pytest.mark.parametrize(
    ("kind", "kept"),
    [
        ("llama", "f32"),
        ("llama", "int8"),
        ("mistral", "f32"),
        ("qwen2", "f32"),
        ("qwen3", "f32"),
        ("gemma2", "f32"),
        ("phi3", "f32"),
        ("glm4", "f32"),
    ],
)
def test_a_model_that_generates_on_a_device(
    tmp_path: Path, environments: Environments, runtime: str, kind: str, kept: str, is_full: bool
) -> None:
    """Each architecture says in either runtime what its source says, is timed, and goes on with a text."""
    if not is_full:
        pytest.skip("two gigabytes are installed for it: pytest -m long --full")
    cellar = Cellar(tmp_path)
    environment = environments.lend(cellar.home, runtime)
    folder = publish(environment, "published_models", kind, folder=tmp_path / kind)
    cellar.run("model", "pull", str(folder), "--name", kind)
    cellar.run("optimize", "convert", kind, "--to", runtime, "--type", kept, "--name", "made")
    made = cellar.json("model", "show", "made")
    assert (made["format"], made["facts"]["task"]) == (runtime, "generate")
    found = made["lineage"]["steps"][0]["found"]
    assert found["comparison"]["mean_nats"] <= found["comparison"]["limit_nats"]
    assert found["comparison"]["tokens"] > 300
    if kept == "f32":
        assert found["agreement"]["same"] == found["agreement"]["compared"] > 20
    timed = cellar.json("bench", "made", "--rounds", "10")
    assert timed["answer"]["written_tokens_per_second"] > 0
    device = tmp_path / "device"
    cellar.run("bench", "made", "--export", str(device))
    said = [environment.python, device / "run_edge.py", "--text", "the door has a lock"]
    assert subprocess.run(said, capture_output=True, text=True, check=True).stdout.strip()

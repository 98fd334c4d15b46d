"""Published models that generate become ONNX by jobs, and only those that say the same as their source get out.

The environments ``onnx`` and ``onnxruntime`` are really installed from the package index: 1.7 GB, some minutes. So this
runs at full size only; what is quick of it stands in ``tests/contract/test_onnxruntime_generation.py``.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cellar import Cellar
from undercroft.core.home import Home
from undercroft.environments import installing
from undercroft.environments.installed import Environment
from undercroft.environments.recipes import find
from undercroft.storage.database import Database

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]

_PUBLISH = Path(__file__).parents[1] / "support" / "published_models.py"
_CASES = [("llama", "f32"), ("llama", "int4"), ("mistral", "f32"), ("qwen2", "f32"), ("qwen3", "int8"), ("phi3", "f32")]


@pytest.fixture(scope="module")
def cellar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cellar]:
    """A home; what is in it goes when the last test has ended."""
    cellar = Cellar(tmp_path_factory.mktemp("decoders"))
    yield cellar
    shutil.rmtree(cellar.home, ignore_errors=True)  # not there where all was skipped


@pytest.fixture(scope="module")
def exporter(cellar: Cellar, request: pytest.FixtureRequest) -> Environment:
    """The environment ``onnx``; that of the engine beside it."""
    if not request.config.getoption("--full"):
        pytest.skip("two environments of 1.7 GB are installed at full size only: pytest -m long --full")
    home = Home(cellar.home)
    home.prepare()
    made = {
        name: installing.install(home, Database(home.database_file), find(name), actor="cli:test")
        for name in ("onnx", "onnxruntime")
    }
    return made["onnx"]


def publish(exporter: Environment, kind: str, folder: Path) -> None:
    """A small random model as it would be published."""
    command = [str(exporter.python), str(_PUBLISH), kind, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("kind", "kept"), _CASES)
def test_the_same_in_onnx(cellar: Cellar, exporter: Environment, tmp_path: Path, kind: str, kept: str) -> None:
    """Each architecture: in F32 every token is that of the source, rounded it expects nearly the same."""
    name = f"{kind}-{kept}"
    publish(exporter, kind, tmp_path / "published")
    cellar.run("model", "pull", str(tmp_path / "published"), "--name", name)
    cellar.run("optimize", "convert", name, "--to", "onnx", "--type", kept, "--name", f"{name}-onnx")
    shown = cellar.json("model", "show", f"{name}-onnx")
    facts = shown["facts"]
    assert (shown["format"], facts["task"], facts["quantization"]) == ("onnx", "generate", kept.upper())
    found = shown["lineage"]["steps"][0]["found"]
    assert found["comparison"]["mean_nats"] <= found["comparison"]["limit_nats"]
    if kept == "f32":
        assert found["agreement"]["same"] == found["agreement"]["compared"] > 20
    assert list((cellar.home / "jobs").glob("*/work/*")) == []


def test_doing_it_again_gives_the_same(cellar: Cellar, exporter: Environment, tmp_path: Path) -> None:
    """The same model converted twice has the same digest, which its lineage has promised."""
    publish(exporter, "llama", tmp_path / "published")
    cellar.run("model", "pull", str(tmp_path / "published"), "--name", "twice")
    digests = set()
    for number in ("one", "two"):
        cellar.run("optimize", "convert", "twice", "--to", "onnx", "--type", "int4", "--name", f"twice-{number}")
        made = cellar.json("model", "show", f"twice-{number}")
        assert made["lineage"]["is_reproducible"]
        digests.add(made["digest"])
    assert len(digests) == 1

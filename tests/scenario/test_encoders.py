"""Published encoders become ONNX and INT8 by jobs, and only those that say the same as their source get out.

The environments ``onnx`` and ``onnxruntime`` are really installed from the package index: 1.7 GB, some minutes. So this
runs at full size only; what is quick of it stands in ``tests/contract/test_onnxruntime.py``.
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
from undercroft.optimize.conversion.sample_texts import PROMPTS, SPLIT_TEXTS
from undercroft.storage.database import Database

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]

_PUBLISH = Path(__file__).parents[1] / "support" / "published_encoders.py"
_CASES = [
    ("bert", "embed"),
    ("bert", "rerank"),
    ("roberta", "classify"),
    ("xlm-roberta", "rerank"),
    ("distilbert", "embed"),
    ("distilbert", "classify"),
]


@pytest.fixture(scope="module")
def cellar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cellar]:
    """A home; what is in it goes when the last test has ended."""
    cellar = Cellar(tmp_path_factory.mktemp("encoders"))
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


@pytest.mark.parametrize(("kind", "task"), _CASES)
def test_the_same_in_onnx_and_in_8_bits(
    cellar: Cellar, exporter: Environment, tmp_path: Path, kind: str, task: str
) -> None:
    """Each architecture and task: converted it says what torch says, rounded nearly so; both proofs are kept."""
    folder, name = tmp_path / "published", f"{kind}-{task}"
    command = [str(exporter.python), str(_PUBLISH), kind, task, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    cellar.run("model", "pull", str(folder), "--name", name)
    cellar.run("optimize", "convert", name, "--to", "onnx")
    cellar.run("optimize", "quantize", f"{name}-onnx", "--to", "int8", "--name", f"{name}-int8")
    texts = tmp_path / "texts.txt"
    texts.write_text("\n\n".join((*SPLIT_TEXTS, *PROMPTS)), encoding="utf-8")
    static = ("--to", "int8-static", "--calibration-texts", str(texts), "--name", f"{name}-static")
    cellar.run("optimize", "quantize", f"{name}-onnx", *static)
    forms = ((f"{name}-onnx", "F32"), (f"{name}-int8", "INT8"), (f"{name}-static", "INT8"))
    for made, quantization in forms:
        shown = cellar.json("model", "show", made)
        assert (shown["format"], shown["facts"]["task"], shown["facts"]["quantization"]) == ("onnx", task, quantization)
        agreement = shown["lineage"]["steps"][0]["found"]["agreement"]
        assert agreement["same"] == agreement["compared"] > 20
    assert list((cellar.home / "jobs").glob("*/work/*")) == []


def test_doing_it_again_gives_the_same(cellar: Cellar, exporter: Environment, tmp_path: Path) -> None:
    """The same model converted and rounded twice has the same digest, which its lineage has promised."""
    command = [str(exporter.python), str(_PUBLISH), "bert", "embed", str(tmp_path / "published")]
    subprocess.run(command, capture_output=True, check=True)
    cellar.run("model", "pull", str(tmp_path / "published"), "--name", "twice")
    digests = set()
    for number in ("one", "two"):
        cellar.run("optimize", "convert", "twice", "--to", "onnx", "--name", f"twice-{number}")
        cellar.run("optimize", "quantize", f"twice-{number}", "--to", "int8", "--name", f"twice-int8-{number}")
        made = cellar.json("model", "show", f"twice-int8-{number}")
        assert made["lineage"]["is_reproducible"]
        digests.add(made["digest"])
    assert len(digests) == 1

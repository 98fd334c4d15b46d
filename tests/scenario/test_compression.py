"""Published models become smaller ones for vLLM with llm-compressor, and only those that still say the same get out.

The environment ``compress`` is really installed from the package index: a gigabyte and a half, a minute or two.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.cellar import Cellar
from tests.support.environments import Environments, publish
from undercroft.environments.installed import Environment
from undercroft.optimize.compression.schemes import COMPRESSED

_STORED = {
    "gptq-w4a16": "W4A16_G64",
    "awq-w4a16": "W4A16_G64",
    "w8a8": "W8A8",
    "fp8": "FP8",
    "mxfp4a16": "MXFP4A16",
    "nvfp4a16": "NVFP4A16",
}


@pytest.fixture(scope="module")
def cellar(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Cellar:
    """A home."""
    if not request.config.getoption("--full"):
        pytest.skip("llm-compressor is installed and run in every scheme at full size only: pytest -m long --full")
    return Cellar(tmp_path_factory.mktemp("compression"))


@pytest.fixture(scope="module")
def environment(cellar: Cellar, environments: Environments) -> Environment:
    """The environment ``compress``, really installed."""
    return environments.lend(cellar.home, "compress")


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Enough to calibrate by, in paragraphs that differ."""
    path = tmp_path_factory.mktemp("texts") / "texts.txt"
    words = "The cellar keeps what is yours, and the door has a lock; nobody had locked it since Tuesday."
    path.write_text("\n\n".join(f"{number}. {words[number % 40 :]}" for number in range(200)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def published(cellar: Cellar, environment: Environment, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of a small random Llama, 192 wide, whose output layer is its table."""
    folder = publish(environment, "published_wide", folder=tmp_path_factory.mktemp("published") / "llama")
    cellar.run("model", "pull", str(folder), "--name", "published")
    return "published"


@pytest.mark.timeout(3600)
def test_each_scheme_makes_a_model_with_a_proof(cellar: Cellar, published: str, texts: Path) -> None:
    """As large as forecast to the byte, known by its scheme, near its source, and made again with the same digest where
    that is said."""
    for scheme in COMPRESSED:
        asked = ("optimize", "quantize", published, "--to", scheme, "--calibration-texts", str(texts))
        forecast = cellar.json(*asked, "--dry-run")["needs"]["result_bytes"]
        cellar.run(*asked)
        made = cellar.json("model", "show", f"published-{scheme}")
        assert made["format"] == "safetensors"
        assert made["facts"]["quantization"] == _STORED[scheme]
        assert made["facts"]["parameters"] == cellar.json("model", "show", published)["facts"]["parameters"]
        assert abs(made["size_bytes"] - forecast) < 2048, scheme
        (step,) = made["lineage"]["steps"]
        found = step["found"]["comparison"]
        # Random weights lose enough by 4 bits to be seen: nothing lost would mean that nothing was rounded.
        assert (0 if "8" in scheme else 0.01) < found["mean_nats"] <= found["limit_nats"], scheme
        assert step["environment"]["versions"]["llmcompressor"]
    assert list((cellar.home / "jobs").glob("*/work/*")) == []
    again = cellar.json("optimize", "quantize", published, "--to", "fp8", "--name", "again")
    assert again["model"]["digest"] == cellar.json("model", "show", "published-fp8")["digest"]


@pytest.mark.timeout(600)
def test_what_is_refused_leaves_no_model(cellar: Cellar, published: str, texts: Path, tmp_path: Path) -> None:
    """Groups that do not divide, a scheme of the other form, and texts that are too few to calibrate by."""
    asked = ("optimize", "quantize", published, "--name", "none", "--to")
    refused = cellar.run(*asked, "gptq-w4a16", "--calibration-texts", str(texts), "--group-size", "128", expected=2)
    assert "--group-size 64, the nearest that does" in " ".join(refused.stderr.split())
    refused = cellar.run(*asked, "Q4_K_M", expected=2)
    assert "undercroft optimize convert published" in " ".join(refused.stderr.split())
    few = tmp_path / "few.txt"
    few.write_text("one\n\ntwo", encoding="utf-8")
    refused = cellar.run(*asked, "gptq-w4a16", "--calibration-texts", str(few), expected=2)
    assert "expected 1,000 or more" in " ".join(refused.stderr.split())
    assert "none" not in {model["name"] for model in cellar.json("model", "list")}

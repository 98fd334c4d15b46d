"""Published models that generate become ONNX by jobs, and only those that say the same as their source get out.

The environments ``onnx`` and ``onnxruntime`` are really installed from the package index: 1.7 GB, some minutes. So this
runs at full size only; what is quick of it stands in ``tests/contract/test_onnxruntime_generation.py``.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.cellar import Cellar
from tests.support.environments import publish
from undercroft.environments.installed import Environment

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]

_CASES = [("llama", "f32"), ("llama", "int4"), ("mistral", "f32"), ("qwen2", "f32"), ("qwen3", "int8"), ("phi3", "f32")]


@pytest.mark.parametrize(("kind", "kept"), _CASES)
def test_the_same_in_onnx(onnx_cellar: Cellar, exporter: Environment, tmp_path: Path, kind: str, kept: str) -> None:
    """Each architecture: in F32 every token is that of the source, rounded it expects nearly the same."""
    name = f"{kind}-{kept}"
    publish(exporter, "published_models", kind, folder=tmp_path / "published")
    onnx_cellar.run("model", "pull", str(tmp_path / "published"), "--name", name)
    onnx_cellar.run("optimize", "convert", name, "--to", "onnx", "--type", kept, "--name", f"{name}-onnx")
    shown = onnx_cellar.json("model", "show", f"{name}-onnx")
    facts = shown["facts"]
    assert (shown["format"], facts["task"], facts["quantization"]) == ("onnx", "generate", kept.upper())
    found = shown["lineage"]["steps"][0]["found"]
    assert found["comparison"]["mean_nats"] <= found["comparison"]["limit_nats"]
    if kept == "f32":
        assert found["agreement"]["same"] == found["agreement"]["compared"] > 20
    assert list((onnx_cellar.home / "jobs").glob("*/work/*")) == []


def test_doing_it_again_gives_the_same(onnx_cellar: Cellar, exporter: Environment, tmp_path: Path) -> None:
    """The same model converted twice has the same digest, which its lineage has promised."""
    publish(exporter, "published_models", "llama", folder=tmp_path / "published")
    onnx_cellar.run("model", "pull", str(tmp_path / "published"), "--name", "twice")
    digests = set()
    for number in ("one", "two"):
        onnx_cellar.run("optimize", "convert", "twice", "--to", "onnx", "--type", "int4", "--name", f"twice-{number}")
        made = onnx_cellar.json("model", "show", f"twice-{number}")
        assert made["lineage"]["is_reproducible"]
        digests.add(made["digest"])
    assert len(digests) == 1

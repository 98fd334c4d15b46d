"""Published encoders become ONNX and INT8 by jobs, and only those that say the same as their source get out.

The environments ``onnx`` and ``onnxruntime`` are really installed from the package index: 1.7 GB, some minutes. So this
runs at full size only; what is quick of it stands in ``tests/contract/test_onnxruntime.py``.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.cellar import Cellar
from tests.support.environments import publish
from undercroft.environments.installed import Environment
from undercroft.optimize.conversion.sample_texts import PROMPTS, SPLIT_TEXTS

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]

_CASES = [
    ("bert", "embed"),
    ("bert", "rerank"),
    ("roberta", "classify"),
    ("xlm-roberta", "rerank"),
    ("distilbert", "embed"),
    ("distilbert", "classify"),
]


@pytest.mark.parametrize(("kind", "task"), _CASES)
def test_the_same_in_onnx_and_in_8_bits(
    onnx_cellar: Cellar, exporter: Environment, tmp_path: Path, kind: str, task: str
) -> None:
    """Each architecture and task: converted it says what torch says, rounded nearly so; both proofs are kept.

    Weights are rounded to the numbers that this processor multiplies exactly.
    """
    name = f"{kind}-{task}"
    folder = publish(exporter, "published_encoders", kind, task, folder=tmp_path / "published")
    onnx_cellar.run("model", "pull", str(folder), "--name", name)
    onnx_cellar.run("optimize", "convert", name, "--to", "onnx")
    onnx_cellar.run("optimize", "quantize", f"{name}-onnx", "--to", "int8", "--name", f"{name}-int8")
    texts = tmp_path / "texts.txt"
    texts.write_text("\n\n".join((*SPLIT_TEXTS, *PROMPTS)), encoding="utf-8")
    static = ("--to", "int8-static", "--calibration-texts", str(texts), "--name", f"{name}-static")
    onnx_cellar.run("optimize", "quantize", f"{name}-onnx", *static)
    forms = ((f"{name}-onnx", "F32"), (f"{name}-int8", "INT8"), (f"{name}-static", "INT8"))
    for made, quantization in forms:
        shown = onnx_cellar.json("model", "show", made)
        assert (shown["format"], shown["facts"]["task"], shown["facts"]["quantization"]) == ("onnx", task, quantization)
        agreement = shown["lineage"]["steps"][0]["found"]["agreement"]
        assert agreement["same"] == agreement["compared"] > 20
        if quantization == "INT8":
            kind_here = "INT8" if shown["lineage"]["steps"][0]["settings"]["is_signed"] else "UINT8"
            assert _rounded_to(onnx_cellar, exporter, made, tmp_path / made) == {kind_here}
    assert list((onnx_cellar.home / "jobs").glob("*/work/*")) == []


def _rounded_to(cellar: Cellar, exporter: Environment, model: str, folder: Path) -> set[str]:
    """Types of all matrices that were rounded, as ONNX calls them."""
    cellar.run("model", "export", model, str(folder))
    program = (
        "import sys, onnx\n"
        "for one in onnx.load(sys.argv[1]).graph.initializer:\n"
        "    if len(one.dims) == 2:\n"
        "        print(onnx.TensorProto.DataType.Name(one.data_type))"
    )
    command = [str(exporter.python), "-c", program, str(folder / "model.onnx")]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return set(said.split()) & {"INT8", "UINT8"}


def test_doing_it_again_gives_the_same(onnx_cellar: Cellar, exporter: Environment, tmp_path: Path) -> None:
    """The same model converted and rounded twice has the same digest, which its lineage has promised."""
    folder = publish(exporter, "published_encoders", "bert", "embed", folder=tmp_path / "published")
    onnx_cellar.run("model", "pull", str(folder), "--name", "twice")
    digests = set()
    for number in ("one", "two"):
        onnx_cellar.run("optimize", "convert", "twice", "--to", "onnx", "--name", f"twice-{number}")
        onnx_cellar.run("optimize", "quantize", f"twice-{number}", "--to", "int8", "--name", f"twice-int8-{number}")
        made = onnx_cellar.json("model", "show", f"twice-int8-{number}")
        assert made["lineage"]["is_reproducible"]
        digests.add(made["digest"])
    assert len(digests) == 1

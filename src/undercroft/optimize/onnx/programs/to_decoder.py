"""Writes a published model that generates as ONNX, with the model builder of onnxruntime-genai.

Order on stdin, JSON: ``model`` (folder), ``target`` (folder to write to), ``folder`` (for what is in between),
``precision`` (``fp32``, ``int8``, ``int4``), ``options`` (of the builder, name → value). The last line on stdout is
JSON: ``outcome`` (``made``; ``unsupported``, where the builder does not know the architecture), and of what was made
``matrices`` (how many have how many bits: ``{"4": 13, "8": 3, "32": 0}``) and ``block_sizes``.

Names of options that the builder does not know are ignored by it, so that what it made is looked into.
"""

from __future__ import annotations

import json
import runpy
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import onnx

_BUILDER = "onnxruntime_genai.models.builder"


def main() -> None:
    """Does what stdin orders."""
    order: dict[str, Any] = json.load(sys.stdin)
    words = ["-m", order["model"], "-o", order["target"], "-p", order["precision"], "-e", "cpu"]
    sys.argv = [_BUILDER, *words, "-c", order["folder"], "--extra_options"]
    sys.argv += [f"{name}={value}" for name, value in {**order["options"], "hf_token": "false"}.items()]
    try:
        runpy.run_module(_BUILDER, run_name="__main__")
    except NotImplementedError as error:
        print(json.dumps({"outcome": "unsupported", "detail": str(error)[:200]}), flush=True)
        return
    made = Path(order["target"]) / "model.onnx"
    print(json.dumps({"outcome": "made", **_counted(made)}), flush=True)


def _counted(file: Path) -> dict[str, Any]:
    graph = onnx.load(str(file), load_external_data=False).graph
    weights = {one.name for one in graph.initializer}
    bits: Counter[str] = Counter()
    blocks: set[int] = set()
    for node in graph.node:
        if node.op_type == "MatMulNBits":
            said = {one.name: one.i for one in node.attribute}
            bits[str(said["bits"])] += 1
            blocks.add(said["block_size"])
        elif node.op_type == "MatMul" and node.input[1] in weights:
            bits["32"] += 1
    return {"matrices": dict(bits), "block_sizes": sorted(blocks)}


if __name__ == "__main__":
    main()

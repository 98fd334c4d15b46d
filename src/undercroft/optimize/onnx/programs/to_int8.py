"""Rounds the matrices of an ONNX model to 8 bits: a scale for each output, inputs rounded while it computes.

Order on stdin, JSON: ``source``, ``target`` (files), ``folder`` (for what is in between), ``operators`` (kinds that are
rounded), ``is_per_channel``, ``is_signed`` (the numbers that they are rounded to). The last line on stdout is JSON:
``rounded``, how many matrices, and ``others``, how many of these operators stayed as they were.
"""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic


def main() -> None:
    """Finds the module of ours under its full name, without a path to the packages of another Python."""
    package = types.ModuleType("undercroft")
    package.__path__ = [str(Path(__file__).parents[3])]
    sys.modules["undercroft"] = package
    from undercroft.optimize.onnx.programs.preparing import prepare  # noqa: PLC0415  (found only now)

    order: dict[str, Any] = json.load(sys.stdin)
    prepared = prepare(order)
    quantize_dynamic(
        str(prepared),
        order["target"],
        op_types_to_quantize=order["operators"],
        per_channel=order["is_per_channel"],
        weight_type=QuantType.QInt8 if order["is_signed"] else QuantType.QUInt8,
    )
    prepared.unlink()
    kinds = [node.op_type for node in onnx.load(order["target"], load_external_data=False).graph.node]
    others = sum(kind in order["operators"] for kind in kinds)
    print(json.dumps({"rounded": kinds.count("MatMulInteger"), "others": others}), flush=True)


if __name__ == "__main__":
    main()

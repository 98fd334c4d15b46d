"""Rounds the matrices of an ONNX model to 8 bits: a scale for each output, inputs rounded while it computes.

Order on stdin, JSON: ``source``, ``target`` (files), ``folder`` (for what is in between), ``operators`` (kinds that are
rounded), ``is_per_channel``. The last line on stdout is JSON: ``rounded``, how many matrices, and ``others``, how many
of these operators stayed as they were.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.shape_inference import quant_pre_process


def main() -> None:
    """Does what stdin orders."""
    order: dict[str, Any] = json.load(sys.stdin)
    prepared = Path(order["folder"]) / "prepared.onnx"
    # Constants are folded and shapes written down first: what is not known to be a matrix of numbers is not rounded.
    quant_pre_process(order["source"], str(prepared), skip_symbolic_shape=True)
    quantize_dynamic(
        str(prepared),
        order["target"],
        op_types_to_quantize=order["operators"],
        per_channel=order["is_per_channel"],
        weight_type=QuantType.QInt8,
    )
    prepared.unlink()
    kinds = [node.op_type for node in onnx.load(order["target"], load_external_data=False).graph.node]
    others = sum(kind in order["operators"] for kind in kinds)
    print(json.dumps({"rounded": kinds.count("MatMulInteger"), "others": others}), flush=True)


if __name__ == "__main__":
    main()

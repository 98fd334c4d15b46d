"""What is done to a network before its matrices are rounded. Runs in environments that hold onnx and onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
from onnxruntime.quantization.shape_inference import quant_pre_process


def prepare(order: dict[str, Any]) -> Path:
    """Folds constants and writes shapes down: what is not known to be a matrix of numbers is not rounded.

    Args:
        order: Of the program: ``source`` (file), ``folder`` (for what is in between).

    Returns:
        The file, which the caller removes.
    """
    prepared = Path(order["folder"]) / "prepared.onnx"
    quant_pre_process(order["source"], str(prepared), skip_symbolic_shape=True)
    network = onnx.load(str(prepared))
    # A matrix that is stored turned is turned back by the quantizer, which leaves the shape that was noted of it.
    weights = {one.name for one in network.graph.initializer}
    noted = [one for one in network.graph.value_info if one.name not in weights]
    del network.graph.value_info[:]
    network.graph.value_info.extend(noted)
    onnx.save(network, str(prepared))
    return prepared

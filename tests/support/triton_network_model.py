"""The network of a repository in Triton's Python backend: the Triton that a package ships has no other backend."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnxruntime
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """Runs ``model.onnx``, which lies beside it, in ONNX Runtime."""

    def initialize(self, args: dict[str, str]) -> None:
        """Loads it."""
        config = json.loads(args["model_config"])
        file = Path(args["model_repository"]) / str(args["model_version"]) / "model.onnx"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        self._inputs = [one["name"] for one in config["input"]]
        self._output = config["output"][0]["name"]

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """One answer for each request."""
        answers = []
        for request in requests:
            given = {name: pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in self._inputs}
            (made,) = self._session.run([self._output], given)
            answers.append(pb_utils.InferenceResponse(output_tensors=[pb_utils.Tensor(self._output, made)]))
        return answers

"""A model of Triton's Python backend: what the network gives becomes vectors or scores, as the encoder's files say.

Runs inside Triton, with numpy; imports nothing of Undercroft.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """What Triton calls: once ``initialize``, then ``execute`` with the requests that came meanwhile."""

    def initialize(self, args: dict[str, str]) -> None:
        """Reads how the network's output is used."""
        config = json.loads(args["model_config"])
        self._settings = json.loads(config["parameters"]["undercroft"]["string_value"])
        self._output = config["output"][0]["name"]

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """One answer for each request."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        given = pb_utils.get_input_tensor_by_name(request, "network_output").as_numpy().astype(np.float32)
        mask = pb_utils.get_input_tensor_by_name(request, "attention_mask")
        rows = given if mask is None else _pooled(given, mask.as_numpy(), self._settings["pooling"])
        if self._settings["is_normalized"]:
            rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        rows = _activated(rows, self._settings["activation"]).astype(np.float32)
        return pb_utils.InferenceResponse(output_tensors=[pb_utils.Tensor(self._output, rows)])


def _pooled(hidden: Any, mask: Any, pooling: str) -> Any:
    """One vector of those of all tokens, shape ``(inputs, width)``."""
    if pooling == "first":
        return hidden[:, 0]
    if pooling == "max":
        return np.where(mask[:, :, None] == 1, hidden, np.finfo(np.float32).min).max(axis=1)
    shares = mask / np.maximum(mask.sum(axis=1, keepdims=True), 1)
    return np.matmul(shares[:, None, :].astype(np.float32), hidden)[:, 0]


def _activated(rows: Any, activation: str) -> Any:
    """Scores, shape ``(inputs, classes)``."""
    if activation == "sigmoid":
        return 1.0 / (1.0 + np.exp(-rows))
    if activation == "softmax":
        risen = np.exp(rows - rows.max(axis=1, keepdims=True))
        return risen / risen.sum(axis=1, keepdims=True)
    return rows

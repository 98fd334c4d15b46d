"""A model of Triton's Python backend: texts become token ids, as the encoder's own tokenizer splits them.

Runs inside Triton, with numpy and tokenizers; imports nothing of Undercroft. Rows are filled up to the next of a few
lengths, since Triton computes requests of one shape together.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
from tokenizers import Tokenizer

_TYPES = {"TYPE_INT64": np.int64, "TYPE_INT32": np.int32}


class TritonPythonModel:
    """What Triton calls: once ``initialize``, then ``execute`` with the requests that came meanwhile."""

    def initialize(self, args: dict[str, str]) -> None:
        """Loads the tokenizer that lies beside this file."""
        config = json.loads(args["model_config"])
        settings = json.loads(config["parameters"]["undercroft"]["string_value"])
        file = Path(args["model_repository"]) / str(args["model_version"]) / "tokenizer.json"
        self._whole, self._cutting = _load(file), _load(file)
        self._cutting.enable_truncation(settings["max_tokens"], strategy="longest_first")
        self._lengths = settings["lengths"]
        self._inputs = [one["name"] for one in config["input"]]
        self._outputs = {one["name"]: _TYPES[one["data_type"]] for one in config["output"]}

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """One answer for each request; one that cannot be read does not spoil the others."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        try:
            rows = [_texts(pb_utils.get_input_tensor_by_name(request, name).as_numpy()) for name in self._inputs]
            inputs = rows[0] if len(rows) == 1 else list(zip(*rows, strict=True))
            found = self._whole.encode_batch(inputs)
        except Exception as error:  # noqa: BLE001  (the boundary of a request)
            return pb_utils.InferenceResponse(output_tensors=[], error=pb_utils.TritonError(f"no text: {error}"))
        counts = [len(one.ids) for one in found]
        most = self._lengths[-1]
        kept = [
            one if count <= most else self._cutting.encode_batch([text])[0]
            for one, count, text in zip(found, counts, inputs, strict=True)
        ]
        longest = max(len(one.ids) for one in kept)
        shape = (len(kept), next(length for length in self._lengths if length >= longest))
        filled = {name: np.zeros(shape, np.int64) for name in ("input_ids", "attention_mask", "token_type_ids")}
        for row, one in enumerate(kept):
            length = len(one.ids)
            filled["input_ids"][row, :length] = one.ids
            filled["token_type_ids"][row, :length] = one.type_ids
            filled["attention_mask"][row, :length] = 1
        filled["TOKENS"] = np.array(counts, np.int64).reshape(-1, 1)
        tensors = [pb_utils.Tensor(name, filled[name].astype(kind)) for name, kind in self._outputs.items()]
        return pb_utils.InferenceResponse(output_tensors=tensors)


def _texts(given: Any) -> list[str]:
    return [one.decode("utf-8") if isinstance(one, bytes) else str(one) for one in given.reshape(-1)]


def _load(file: Path) -> Any:
    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer

"""Runs an ensemble as Triton does, in one process: programs of the Python backend, networks in ONNX Runtime.

Order on stdin, JSON: ``repository`` (folder), ``ensemble``, ``version``, ``configs`` (settings by model), ``network``
(name of the file of a network), ``inputs`` (texts, or pairs), ``threads``. The last line on stdout is JSON: ``answers``
(a row each), ``tokens`` (counts), ``ids`` (token ids of each input, without what fills up).

Every tensor is held against the settings, type and sizes, as Triton holds it. What the programs import as
``triton_python_backend_utils`` has the names and the behaviour of Triton's own, as far as they use it.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

_TYPES = {
    **{"TYPE_FP32": np.float32, "TYPE_FP16": np.float16, "TYPE_INT64": np.int64, "TYPE_INT32": np.int32},
    "TYPE_STRING": np.object_,
}
Tensors = dict[str, Any]


class Tensor:
    """As Triton's: a name and an array, never one of fixed-width texts."""

    def __init__(self, name: str, numpy_array: Any) -> None:
        if numpy_array.dtype.type == np.str_ or numpy_array.dtype == np.void:
            raise TritonModelException("Tensor dtype used for numpy_array is not supported by Python backend.")
        self._name, self._array = name, numpy_array

    def name(self) -> str:
        """What it is called."""
        return self._name

    def as_numpy(self) -> Any:
        """Its values."""
        return self._array


class TritonError:
    """As Triton's: what a request gets in place of tensors."""

    def __init__(self, msg: str) -> None:
        self._msg = msg

    def message(self) -> str:
        """What went wrong."""
        return self._msg


class TritonModelException(Exception):  # noqa: N818  (Triton's name)
    """As Triton's."""


class InferenceRequest:
    """As Triton's: tensors of one request."""

    def __init__(self, inputs: Sequence[Tensor]) -> None:
        self._inputs = list(inputs)

    def inputs(self) -> list[Tensor]:
        """All of them."""
        return self._inputs


class InferenceResponse:
    """As Triton's: tensors, or an error."""

    def __init__(self, output_tensors: list[Tensor], error: TritonError | None = None) -> None:
        if type(output_tensors) is not list:
            raise TritonModelException('"output_tensors" must be a list.')
        self._tensors, self._error = output_tensors, error

    def output_tensors(self) -> list[Tensor]:
        """All of them."""
        return self._tensors

    def error(self) -> TritonError | None:
        """Why there are none."""
        return self._error


def get_input_tensor_by_name(inference_request: InferenceRequest, name: str) -> Tensor | None:
    """As Triton's: None where there is none of that name."""
    return next((one for one in inference_request.inputs() if one.name() == name), None)


def python_model(
    folder: Path, config: Mapping[str, Any], repository: Path, version: int
) -> Callable[[Tensors], Tensors]:
    """A program of the Python backend, loaded as Triton loads it."""
    utils = types.ModuleType("triton_python_backend_utils")
    for one in (
        Tensor,
        TritonError,
        TritonModelException,
        InferenceRequest,
        InferenceResponse,
        get_input_tensor_by_name,
    ):
        setattr(utils, one.__name__, one)
    sys.modules["triton_python_backend_utils"] = utils
    spec = importlib.util.spec_from_file_location(f"model_{folder.parent.name}", folder / "model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = module.TritonPythonModel()
    model.initialize(
        {
            "model_config": json.dumps(config),
            "model_repository": str(repository / config["name"]),
            "model_version": str(version),
            "model_name": config["name"],
        }
    )

    def run(given: Tensors) -> Tensors:
        request = InferenceRequest([Tensor(name, array) for name, array in given.items()])
        (response,) = model.execute([request])
        if response.error() is not None:
            raise RuntimeError(f"{config['name']}: {response.error().message()}")
        return {one.name(): one.as_numpy() for one in response.output_tensors()}

    return run


def network(file: Path, threads: int) -> Callable[[Tensors], Tensors]:
    """A network in ONNX Runtime."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_outputs()]
    return lambda given: dict(zip(names, session.run(names, given), strict=True))


def check(config: Mapping[str, Any], side: str, tensors: Tensors) -> Tensors:
    """The tensors that the settings name, each of the type and the sizes that they say."""
    found = {}
    for one in config[side]:
        array = tensors.get(one["name"])
        if array is None:
            raise RuntimeError(f"{config['name']}: no {side} {one['name']}")
        sizes = array.shape[1:]
        fits = len(sizes) == len(one["dims"]) and all(a in (-1, b) for a, b in zip(one["dims"], sizes, strict=True))
        if array.dtype != _TYPES[one["data_type"]] or not fits or array.shape[0] > config["max_batch_size"]:
            raise RuntimeError(f"{config['name']}: {side} {one['name']} is {array.dtype} {array.shape}, not {one}")
        found[one["name"]] = array
    return found


def load(order: Mapping[str, Any]) -> Callable[[Tensors], Tensors]:
    """The ensemble, ready to be asked; its answer holds every tensor on the way."""
    repository, version, configs = Path(order["repository"]), order["version"], order["configs"]
    ensemble = configs[order["ensemble"]]
    models = {}
    for step in ensemble["ensemble_scheduling"]["step"]:
        config = configs[step["model_name"]]
        folder = repository / config["name"] / str(version)
        is_program = config["backend"] == "python"
        models[config["name"]] = (
            python_model(folder, config, repository, version)
            if is_program
            else network(folder / order["network"], order["threads"])
        )

    def run(given: Tensors) -> Tensors:
        there = dict(check(ensemble, "input", given))
        for step in ensemble["ensemble_scheduling"]["step"]:
            config = configs[step["model_name"]]
            inputs = check(config, "input", {own: there[outer] for own, outer in step["input_map"].items()})
            outputs = check(config, "output", models[config["name"]](inputs))
            there |= {outer: outputs[own] for own, outer in step["output_map"].items()}
        check(ensemble, "output", there)
        return there

    return run


def main() -> None:
    """Does what stdin orders."""
    order: dict[str, Any] = json.load(sys.stdin)
    run = load(order)
    ensemble = order["configs"][order["ensemble"]]
    names = [one["name"] for one in ensemble["input"]]
    answer = next(one["name"] for one in ensemble["output"] if one["name"] != "TOKENS")
    answers, tokens, ids = [], [], []
    most = ensemble["max_batch_size"]
    for at in range(0, len(order["inputs"]), most):
        part = order["inputs"][at : at + most]
        columns = zip(*([one] if isinstance(one, str) else one for one in part), strict=True)
        texts = {
            name: np.array([text.encode() for text in column], np.object_).reshape(-1, 1)
            for name, column in zip(names, columns, strict=True)
        }
        found = run(texts)
        answers += found[answer].tolist()
        tokens += found["TOKENS"][:, 0].tolist()
        counts = np.minimum(found["TOKENS"][:, 0], found["input_ids"].shape[1])
        ids += [row[:count].tolist() for row, count in zip(found["input_ids"], counts, strict=True)]
    print(json.dumps({"answers": answers, "tokens": tokens, "ids": ids}), flush=True)


if __name__ == "__main__":
    main()

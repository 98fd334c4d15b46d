"""The settings of the models that make an encoder in Triton: tokenizer, network, answer, and their ensemble. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from undercroft.catalog.triton import NOTE, TEXTS_OF_TASK, TOKENS
from undercroft.core.errors import InvalidError
from undercroft.engines.encoder.folder import Encoder
from undercroft.registry.inspection.onnx_signature import NetworkTensor, Signature

NetworkRuntime = Literal["onnxruntime", "tensorrt"]
Precision = Literal["f32", "f16"]

# Largest batch that Triton makes and a plan is built for; what a plan is tuned for.
MOST_INPUTS, USUAL_INPUTS = 64, 8
USUAL_TOKENS = 128
# Longest wait for others to compute together with, microseconds; what a network takes for one short text on a GPU.
_WAIT_MICROSECONDS = 500
# Triton computes requests of one shape together, so texts are filled up to one of these.
_LENGTHS = (16, 32, 64, 128, 256)
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_TYPES = {"float32": "TYPE_FP32", "float16": "TYPE_FP16", "int64": "TYPE_INT64", "int32": "TYPE_INT32"}
_ANSWERS = {"embed": "EMBEDDING", "rerank": "SCORE", "classify": "PROBABILITIES"}
_WORKERS = 2  # processes that split texts; splitting one request takes one processor


@dataclass(frozen=True, slots=True)
class Ordered:
    """What is wanted of a repository.

    Args:
        name: Of the ensemble; the parts are called after it.
        encoder: What the model is.
        signature: What its network takes and gives.
        runtime: What runs the network.
        precision: What TensorRT computes in.
    """

    name: str
    encoder: Encoder
    signature: Signature
    runtime: NetworkRuntime
    precision: Precision


def lengths_of(most_tokens: int) -> tuple[int, ...]:
    """Lengths that texts are filled up to, tokens; the last is the longest that the model takes."""
    return (*(length for length in _LENGTHS if length < most_tokens), most_tokens)


def check_signature(signature: Signature, model: str) -> None:
    """Makes sure that a network can be served in batches of any size and length.

    Args:
        signature: What it takes and gives.
        model: Its name, for the error.

    Raises:
        InvalidError: ``wrong-network``.
    """
    names = [one.name for one in signature.inputs]
    if "input_ids" not in names or set(names) - set(_INPUTS):
        _refuse(model, f"it takes {', '.join(names)[:120] or 'nothing'}, known are {', '.join(_INPUTS)}")
    for one in signature.inputs:
        if one.element not in ("int64", "int32") or len(one.shape) != 2:
            _refuse(model, f"its input {one.name!r} is {_shown(one)}, expected int64 or int32 of two sizes")
        if any(isinstance(size, int) for size in one.shape):
            _refuse(model, f"its input {one.name!r} is {_shown(one)}, expected sizes that are free: inputs and tokens")
    if not signature.outputs:
        _refuse(model, "it gives nothing")
    output = signature.outputs[0]
    if output.element not in ("float32", "float16") or len(output.shape) not in (2, 3):
        _refuse(model, f"its output {output.name!r} is {_shown(output)}, expected floats of two or three sizes")
    if isinstance(output.shape[0], int) or not isinstance(output.shape[-1], int):
        _refuse(
            model, f"its output {output.name!r} is {_shown(output)}, expected a free number of inputs, a known width"
        )


def configs(ordered: Ordered) -> dict[str, dict[str, Any]]:
    """The settings of every model, by its name.

    Args:
        ordered: What is wanted; its signature was checked.
    """
    made = (_tokenizer(ordered), _network(ordered), _answer(ordered), _ensemble(ordered))
    return {one["name"]: one for one in made}


def part(name: str, which: Literal["tokenizer", "network", "answer"]) -> str:
    """What a part of an ensemble is called."""
    return f"{name}_{which}"


def _tokenizer(ordered: Ordered) -> dict[str, Any]:
    told = {"max_tokens": ordered.encoder.max_tokens, "lengths": list(lengths_of(ordered.encoder.max_tokens))}
    taken = {one.name: one.element for one in ordered.signature.inputs}
    given = {"input_ids": taken["input_ids"], "attention_mask": taken.get("attention_mask", "int64"), **taken}
    return {
        "name": part(ordered.name, "tokenizer"),
        "backend": "python",
        "max_batch_size": MOST_INPUTS,
        "input": [_tensor(name, "TYPE_STRING", [1]) for name in TEXTS_OF_TASK[ordered.encoder.task]],
        "output": [
            *(_tensor(name, _TYPES[element], [-1]) for name, element in given.items()),
            _tensor(TOKENS, "TYPE_INT32", [1]),
        ],
        "dynamic_batching": {},
        "instance_group": [{"kind": "KIND_CPU", "count": _WORKERS}],
        "parameters": _note(told),
    }


def _network(ordered: Ordered) -> dict[str, Any]:
    is_plan = ordered.runtime == "tensorrt"
    output = ordered.signature.outputs[0]
    made = {
        "name": part(ordered.name, "network"),
        "backend": ordered.runtime,
        "default_model_filename": "model.plan" if is_plan else "model.onnx",
        "max_batch_size": MOST_INPUTS,
        "input": [_tensor(one.name, _TYPES[one.element], [-1]) for one in ordered.signature.inputs],
        "output": [_tensor(output.name, _TYPES[output.element], _sizes(output))],
        "dynamic_batching": {"max_queue_delay_microseconds": _WAIT_MICROSECONDS},
        "instance_group": [{"kind": "KIND_GPU" if is_plan else "KIND_AUTO", "count": 1}],
    }
    if is_plan:
        return made
    # Without a GPU the accelerator is left out by the backend, and the network computed on processors.
    accelerator = {
        "name": "tensorrt",
        "parameters": {"precision_mode": "FP16" if ordered.precision == "f16" else "FP32"},
    }
    return {**made, "optimization": {"execution_accelerators": {"gpu_execution_accelerator": [accelerator]}}}


def _answer(ordered: Ordered) -> dict[str, Any]:
    output, encoder = ordered.signature.outputs[0], ordered.encoder
    is_pooled = encoder.task == "embed" and len(output.shape) == 3
    mask = _mask(ordered)
    told = {
        "pooling": encoder.pooling if is_pooled else "none",
        "is_normalized": encoder.task == "embed" and encoder.is_normalized,
        "activation": encoder.activation,
    }
    return {
        "name": part(ordered.name, "answer"),
        "backend": "python",
        "max_batch_size": MOST_INPUTS,
        "input": [
            _tensor("network_output", _TYPES[output.element], _sizes(output)),
            *([_tensor("attention_mask", mask, [-1])] if is_pooled else []),
        ],
        "output": [_answer_tensor(ordered)],
        "dynamic_batching": {},
        "instance_group": [{"kind": "KIND_CPU", "count": 1}],
        "parameters": _note(told),
    }


def _ensemble(ordered: Ordered) -> dict[str, Any]:
    encoder, name = ordered.encoder, ordered.name
    tokenizer, network, answer = _tokenizer(ordered), _network(ordered), _answer(ordered)
    texts = TEXTS_OF_TASK[encoder.task]
    used = {TOKENS, *(one["name"] for model in (network, answer) for one in model["input"])}
    inner = {one["name"]: one["name"] for one in tokenizer["output"] if one["name"] in used}
    told = {"task": encoder.task, "max_tokens": encoder.max_tokens, "labels": list(encoder.labels)}
    output = answer["output"][0]["name"]
    return {
        "name": name,
        "platform": "ensemble",
        "max_batch_size": MOST_INPUTS,
        "input": [_tensor(one, "TYPE_STRING", [1]) for one in texts],
        "output": [_answer_tensor(ordered), _tensor(TOKENS, "TYPE_INT32", [1])],
        "ensemble_scheduling": {
            "step": [
                _step(tokenizer["name"], {one: one for one in texts}, inner),
                _step(
                    network["name"],
                    {one["name"]: one["name"] for one in network["input"]},
                    {network["output"][0]["name"]: "network_output"},
                ),
                _step(answer["name"], {one["name"]: one["name"] for one in answer["input"]}, {output: output}),
            ]
        },
        "parameters": _note(told),
    }


def _answer_tensor(ordered: Ordered) -> dict[str, Any]:
    return _tensor(_ANSWERS[ordered.encoder.task], "TYPE_FP32", [_sizes(ordered.signature.outputs[0])[-1]])


def _mask(ordered: Ordered) -> str:
    taken = {one.name: one.element for one in ordered.signature.inputs}
    return _TYPES[taken.get("attention_mask", "int64")]


def _step(model: str, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> dict[str, Any]:
    return {"model_name": model, "model_version": -1, "input_map": dict(inputs), "output_map": dict(outputs)}


def _tensor(name: str, kind: str, dims: list[int]) -> dict[str, Any]:
    return {"name": name, "data_type": kind, "dims": dims}


def _sizes(tensor: NetworkTensor) -> list[int]:
    """Sizes without that of the batch; -1 where one is free."""
    return [size if isinstance(size, int) else -1 for size in tensor.shape[1:]]


def _note(told: Mapping[str, Any]) -> dict[str, Any]:
    return {NOTE: {"string_value": json.dumps(told, sort_keys=True)}}


def _shown(tensor: NetworkTensor) -> str:
    return f"{tensor.element or 'of a kind that is not known'} [{', '.join(str(size or '?') for size in tensor.shape)}]"


def _refuse(model: str, problem: str) -> None:
    raise InvalidError(
        "wrong-network",
        f"model {model!r} cannot be served by Triton: {problem}",
        hint="convert the original: undercroft optimize convert MODEL --to onnx",
    )

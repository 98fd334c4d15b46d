"""KServe's messages, version 2, between Protocol Buffers and what the same protocol says in JSON. Pure.

What is asked and answered is thereby read in one place, `undercroft.engines.kserve`, however it came.

Source: ``grpc_service.proto`` and ``model_config.proto`` of https://github.com/triton-inference-server/common, and what
Triton 2.51 answered (seen).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

from undercroft.engines.grpc.protobuf import field, fields, message_in, numbers_in, packed, text_in

SERVICE = "inference.GRPCInferenceService"
INFER = f"/{SERVICE}/ModelInfer"
READY = f"/{SERVICE}/ModelReady"
CONFIG = f"/{SERVICE}/ModelConfig"

_REQUEST_ID = 3
# Data types of ``model_config.proto`` that are asked for or told; the others are told by their numbers.
_TYPES = {9: "TYPE_INT64", 8: "TYPE_INT32", 11: "TYPE_FP32", 13: "TYPE_STRING"}
_LETTERS = {"FP32": "f", "INT32": "i", "INT64": "q"}


def name_message(model: str) -> bytes:
    """The request for a model's readiness or settings."""
    return field(1, model)


def read_ready(message: bytes) -> bool:
    """Whether a model is ready.

    Raises:
        ValueError: It is another message.
    """
    return any(value == 1 for number, value in fields(message) if number == 1)


def read_config(message: bytes) -> dict[str, Any]:
    """A model's settings, as ``/v2/models/NAME/config`` tells them: what `undercroft.engines.kserve` reads of them.

    Raises:
        ValueError: It is another message.
    """
    found: dict[str, Any] = {"input": [], "output": [], "parameters": {}, "max_batch_size": 0}
    for _, config in [one for one in fields(message) if one[0] == 1]:
        for number, value in fields(message_in(config)):
            if number == 1:
                found["name"] = text_in(value)
            elif number == 4:
                (found["max_batch_size"],) = numbers_in(value)
            elif number == 5:
                found["input"].append(_tensor(message_in(value), dims=4))
            elif number == 6:
                found["output"].append(_tensor(message_in(value), dims=3))
            elif number == 14:
                name, told = _parameter(message_in(value))
                found["parameters"][name] = {"string_value": told}
    if "name" not in found:
        raise ValueError("it lacks the model's name")
    return found


def infer_message(model: str, body: Mapping[str, Any]) -> bytes:
    """The request for some inputs, whose texts go as raw bytes.

    Args:
        model: What the server calls it.
        body: As `undercroft.engines.kserve.infer_body` makes it.
    """
    inputs = [
        field(5, field(1, one["name"]) + field(2, one["datatype"]) + packed(3, one["shape"])) for one in body["inputs"]
    ]
    outputs = [field(6, field(1, one["name"])) for one in body["outputs"]]
    raw = [field(7, _texts(one["data"])) for one in body["inputs"]]
    return field(1, model) + b"".join([*inputs, *outputs, *raw])


def with_request_id(message: bytes, request_id: str) -> bytes:
    """The request with a name for the server's log; fields of a message may stand in any order."""
    return message + field(_REQUEST_ID, request_id)


def read_infer(message: bytes) -> dict[str, Any]:
    """An answer, as ``infer`` gives it in JSON.

    Raises:
        ValueError: It is another message, or its numbers are not raw bytes of a known type.
    """
    outputs: list[dict[str, Any]] = []
    raw: list[bytes] = []
    for number, value in fields(message):
        if number == 5:
            outputs.append(_output(message_in(value)))
        elif number == 6:
            raw.append(message_in(value))
    if len(raw) != len(outputs):
        raise ValueError(f"it has {len(outputs)} outputs, and {len(raw)} raw contents")
    for one, content in zip(outputs, raw, strict=True):
        one["data"] = _numbers(one, content)
    return {"outputs": outputs}


def _tensor(message: bytes, *, dims: int) -> dict[str, Any]:
    found: dict[str, Any] = {"name": "", "data_type": "TYPE_INVALID", "dims": []}
    for number, value in fields(message):
        if number == 1:
            found["name"] = text_in(value)
        elif number == 2:
            (kind,) = numbers_in(value)
            found["data_type"] = _TYPES.get(kind, f"type {kind}")
        elif number == dims:
            found["dims"] += numbers_in(value)
    return found


def _parameter(message: bytes) -> tuple[str, str]:
    """An entry of the map of parameters."""
    entry = dict(fields(message))
    told = dict(fields(message_in(entry.get(2, b""))))
    return text_in(entry.get(1, b"")), text_in(told.get(1, b""))


def _output(message: bytes) -> dict[str, Any]:
    found: dict[str, Any] = {"name": "", "datatype": "", "shape": []}
    for number, value in fields(message):
        if number in (1, 2):
            found["name" if number == 1 else "datatype"] = text_in(value)
        elif number == 3:
            found["shape"] += numbers_in(value)
    return found


def _texts(texts: Sequence[str]) -> bytes:
    """Texts as a raw tensor: each after its length."""
    return b"".join(struct.pack("<I", len(one)) + one for one in (text.encode() for text in texts))


def _numbers(output: Mapping[str, Any], content: bytes) -> list[float]:
    letter = _LETTERS.get(output["datatype"])
    if letter is None:
        raise ValueError(f"its output {output['name']} is {output['datatype'] or 'of no type'}")
    count, left = divmod(len(content), struct.calcsize(f"<{letter}"))
    if left:
        raise ValueError(f"its output {output['name']} has {len(content)} bytes of {output['datatype']}")
    return list(struct.unpack(f"<{count}{letter}", content))

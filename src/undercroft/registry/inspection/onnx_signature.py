"""What an ONNX network takes and gives: names, types and sizes of its inputs and outputs, out of the file itself.

Source: ``onnx/onnx.proto`` of the ONNX project.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from undercroft.registry.inspection.protobuf import Field, ProtobufFile

_FIELDS_LIMIT = 1_000_000
_TEXT_LIMIT_BYTES = 65_536
_MODEL_GRAPH = 7
_GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT = 5, 11, 12
_TENSOR_NAME = 8
_VALUE_NAME, _VALUE_TYPE = 1, 2
_TYPE_TENSOR = 1
_TENSOR_TYPE_ELEMENT, _TENSOR_TYPE_SHAPE = 1, 2
_SHAPE_SIZE = 1
_SIZE_VALUE, _SIZE_NAME = 1, 2
# `TensorProto.DataType`, as numpy calls them.
ELEMENTS: Mapping[int, str] = {
    **{1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 8: "text", 9: "bool"},
    **{10: "float16", 11: "float64", 12: "uint32", 13: "uint64", 16: "bfloat16"},
}


@dataclass(frozen=True, slots=True)
class NetworkTensor:
    """An input or an output.

    Args:
        name: As the network calls it.
        element: Kind of its values, as numpy calls it: ``int64``, ``float32``; empty where that is not known here.
        shape: Sizes; a name, or None where it has none, where the size is free.
    """

    name: str
    element: str
    shape: tuple[int | str | None, ...]


@dataclass(frozen=True, slots=True)
class Signature:
    """What a network takes and gives, in the order in which the file has it.

    Args:
        inputs: Without those that are weights.
        outputs: All.
    """

    inputs: tuple[NetworkTensor, ...]
    outputs: tuple[NetworkTensor, ...]


def read_signature(path: Path, name: str) -> Signature:
    """Reads what a network takes and gives.

    Args:
        path: An ONNX file, which `undercroft.registry.inspection.onnx.read_onnx` has taken.
        name: Of it, for errors.

    Raises:
        InvalidError: ``bad-onnx``: an input or output is no tensor, or a length is out of bounds.
    """
    with path.open("rb") as file:
        message = ProtobufFile(
            file, path.stat().st_size, name=name, code="bad-onnx", what="ONNX file", fields_limit=_FIELDS_LIMIT
        )
        inputs: list[NetworkTensor] = []
        outputs: list[NetworkTensor] = []
        weights: set[str] = set()
        for graph in message.fields(0, message.size_bytes):
            if graph.number != _MODEL_GRAPH or graph.wire != 2:
                continue
            for part in message.fields(graph.begin, graph.end):
                if part.wire == 2 and part.number == _GRAPH_INPUT:
                    inputs.append(_tensor(message, part))
                elif part.wire == 2 and part.number == _GRAPH_OUTPUT:
                    outputs.append(_tensor(message, part))
                elif part.wire == 2 and part.number == _GRAPH_INITIALIZER:
                    weights.add(_text_of(message, part, _TENSOR_NAME))
        return Signature(tuple(one for one in inputs if one.name not in weights), tuple(outputs))


def _tensor(message: ProtobufFile, value: Field) -> NetworkTensor:
    name = _text_of(message, value, _VALUE_NAME)
    for kind in _parts(message, value, _VALUE_TYPE):
        for tensor in _parts(message, kind, _TYPE_TENSOR):
            element, shape = 0, []
            for part in message.fields(tensor.begin, tensor.end):
                if part.number == _TENSOR_TYPE_ELEMENT and part.wire == 0:
                    element = part.value
                elif part.number == _TENSOR_TYPE_SHAPE and part.wire == 2:
                    shape = [_size(message, size) for size in _parts(message, part, _SHAPE_SIZE)]
            return NetworkTensor(name, ELEMENTS.get(element, ""), tuple(shape))
    message.fail(f"{name[:120]!r} is no tensor")


def _size(message: ProtobufFile, size: Field) -> int | str | None:
    for part in message.fields(size.begin, size.end):
        if part.number == _SIZE_VALUE and part.wire == 0:
            return part.value
        if part.number == _SIZE_NAME and part.wire == 2:
            return message.text(part, _TEXT_LIMIT_BYTES)
    return None


def _parts(message: ProtobufFile, owner: Field, number: int) -> list[Field]:
    return [part for part in message.fields(owner.begin, owner.end) if part.number == number and part.wire == 2]


def _text_of(message: ProtobufFile, owner: Field, number: int) -> str:
    found = _parts(message, owner, number)
    return message.text(found[-1], _TEXT_LIMIT_BYTES) if found else ""

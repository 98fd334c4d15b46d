"""Walks an ONNX file far enough to know that it is one and that it refers to nothing outside its folder.

Source: ``onnx/onnx.proto`` and ``docs/ExternalData.md`` of the ONNX project.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from undercroft.registry.inspection.protobuf import Field, ProtobufFile

_FIELDS_LIMIT = 1_000_000
_DEPTH_LIMIT = 16
_TEXT_LIMIT_BYTES = 65_536
_NEWEST_IR_VERSION = 32
_EXTERNAL = 1

# Field numbers of the messages.
_MODEL_IR_VERSION, _MODEL_GRAPH, _MODEL_OPSET, _MODEL_FUNCTIONS = 1, 7, 8, 25
_GRAPH_NODE, _GRAPH_NAME, _GRAPH_INITIALIZER, _GRAPH_SPARSE = 1, 2, 5, 15
_NODE_INPUT, _NODE_KIND, _NODE_ATTRIBUTE, _NODE_DOMAIN = 1, 4, 5, 7
_ATTRIBUTE_NAME, _ATTRIBUTE_NUMBER = 1, 3
_ATTRIBUTE_TENSOR, _ATTRIBUTE_GRAPH, _ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS = 5, 6, 10, 11
_ATTRIBUTE_SPARSE, _ATTRIBUTE_SPARSES = 22, 23
_TENSOR_DIMS, _TENSOR_TYPE, _TENSOR_NAME, _TENSOR_EXTERNAL, _TENSOR_LOCATION = 1, 2, 8, 13, 14
_SPARSE_VALUES, _SPARSE_INDICES = 1, 2
_ENTRY_KEY, _ENTRY_VALUE = 1, 2
_OPSET_VERSION = 2
_FUNCTION_NODE = 7
_ELEMENTS_LIMIT = 2**63 - 1
# `TensorProto.DataType` of what weights are kept in; others are shapes and positions.
TENSOR_KINDS = {1: "F32", 2: "INT8", 3: "INT8", 10: "F16", 11: "F64", 16: "BF16", 21: "INT4", 22: "INT4"}
# Weights of less than a byte lie in bytes, and only the operator that reads them knows.
_PACKED_KIND, _PACKED = "MatMulNBits", {4: "INT4", 8: "INT8"}
BITS = {"F64": 64, "F32": 32, "F16": 16, "BF16": 16, "INT8": 8, "INT4": 4}


@dataclass(slots=True)
class OnnxModel:
    """What an ONNX file says.

    Args:
        ir_version: Of the format.
        graph_name: As its maker called it.
        opsets: Versions of the operator sets.
        parameters: Elements of all initializers; count.
        external: Files beside it that hold weights: name → bytes that must be there.
        stored: Elements of these that are weights, by how they are stored: ``F32``, ``INT8``; count.
        sizes: Name of an initializer → how it is stored, and its elements.
        packed: Name of a matrix whose weights lie several in a byte → how they are stored, and their count.
        beside: Names of scales and zero points of these.
    """

    ir_version: int = 0
    graph_name: str | None = None
    opsets: list[int] = field(default_factory=list)
    parameters: int = 0
    external: dict[str, int] = field(default_factory=dict)
    stored: Counter[str] = field(default_factory=Counter)
    sizes: dict[str, tuple[str, int]] = field(default_factory=dict)
    packed: dict[str, tuple[str, int]] = field(default_factory=dict)
    beside: set[str] = field(default_factory=set)


def read_onnx(path: Path, name: str) -> OnnxModel:
    """Reads and checks a model.

    Raises:
        InvalidError: ``bad-onnx``: a length is out of bounds, something needed is missing, or weights are said to lie
            anywhere but in a plainly named file beside it.
    """
    with path.open("rb") as file:
        message = ProtobufFile(
            file,
            path.stat().st_size,
            name=name,
            code="bad-onnx",
            what="ONNX file",
            fields_limit=_FIELDS_LIMIT,
        )
        found = OnnxModel()
        has_graph = False
        for part in message.fields(0, message.size_bytes):
            if part.number == _MODEL_IR_VERSION and part.wire == 0:
                found.ir_version = part.value
            elif part.number == _MODEL_GRAPH and part.wire == 2:
                has_graph = True
                _graph(message, part, found, 0)
            elif part.number == _MODEL_OPSET and part.wire == 2:
                found.opsets += [
                    inner.value
                    for inner in message.fields(part.begin, part.end)
                    if inner.number == _OPSET_VERSION and inner.wire == 0
                ]
            elif part.number == _MODEL_FUNCTIONS and part.wire == 2:
                _nodes(message, part, found, _FUNCTION_NODE, 0)
        if not 1 <= found.ir_version <= _NEWEST_IR_VERSION:
            message.fail(f"its ir_version is {found.ir_version:,}, expected 1 to {_NEWEST_IR_VERSION}")
        if not has_graph:
            message.fail("it has no graph")
        if not found.opsets:
            message.fail("it names no operator set")
        _count_packed(found)
        return found


def _count_packed(found: OnnxModel) -> None:
    """Counts weights of packed matrices, and no scale, where bytes were counted."""
    for name in (found.packed.keys() | found.beside) & found.sizes.keys():
        kind, elements = found.sizes[name]
        found.parameters -= elements
        if kind:
            found.stored[kind] -= elements
    for name, (kind, elements) in found.packed.items():
        if name in found.sizes:
            # What a file claims of them is no more than fits into its bytes.
            weights = min(elements, found.sizes[name][1] * 8 // BITS[kind])
            found.parameters += weights
            found.stored[kind] += weights
    found.parameters, found.stored = max(0, found.parameters), +found.stored


def _graph(message: ProtobufFile, graph: Field, found: OnnxModel, depth: int) -> None:
    if depth > _DEPTH_LIMIT:
        message.fail(f"its graphs are nested more than {_DEPTH_LIMIT} deep")
    for part in message.fields(graph.begin, graph.end):
        if part.wire != 2:
            continue
        if part.number == _GRAPH_NAME and depth == 0:
            found.graph_name = message.text(part, _TEXT_LIMIT_BYTES)
        elif part.number == _GRAPH_INITIALIZER:
            found.parameters += _tensor(message, part, found)
        elif part.number == _GRAPH_SPARSE:
            _sparse(message, part, found)
        elif part.number == _GRAPH_NODE:
            _node(message, part, found, depth)


def _nodes(message: ProtobufFile, owner: Field, found: OnnxModel, number: int, depth: int) -> None:
    for part in message.fields(owner.begin, owner.end):
        if part.number == number and part.wire == 2:
            _node(message, part, found, depth)


def _node(message: ProtobufFile, node: Field, found: OnnxModel, depth: int) -> None:
    kind, inputs, numbers = "", [], {}
    for part in message.fields(node.begin, node.end):
        if part.wire != 2:
            continue
        if part.number == _NODE_KIND:
            kind = message.text(part, _TEXT_LIMIT_BYTES)
        elif part.number == _NODE_INPUT:
            inputs.append(message.text(part, _TEXT_LIMIT_BYTES))
        elif part.number == _NODE_ATTRIBUTE:
            name, number = _attribute(message, part, found, depth)
            numbers[name] = number
    packed = _PACKED.get(numbers.get("bits", 0)) if kind == _PACKED_KIND else None
    if packed is not None and len(inputs) > 1:
        found.packed[inputs[1]] = (packed, numbers.get("K", 0) * numbers.get("N", 0))
        found.beside |= set(inputs[2:])


def _attribute(message: ProtobufFile, attribute: Field, found: OnnxModel, depth: int) -> tuple[str, int]:
    """Looks into an attribute; its name, and its number where it is one."""
    name, number = "", 0
    for part in message.fields(attribute.begin, attribute.end):
        if part.number == _ATTRIBUTE_NUMBER and part.wire == 0:
            number = part.value
        if part.wire != 2:
            continue
        if part.number == _ATTRIBUTE_NAME:
            name = message.text(part, _TEXT_LIMIT_BYTES)
        elif part.number in (_ATTRIBUTE_TENSOR, _ATTRIBUTE_TENSORS):
            _tensor(message, part, found)
        elif part.number in (_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS):
            _graph(message, part, found, depth + 1)
        elif part.number in (_ATTRIBUTE_SPARSE, _ATTRIBUTE_SPARSES):
            _sparse(message, part, found)
    return name, number


def _sparse(message: ProtobufFile, sparse: Field, found: OnnxModel) -> None:
    for part in message.fields(sparse.begin, sparse.end):
        if part.wire == 2 and part.number in (_SPARSE_VALUES, _SPARSE_INDICES):
            _tensor(message, part, found)


def _tensor(message: ProtobufFile, tensor: Field, found: OnnxModel) -> int:
    """Checks where a tensor's bytes lie; its elements."""
    elements, is_external, entries, kind, name = 1, False, {}, "", ""
    for part in message.fields(tensor.begin, tensor.end):
        if part.number == _TENSOR_DIMS:
            for size in _numbers(message, part):
                elements *= size
                if elements > _ELEMENTS_LIMIT:
                    message.fail("a tensor has a shape whose product does not fit")
        elif part.number == _TENSOR_TYPE and part.wire == 0:
            kind = TENSOR_KINDS.get(part.value, "")
        elif part.number == _TENSOR_NAME and part.wire == 2:
            name = message.text(part, _TEXT_LIMIT_BYTES)
        elif part.number == _TENSOR_LOCATION and part.wire == 0:
            is_external = part.value == _EXTERNAL
        elif part.number == _TENSOR_EXTERNAL and part.wire == 2:
            pair = {
                inner.number: message.text(inner, _TEXT_LIMIT_BYTES)
                for inner in message.fields(part.begin, part.end)
                if inner.number in (_ENTRY_KEY, _ENTRY_VALUE)
            }
            entries[pair.get(_ENTRY_KEY, "")] = pair.get(_ENTRY_VALUE, "")
    if is_external or entries:
        _external(message, entries, found)
    if kind:
        found.stored[kind] += elements
    if name:
        found.sizes[name] = (kind, elements)
    return elements


def _numbers(message: ProtobufFile, part: Field) -> list[int]:
    """A repeated integer: one, or several packed together."""
    if part.wire == 0:
        return [part.value]
    if part.end - part.begin > 1024:
        message.fail("a tensor has more dimensions than any model needs")
    raw, numbers, value, shift = message.read(part.begin, part.end - part.begin), [], 0, 0
    for byte in raw:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            numbers.append(value)
            value = shift = 0
        elif shift > 63:
            message.fail(f"a number at byte {part.begin:,} does not end")
    return numbers


def _external(message: ProtobufFile, entries: dict[str, str], found: OnnxModel) -> None:
    location = entries.get("location", "")
    is_plain = location and not any(letter in location for letter in "/\\:\0") and location.isprintable()
    if not is_plain or location.startswith(".") or len(location.encode()) > 255:
        message.fail(f"weights lie in {location[:120]!r}, expected the plain name of a file beside it")
    numbers = []
    for key in ("offset", "length"):
        text = entries.get(key, "0")
        if not (text.isascii() and text.isdigit() and len(text) <= 19):
            message.fail(f"weights in {location!r} have the {key} {text[:40]!r}, expected a number")
        numbers.append(int(text))
    found.external[location] = max(found.external.get(location, 0), sum(numbers))

"""ONNX files: bounds of the wire format, and weights that lie outside."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.raw_onnx import message, model, nested_graphs, number, tensor, varint
from undercroft.core.errors import InvalidError
from undercroft.registry.inspection.onnx import read_onnx


def test_sound_file(tmp_path: Path) -> None:
    """Version, name, operator set and parameters are read; external weights are told with their size."""
    path = tmp_path / "m.onnx"
    path.write_bytes(
        model(
            tensor("w", [4, 4]), tensor("x", [8], external={"location": "m.onnx_data", "offset": "64", "length": "32"})
        )
    )
    found = read_onnx(path, path.name)
    assert (found.ir_version, found.graph_name, found.opsets, found.parameters) == (8, "graph", [17], 24)
    assert found.external == {"m.onnx_data": 96}
    assert found.stored == {"F32": 24}


def external(location: str, **more: str) -> bytes:
    return model(tensor("x", [8], external={"location": location, **more}))


CASES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "ir_version"),
    "version of zero": (number(1, 0) + model()[2:], "its ir_version is 0"),
    "huge version": (number(1, 2**40) + model()[2:], "its ir_version is"),
    "no graph": (number(1, 8) + message(8, number(2, 17)), "it has no graph"),
    "no operator set": (number(1, 8) + message(7, message(2, b"g")), "names no operator set"),
    "field past the end": (number(1, 8) + varint(7 << 3 | 2) + varint(2**40), "past its message's end"),
    "length that overflows": (number(1, 8) + varint(7 << 3 | 2) + varint(2**64 - 1), "not possible"),
    "number without an end": (number(1, 8) + b"\x10" + b"\xff" * 12, "does not end"),
    "cut off": (model()[:-2], "past its message's end"),
    "cut off in a number": (model()[:-3], "does not end"),
    "unknown wire type": (number(1, 8) + varint(9 << 3 | 3), "unknown wire type 3"),
    "field of number zero": (number(1, 8) + varint(0 << 3 | 2), "has the number 0"),
    "graphs in graphs": (model(nodes=[nested_graphs(40)]), "nested more than"),
    "shape that overflows": (model(message(5, number(1, 2**40), number(1, 2**40))), "product does not fit"),
    "name that is no text": (number(1, 8) + message(7, message(2, b"\xff\xfe")), "not UTF-8"),
    "outside by ..": (external("../../etc/passwd"), "plain name of a file beside it"),
    "outside by /": (external("/etc/passwd"), "plain name of a file beside it"),
    "outside by \\": (external("..\\x"), "plain name of a file beside it"),
    "outside by a drive": (external("c:x"), "plain name of a file beside it"),
    "hidden": (external(".bashrc"), "plain name of a file beside it"),
    "with a zero": (external("a\0b"), "plain name of a file beside it"),
    "nowhere": (external(""), "plain name of a file beside it"),
    "too long a name": (external("a" * 300), "plain name of a file beside it"),
    "offset below zero": (external("w", offset="-1"), "expected a number"),
    "offset that is huge": (external("w", offset="9" * 40), "expected a number"),
}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_refused(tmp_path: Path, case: str) -> None:
    """A file whose lengths do not add up, or that reaches out of its folder, is refused with a sentence."""
    content, words = CASES[case]
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(InvalidError) as caught:
        read_onnx(path, path.name)
    assert words in caught.value.message
    assert caught.value.message.isprintable()


def packed(bits: int, inputs: int = 8) -> bytes:
    """A model of one matrix of 8 by 6 weights, packed, with two scales."""
    said = (("K", inputs), ("N", 6), ("bits", bits))
    attributes = [message(5, message(1, name.encode()), number(3, value)) for name, value in said]
    names = [message(1, name) for name in (b"x", b"w", b"scales")]
    node = message(1, *names, message(2, b"y"), message(4, b"MatMulNBits"), *attributes)
    matrix = tensor("w", [6, 1, bits]).replace(b"\x10\x01", b"\x10\x02", 1)
    return model(matrix, tensor("scales", [2]), tensor("table", [5, 4]), nodes=[node])


@pytest.mark.parametrize(("bits", "kind"), [(4, "INT4"), (8, "INT8")])
def test_weights_that_share_a_byte_are_counted_each(tmp_path: Path, bits: int, kind: str) -> None:
    """Only the operator knows how many there are; scales are none."""
    (tmp_path / "model.onnx").write_bytes(packed(bits))
    found = read_onnx(tmp_path / "model.onnx", "model.onnx")
    assert (found.parameters, dict(found.stored)) == (48 + 20, {kind: 48, "F32": 20})


def test_a_claim_of_weights_is_bounded_by_their_bytes(tmp_path: Path) -> None:
    """A file cannot say that it has more than it holds."""
    (tmp_path / "model.onnx").write_bytes(packed(4, inputs=2**60))
    assert read_onnx(tmp_path / "model.onnx", "model.onnx").stored["INT4"] == 48

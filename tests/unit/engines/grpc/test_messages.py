"""KServe's messages: written so that Google's own library reads them, and read as that writes them."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as some

from tests.support import fake_triton
from tests.support.kserve_definition import data_type, message
from undercroft.engines.contract import Task
from undercroft.engines.grpc import messages, protobuf
from undercroft.engines.kserve import infer_body, read_answer, read_model

MODEL = read_model(fake_triton.config("rerank"), "rerank", Task.RERANK)


@given(some.lists(some.tuples(some.text(), some.text()), min_size=1, max_size=5))
def test_a_request_is_read_by_another(pairs: list[tuple[str, str]]) -> None:
    """Names, shapes and every text, of any script and length, arrive as they were given; so does the request's id."""
    columns = [[one for one, _ in pairs], [other for _, other in pairs]]
    written = messages.with_request_id(messages.infer_message("mein Modell", infer_body(MODEL, columns)), "req_1")
    found = message("ModelInferRequest").FromString(written)
    assert (found.model_name, found.id) == ("mein Modell", "req_1")
    assert [(one.name, one.datatype, list(one.shape)) for one in found.inputs] == [
        ("QUERY", "BYTES", [len(pairs), 1]),
        ("DOCUMENT", "BYTES", [len(pairs), 1]),
    ]
    assert [one.name for one in found.outputs] == ["SCORE", "TOKENS"]
    for raw, texts in zip(found.raw_input_contents, columns, strict=True):
        assert raw == b"".join(struct.pack("<I", len(text.encode())) + text.encode() for text in texts)


@given(some.lists(some.integers(-(2**63), 2**63 - 1)))
def test_numbers_keep_their_signs(numbers: list[int]) -> None:
    """Whole numbers of any size are the same after another has read and written them."""
    written = protobuf.packed(3, numbers)
    found = message("InferInputTensor").FromString(written)
    assert list(found.shape) == numbers
    read = [number for _, value in protobuf.fields(found.SerializeToString()) for number in protobuf.numbers_in(value)]
    assert read == numbers


def test_an_answer_of_another_is_read() -> None:
    """Rows and counts come out of raw bytes, in the order in which they are told."""
    made = message("ModelInferResponse")(model_name="rerank", model_version="1")
    made.outputs.add(name="TOKENS", datatype="INT32", shape=[2, 1])
    made.outputs.add(name="SCORE", datatype="FP32", shape=[2, 1])
    made.raw_output_contents.extend([struct.pack("<2i", 5, 7), struct.pack("<2f", 0.5, -0.25)])
    assert read_answer(MODEL, messages.read_infer(made.SerializeToString()), 2) == ([[0.5], [-0.25]], [5, 7])


@pytest.mark.parametrize("model", ["embed", "classify", "rerank", "plain", "image"])
def test_settings_are_those_of_the_other_protocol(model: str) -> None:
    """What is read of a model's settings is what the HTTP server tells of them, free dimensions included."""
    told = fake_triton.config(model)
    made = message("ModelConfigResponse")()
    made.config.name, made.config.max_batch_size = told["name"], told["max_batch_size"]
    for side in ("input", "output"):
        for one in told[side]:
            getattr(made.config, side).add(
                name=one["name"], data_type=data_type(one["data_type"]), dims=[*one["dims"], -1]
            )
    for name, value in told["parameters"].items():
        made.config.parameters.add(key=name).value.string_value = value["string_value"]
    wanted = {name: told[name] for name in ("name", "max_batch_size", "input", "output", "parameters")}
    for side in ("input", "output"):
        wanted[side] = [{**one, "dims": [*one["dims"], -1]} for one in told[side]]
    assert messages.read_config(made.SerializeToString()) == wanted


@pytest.mark.parametrize(
    ("broken", "problem"),
    [
        (b"\xff", "does not end"),
        (b"\x2a\x05\x0a", "ends after the message"),
        (b"\x2b", "wire type 3"),
        (b"\x28\x01", "a number stands"),
        (protobuf.field(5, protobuf.field(1, "SCORE")), "1 outputs, and 0 raw contents"),
        (protobuf.field(5, protobuf.field(1, "a") + protobuf.field(2, "FP32")) + protobuf.field(6, b"123"), "3 bytes"),
        (protobuf.field(5, protobuf.field(1, "a") + protobuf.field(2, "BYTES")) + protobuf.field(6, b""), "a is BYTES"),
    ],
)
def test_what_is_no_answer_is_refused(broken: bytes, problem: str) -> None:
    """Bytes that are no message, or another one, are an error and never a wrong number."""
    with pytest.raises(ValueError, match=problem):
        messages.read_infer(broken)


@given(some.binary(max_size=64))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """Nothing but a ValueError comes of what a server may send."""
    for read in (messages.read_infer, messages.read_config, messages.read_ready):
        try:
            read(data)
        except ValueError:
            continue

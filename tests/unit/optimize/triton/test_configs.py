"""From a network and an encoder's files to the settings of Triton's models, and the plan's options."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.support import raw_onnx
from tests.support.triton_repositories import FLOAT, INT64, LOGITS, SIGNATURE, ordered, value
from undercroft.core.errors import InvalidError
from undercroft.optimize.triton.configs import check_signature, configs, lengths_of
from undercroft.optimize.triton.plan import command_line, plan_options
from undercroft.registry.inspection.onnx_signature import NetworkTensor, Signature, read_signature


def test_a_signature_is_read_from_the_file(tmp_path: Path) -> None:
    """Names, types and sizes of inputs and outputs are those of the file; a weight among the inputs is none."""
    parts = [
        value(11, "input_ids", INT64, "inputs", "tokens"),
        value(11, "weights", FLOAT, 8, 8),
        value(12, "last_hidden_state", FLOAT, "inputs", "tokens", 8),
    ]
    graph = raw_onnx.message(7, raw_onnx.tensor("weights", (8, 8)), *parts)
    file = tmp_path / "model.onnx"
    file.write_bytes(raw_onnx.number(1, 8) + graph + raw_onnx.message(8, raw_onnx.number(2, 17)))
    assert read_signature(file, "model.onnx") == Signature(
        (NetworkTensor("input_ids", "int64", ("inputs", "tokens")),),
        (NetworkTensor("last_hidden_state", "float32", ("inputs", "tokens", 8)),),
    )


def test_an_input_that_is_no_tensor(tmp_path: Path) -> None:
    """A network that takes something else than tensors is refused by the name of its input."""
    odd = raw_onnx.message(11, raw_onnx.message(1, b"items"), raw_onnx.message(2, raw_onnx.message(4)))
    file = tmp_path / "model.onnx"
    file.write_bytes(raw_onnx.number(1, 8) + raw_onnx.message(7, odd))
    with pytest.raises(InvalidError, match="'items' is no tensor"):
        read_signature(file, "model.onnx")


def _input(tensor: NetworkTensor) -> Signature:
    return replace(SIGNATURE, inputs=(tensor,))


def _output(tensor: NetworkTensor) -> Signature:
    return replace(SIGNATURE, outputs=(tensor,))


@pytest.mark.parametrize(
    ("signature", "problem"),
    [
        (_input(NetworkTensor("pixels", "float32", ("n", 3))), "it takes pixels, known are input_ids"),
        (_input(NetworkTensor("input_ids", "float32", ("n", "t"))), "expected int64 or int32 of two sizes"),
        (_input(NetworkTensor("input_ids", "int64", (1, "t"))), r"int64 \[1, t\], expected sizes that are free"),
        (_input(NetworkTensor("input_ids", "int64", ("n", 128))), "expected sizes that are free"),
        (_output(NetworkTensor("x", "int64", ("n", 8))), "expected floats"),
        (_output(NetworkTensor("x", "float32", ("n", "t", None))), "a known width"),
        (_output(NetworkTensor("x", "", ("n",))), "of a kind that is not known"),
        (replace(SIGNATURE, outputs=()), "it gives nothing"),
    ],
)
def test_networks_that_triton_cannot_batch(signature: Signature, problem: str) -> None:
    """A network with fixed sizes, or of another kind, is refused with what it is and what was expected."""
    with pytest.raises(InvalidError, match=problem):
        check_signature(signature, "mini")
    check_signature(SIGNATURE, "mini")


def test_types_are_those_of_the_network() -> None:
    """What the tokenizer gives has the type that the network takes; an input that it has not is not wired."""
    thin = Signature((NetworkTensor("input_ids", "int32", ("n", "t")),), LOGITS["rerank"].outputs)
    made = configs(replace(ordered("rerank"), signature=thin))
    kinds = {one["name"]: one["data_type"] for one in made["mini_tokenizer"]["output"]}
    assert kinds == {"input_ids": "TYPE_INT32", "attention_mask": "TYPE_INT64", "TOKENS": "TYPE_INT32"}
    steps = made["mini"]["ensemble_scheduling"]["step"]
    assert steps[0]["output_map"] == {"input_ids": "input_ids", "TOKENS": "TOKENS"}
    assert steps[0]["input_map"] == {"QUERY": "QUERY", "DOCUMENT": "DOCUMENT"}
    assert made["mini"]["output"][0] == {"name": "SCORE", "data_type": "TYPE_FP32", "dims": [1]}


def test_pooling_is_wired_where_there_are_tokens() -> None:
    """Vectors of tokens need the mask; an output that is a vector already does not."""
    assert [one["name"] for one in configs(ordered())["mini_answer"]["input"]] == ["network_output", "attention_mask"]
    flat = Signature(SIGNATURE.inputs, (NetworkTensor("sentence_embedding", "float32", ("n", 8)),))
    made = configs(replace(ordered(), signature=flat))["mini_answer"]
    assert [one["name"] for one in made["input"]] == ["network_output"]
    assert '"pooling": "none"' in made["parameters"]["undercroft"]["string_value"]


def test_tensorrt_by_plan_or_by_accelerator() -> None:
    """A plan is loaded by Triton's own backend on a GPU; else ONNX Runtime has TensorRT compute what it can."""
    plan = configs(ordered(runtime="tensorrt"))["mini_network"]
    assert (plan["backend"], plan["default_model_filename"]) == ("tensorrt", "model.plan")
    assert plan["instance_group"] == [{"kind": "KIND_GPU", "count": 1}]
    assert "optimization" not in plan
    onnx = configs(replace(ordered(), precision="f16"))["mini_network"]
    (accelerator,) = onnx["optimization"]["execution_accelerators"]["gpu_execution_accelerator"]
    assert accelerator == {"name": "tensorrt", "parameters": {"precision_mode": "FP16"}}


def test_lengths_end_with_the_models_own() -> None:
    """Texts are filled up to one of a few lengths, the last of which is the longest that the model takes."""
    assert lengths_of(512) == (16, 32, 64, 128, 256, 512)
    assert lengths_of(100) == (16, 32, 64, 100)
    assert lengths_of(16) == (16,)
    assert lengths_of(5) == (5,)


def test_the_plans_command() -> None:
    """Every batch and length that Triton may ask for is in the plan's shapes, and the precision is said."""
    options = plan_options(replace(ordered("classify", "tensorrt"), precision="f16"))
    inputs = ("input_ids", "attention_mask", "token_type_ids")
    assert options == [
        "--onnx=model.onnx",
        "--minShapes=" + ",".join(f"{name}:1x1" for name in inputs),
        "--optShapes=" + ",".join(f"{name}:8x100" for name in inputs),
        "--maxShapes=" + ",".join(f"{name}:64x100" for name in inputs),
        "--fp16",
    ]
    assert command_line(options).startswith("trtexec --onnx=model.onnx --minShapes=input_ids:1x1,")
    assert command_line(options).endswith(" --fp16 --saveEngine=model.plan")
    assert "--fp16" not in plan_options(ordered("classify", "tensorrt"))

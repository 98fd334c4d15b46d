"""Whether the models of a repository belong together, and what may lie in one."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.triton_repositories import ENCODERS, ordered, write
from undercroft.core.errors import InvalidError, UndercroftError
from undercroft.optimize.triton.configs import configs
from undercroft.registry.inspection.repository import inspect_files
from undercroft.registry.triton.repository import check_repository

_FILES = ["mini_network/1/model.onnx", "mini_tokenizer/1/tokenizer.json"]
Models = dict[str, dict[str, Any]]


def models(task: str = "embed") -> Models:
    """Settings of every model."""
    return copy.deepcopy(configs(ordered(task)))


@pytest.mark.parametrize("task", list(ENCODERS))
def test_what_we_make_belongs_together(task: str) -> None:
    """A repository of each task is taken, with what it is for and how its classes are called."""
    found = check_repository(models(task), _FILES)
    assert (found.ensemble, found.versions, found.unbuilt) == ("mini", (1,), ())
    assert (found.note.task, found.note.max_tokens, found.note.labels) == (task, 100, ENCODERS[task].labels)


def test_versions_are_folders() -> None:
    """Every version has its files; what is no number is none."""
    files = [*_FILES, "mini_network/12/model.onnx", "mini_network/old/model.onnx"]
    assert check_repository(models(), files).versions == (1, 12)
    with pytest.raises(InvalidError, match=r"version 3 has no file 'model\.onnx'"):
        check_repository(models(), [*_FILES, "mini_network/3/else.onnx"])
    with pytest.raises(InvalidError, match="it has no version"):
        check_repository(models(), ["mini_network/model.onnx"])


def _set(model: str, field: str, value: Any) -> Callable[[Models], None]:
    def change(made: Models) -> None:
        made[model][field] = value

    return change


def _step(number: int, field: str, value: Any) -> Callable[[Models], None]:
    def change(made: Models) -> None:
        made["mini"]["ensemble_scheduling"]["step"][number][field] = value

    return change


def _tensor(model: str, side: str, field: str, value: Any) -> Callable[[Models], None]:
    def change(made: Models) -> None:
        made[model][side][0][field] = value

    return change


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (_set("mini", "name", "maxi"), "expected the name of its folder"),
        (_set("mini_network", "backend", "pytorch"), "expected one of python, onnxruntime, tensorrt"),
        (_set("mini_network", "max_batch_size", -1), "max_batch_size"),
        (_set("mini_network", "max_batch_size", 8), "expected no more than that of 'mini_network'"),
        (_set("mini_network", "input", []), "input: expected tensors"),
        (_set("mini_answer", "instance_group", [{"count": 0}]), "count: expected 1 or more"),
        (_set("mini", "platform", ""), "platform: expected 'ensemble'"),
        (_set("mini", "parameters", {}), "does not say what it is for"),
        (_tensor("mini_network", "input", "data_type", "TYPE_INT32"), "at one end and TYPE_INT32"),
        (_tensor("mini_network", "output", "dims", [-1, 9]), "at the other"),
        (_tensor("mini_network", "output", "dims", [0]), "expected sizes above 0"),
        (_tensor("mini", "output", "name", "VECTOR"), "no step gives its output 'VECTOR'"),
        (_tensor("mini", "input", "name", "TEXTS"), "nothing gives TEXT"),
        (_step(1, "model_name", "else"), "is model 'else', which is not in the repository"),
        (_step(1, "input_map", {"input_ids": "input_ids"}), "it gets input_ids"),
        (_step(1, "output_map", {"other": "network_output"}), "wanted is other"),
        (_step(1, "output_map", {}), "gives last_hidden_state"),
        (_step(1, "output_map", {"last_hidden_state": "TOKENS"}), "is given twice"),
        (_step(0, "input_map", {"TEXT": "EMBEDDING"}), "nothing gives"),
    ],
)
def test_what_does_not_belong_together(change: Callable[[Models], None], problem: str) -> None:
    """Whatever Triton would refuse when it loads is refused before, with the model and the tensor."""
    made = models()
    change(made)
    with pytest.raises(InvalidError) as caught:
        check_repository(made, _FILES)
    assert caught.value.code == "bad-triton-repository"
    assert problem in str(caught.value)


def test_one_ensemble() -> None:
    """Without an ensemble, or with two, nobody knows whom to ask."""
    made = models()
    del made["mini"]
    with pytest.raises(InvalidError, match="expected one ensemble, got 0"):
        check_repository(made, _FILES)


def test_a_repository_is_inspected(tmp_path: Path) -> None:
    """Every file is looked at, and the model is known by its network and what it was made of."""
    found = inspect_files(write(tmp_path, "classify"))
    assert (found.format, found.facts.task, found.facts.context_tokens) == ("triton", "classify", 100)
    assert (found.facts.layers, found.facts.parameters, found.facts.architecture) == (3, 64, "BertModel")


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("mini_tokenizer/1/model.py", b"import os", "expected a GGUF, safetensors or ONNX file"),
        ("mini_network/1/model.plan", b"\x7fELF", "is a program"),
        ("mini_network/1/model.plan", b"something", "expected a plan of TensorRT"),
        ("mini_network/1/trtexec.options", b"--onnx=a;rm -rf /\n", "expected options of trtexec"),
        ("mini_network/1/trtexec.options", b"--loadInputs=../../etc/passwd\n", "expected options of trtexec"),
        ("mini_network/1/trtexec.options", b"", "expected options of trtexec"),
        ("mini/config.pbtxt", b"name: 'mini' platfrom: 'x'", "nearest is 'platform'"),
        ("mini_network/1/model.onnx", b"nothing", "ONNX"),
        ("config.json", b'{"auto_map": {}}', "carries-code"),
        ("run.sh", b"#!/bin/sh", "a script"),
    ],
)
def test_nothing_that_runs_gets_in(tmp_path: Path, name: str, content: bytes, problem: str) -> None:
    """A repository holds settings, networks and a tokenizer; whatever else lies in it is refused by its content."""
    files = write(tmp_path, runtime="tensorrt")
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UndercroftError, match=problem):
        inspect_files({**files, name: tmp_path / name})


def test_a_plan_may_be_built_later(tmp_path: Path) -> None:
    """A repository for TensorRT is taken with its recipe alone, and with the plan beside it."""
    files = write(tmp_path, runtime="tensorrt")
    assert inspect_files(files).format == "triton"
    plan = tmp_path / "mini_network" / "1" / "model.plan"
    plan.write_bytes(b"ftrt and more")
    assert inspect_files({**files, "mini_network/1/model.plan": plan}).format == "triton"
    del files["mini_network/1/trtexec.options"]
    with pytest.raises(InvalidError, match=r"has no file 'model\.plan'"):
        inspect_files(files)

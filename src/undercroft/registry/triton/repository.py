"""Whether the models of a Triton repository belong together, as Triton looks when it loads them. Pure.

Source: Triton's documentation on model configuration and ensembles; what these checks let through, Triton 2.51 loaded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

from pydantic import TypeAdapter, ValidationError

from undercroft.catalog.triton import NOTE, TEXTS_OF_TASK
from undercroft.core.errors import InvalidError

PLAN, PLAN_SOURCE, PLAN_OPTIONS = "model.plan", "model.onnx", "trtexec.options"
_FILE_OF_BACKEND = {"onnxruntime": PLAN_SOURCE, "tensorrt": PLAN}
_VERSION = re.compile(r"[1-9]\d{0,8}")

Tensor = tuple[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class EnsembleNote:
    """What an ensemble of ours says of itself, in its settings.

    Args:
        task: What it is for.
        max_tokens: Longest text, special tokens among it; longer ones are cut, and their length is told.
        labels: Of a classifier, by the number of its output.
    """

    task: Literal["embed", "rerank", "classify"]
    max_tokens: int
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository whose models belong together.

    Args:
        ensemble: Name of the model that clients ask.
        note: What it says of itself.
        versions: That its networks have, from the first.
        unbuilt: Models whose TensorRT plan is still to be built.
    """

    ensemble: str
    note: EnsembleNote
    versions: tuple[int, ...]
    unbuilt: tuple[str, ...]


def check_repository(configs: Mapping[str, Mapping[str, Any]], files: Collection[str]) -> Repository:
    """Looks at all models of a repository.

    Args:
        configs: Settings by the folder that each lies in, as `undercroft.registry.triton.text_format.parse` gives them.
        files: Paths of all files of the repository.

    Raises:
        InvalidError: ``bad-triton-repository``.
    """
    ensembles = [folder for folder, config in configs.items() if "ensemble_scheduling" in config]
    if len(ensembles) != 1:
        _fail("the repository", f"expected one ensemble, got {len(ensembles)}")
    unbuilt = []
    for folder, config in configs.items():
        _check_model(folder, config)
        if not _check_files(folder, config, files):
            unbuilt.append(folder)
    (ensemble,) = ensembles
    _check_ensemble(ensemble, configs)
    note = read_note(configs[ensemble])
    if note is None:
        _fail(ensemble, f"its parameter {NOTE!r} does not say what it is for")
    if tuple(_tensors(configs[ensemble], "input")) != TEXTS_OF_TASK[note.task]:
        _fail(ensemble, f"it is for {note.task} and does not take {', '.join(TEXTS_OF_TASK[note.task])}")
    versions = sorted({version for folder in configs for version in versions_of(folder, files)})
    return Repository(ensemble, note, tuple(versions), tuple(unbuilt))


def read_note(config: Mapping[str, Any]) -> EnsembleNote | None:
    """What an ensemble of ours says of itself; None where the settings are another's.

    Args:
        config: Settings of a model, of a file or as a server tells them.
    """
    try:
        told = json.loads(config["parameters"][NOTE]["string_value"])
        return TypeAdapter(EnsembleNote).validate_python(told)
    except (KeyError, TypeError, ValueError, ValidationError):
        return None


def _check_model(folder: str, config: Mapping[str, Any]) -> None:
    if config.get("name", folder) != folder:
        _fail(folder, f"its settings call it {str(config['name'])[:80]!r}, expected the name of its folder")
    if not 0 <= config.get("max_batch_size", 0) <= 2**31 - 1:
        _fail(folder, f"max_batch_size: expected 0 or more, got {config['max_batch_size']}")
    for side in ("input", "output"):
        given = config.get(side, [])
        if not given or len(_tensors(config, side)) != len(given):
            _fail(folder, f"{side}: expected tensors, each with a name of its own")
        for one in given:
            kind, dims = one.get("data_type", "TYPE_INVALID"), one.get("dims", [])
            if not one.get("name") or kind == "TYPE_INVALID":
                _fail(folder, f"{side} {one.get('name', '')!r}: expected a name and a data_type")
            if not dims or any(size != -1 and size < 1 for size in dims):
                _fail(
                    folder, f"{side} {one['name']!r}: dims: expected sizes above 0, or -1 where one is free, got {dims}"
                )
    for group in config.get("instance_group", []):
        if group.get("count", 1) < 1:
            _fail(folder, f"instance_group: count: expected 1 or more, got {group['count']}")


def _check_files(folder: str, config: Mapping[str, Any], files: Collection[str]) -> bool:
    """Whether every version has what its backend loads. A plan may still be to be built; programs come by exporting."""
    if "ensemble_scheduling" in config:
        if config.get("platform") != "ensemble":
            _fail(folder, f"platform: expected 'ensemble', got {config.get('platform')!r}")
        return True
    backend = config.get("backend", "")
    if backend == "python":
        return True
    if backend not in _FILE_OF_BACKEND:
        _fail(folder, f"backend: expected one of python, {', '.join(_FILE_OF_BACKEND)}, got {backend[:40]!r}")
    inside = {path[len(folder) + 1 :] for path in files if path.startswith(f"{folder}/")}
    versions = versions_of(folder, files)
    if not versions:
        _fail(folder, "it has no version: expected a folder that is called by a number, such as 1")
    wanted = config.get("default_model_filename", _FILE_OF_BACKEND[backend])
    missing = [version for version in versions if f"{version}/{wanted}" not in inside]
    for version in missing:
        recipe = {f"{version}/{PLAN_SOURCE}", f"{version}/{PLAN_OPTIONS}"}
        if wanted != PLAN or not recipe <= inside:
            _fail(folder, f"its version {version} has no file {wanted[:80]!r}")
    return not missing


def versions_of(folder: str, files: Collection[str]) -> list[int]:
    """The versions of a model that have files, from the first."""
    found = {path.split("/")[1] for path in files if path.startswith(f"{folder}/") and path.count("/") == 2}
    return sorted(int(one) for one in found if _VERSION.fullmatch(one))


def _check_ensemble(name: str, configs: Mapping[str, Mapping[str, Any]]) -> None:
    config = configs[name]
    there: dict[str, Tensor] = _tensors(config, "input")
    waiting = list(config["ensemble_scheduling"].get("step", []))
    unused = set(there)
    while waiting:
        ready = next((step for step in waiting if set(step.get("input_map", {}).values()) <= set(there)), None)
        if ready is None:
            lacking = sorted({one for step in waiting for one in step.get("input_map", {}).values()} - set(there))
            _fail(name, f"nothing gives {', '.join(lacking)[:120] or 'what its steps need'}")
        waiting.remove(ready)
        unused -= set(ready.get("input_map", {}).values())
        model = configs.get(ready.get("model_name", ""))
        if model is None:
            _fail(name, f"a step is model {str(ready.get('model_name', ''))[:80]!r}, which is not in the repository")
        if model.get("max_batch_size", 0) < config.get("max_batch_size", 0):
            _fail(name, f"max_batch_size: expected no more than that of {ready['model_name']!r}")
        _check_step(name, ready, model, there)
    if unused:
        _fail(name, f"no step takes {', '.join(sorted(unused))[:120]}")
    for output, wanted in _tensors(config, "output").items():
        if output not in there:
            _fail(name, f"no step gives its output {output!r}")
        _check_same(name, output, there[output], wanted)


def _check_step(name: str, step: Mapping[str, Any], model: Mapping[str, Any], there: dict[str, Tensor]) -> None:
    takes, gives = _tensors(model, "input"), _tensors(model, "output")
    inputs, outputs = step.get("input_map", {}), step.get("output_map", {})
    who = f"its step {step['model_name']!r}"
    if set(inputs) != set(takes):
        _fail(name, f"{who} takes {', '.join(sorted(takes))[:120]}, it gets {', '.join(sorted(inputs))[:120]}")
    if not outputs or set(outputs) - set(gives):
        _fail(name, f"{who} gives {', '.join(sorted(gives))[:120]}, wanted is {', '.join(sorted(outputs))[:120]}")
    for own, outer in inputs.items():
        _check_same(name, outer, there[outer], takes[own])
    for own, outer in outputs.items():
        if outer in there:
            _fail(name, f"{outer!r} is given twice")
        there[outer] = gives[own]


def _check_same(name: str, tensor: str, one: Tensor, other: Tensor) -> None:
    sizes = len(one[1]) == len(other[1]) and all(a == b or -1 in (a, b) for a, b in zip(one[1], other[1], strict=True))
    if one[0] != other[0] or not sizes:
        _fail(name, f"{tensor!r} is {one[0]} {list(one[1])} at one end and {other[0]} {list(other[1])} at the other")


def _tensors(config: Mapping[str, Any], side: str) -> dict[str, Tensor]:
    """Kind and sizes by name."""
    return {
        str(one.get("name", "")): (str(one.get("data_type", "")), tuple(one.get("dims", ())))
        for one in config.get(side, [])
    }


def _fail(model: str, problem: str) -> NoReturn:
    raise InvalidError(
        "bad-triton-repository",
        f"{model[:120]!r} cannot be loaded by Triton: {problem}",
        hint="make the repository anew: undercroft optimize convert MODEL --to triton",
    )

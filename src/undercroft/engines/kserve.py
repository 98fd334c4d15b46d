"""KServe's protocol, version 2, as Triton speaks it: which of a model's tensors take texts and give answers. Pure.

Source: https://github.com/kserve/open-inference-protocol and the answers of Triton 2.51 (seen).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from undercroft.catalog.triton import NOTE, TOKENS
from undercroft.core.errors import UnavailableError
from undercroft.engines.contract import KserveModel, Task


def path_of(model: str, what: str) -> str:
    """Where a model is asked: ``infer``, ``ready``, ``config``."""
    return f"/v2/models/{quote(model, safe='')}/{what}"


def read_model(config: Mapping[str, Any], name: str, task: Task) -> KserveModel:
    """How a model is asked, out of the settings that the server tells.

    Any model will do that takes texts of one value each, and gives a row of 32-bit floats for each of them.

    Args:
        config: As ``/v2/models/NAME/config`` gives it.
        name: What the server calls it.
        task: What it is wanted for.

    Raises:
        UnavailableError: ``wrong-model``: it takes or gives something else.
    """
    note = _note(config)
    if note.get("task", task) != task:
        raise _wrong(name, f"it is for {note['task']}, wanted is one to {task}")
    most = config.get("max_batch_size")
    if not isinstance(most, int) or most < 1:
        raise _wrong(name, "it takes no batches (max_batch_size is 0)")
    wanted = 2 if task is Task.RERANK else 1
    texts = [one["name"] for one in _tensors(config, "input") if one.get("data_type") == "TYPE_STRING"]
    if len(texts) != wanted or len(texts) != len(_tensors(config, "input")):
        raise _wrong(name, f"it takes {_shown(config, 'input')}, expected {wanted} of TYPE_STRING [1] and nothing else")
    outputs = _tensors(config, "output")
    rows = [one["name"] for one in outputs if one.get("data_type") == "TYPE_FP32" and len(one.get("dims", [])) == 1]
    if len(rows) != 1:
        raise _wrong(name, f"it gives {_shown(config, 'output')}, expected one row of TYPE_FP32 for each text")
    if task is Task.RERANK and next(one for one in outputs if one["name"] == rows[0])["dims"] != [1]:
        raise _wrong(name, f"it gives {_shown(config, 'output')}, expected one score for each document")
    return KserveModel(
        name=name,
        texts=tuple(texts),
        answer=rows[0],
        tokens=TOKENS if any(one["name"] == TOKENS for one in outputs) else None,
        most_inputs=most,
        most_tokens=int(note.get("max_tokens") or 0),
        labels=_labels(note, next(one for one in outputs if one["name"] == rows[0])) if task is Task.CLASSIFY else (),
    )


def infer_body(model: KserveModel, columns: Sequence[Sequence[str]]) -> dict[str, Any]:
    """The request for some inputs.

    Args:
        model: Which.
        columns: Texts for each of its inputs, all of one length.
    """
    outputs = [model.answer, *([model.tokens] if model.tokens else [])]
    return {
        "inputs": [
            {"name": name, "shape": [len(texts), 1], "datatype": "BYTES", "data": list(texts)}
            for name, texts in zip(model.texts, columns, strict=True)
        ],
        "outputs": [{"name": name} for name in outputs],
    }


def read_answer(model: KserveModel, answer: Any, inputs: int) -> tuple[list[list[float]], list[int] | None]:
    """The row of each input, and its tokens; None where the model does not count them.

    Args:
        model: Which.
        answer: JSON, as ``infer`` gives it.
        inputs: That were asked; count.

    Raises:
        ValueError: It is something else.
    """
    try:
        given = {one["name"]: one for one in answer["outputs"]}
        flat, shape = given[model.answer]["data"], given[model.answer]["shape"]
        tokens = given[model.tokens]["data"] if model.tokens else None
        width = shape[1] if len(shape) == 2 else 0
        is_whole = shape[0] == inputs and width > 0 and len(flat) == inputs * width
        if not is_whole or (tokens is not None and len(tokens) != inputs):
            raise ValueError(f"expected {inputs} rows, got the shape {shape}")
        return [flat[at : at + width] for at in range(0, len(flat), width)], tokens
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(f"it lacks {error}") from error


def _note(config: Mapping[str, Any]) -> dict[str, Any]:
    try:
        found = json.loads(config["parameters"][NOTE]["string_value"])
    except (KeyError, TypeError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _labels(note: Mapping[str, Any], answer: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the classes; their numbers where the model does not name all of them."""
    named, width = note.get("labels"), int(answer["dims"][0])
    if isinstance(named, list) and len(named) == width:
        return tuple(str(label) for label in named)
    if width < 1:
        raise _wrong(str(answer["name"]), "it gives any number of classes, and names none")
    return tuple(str(number) for number in range(width))


def _tensors(config: Mapping[str, Any], side: str) -> list[dict[str, Any]]:
    given = config.get(side)
    return [one for one in given if isinstance(one, dict) and "name" in one] if isinstance(given, list) else []


def _shown(config: Mapping[str, Any], side: str) -> str:
    return ", ".join(f"{one['name']} {one.get('data_type')} {one.get('dims')}" for one in _tensors(config, side))[:160]


def _wrong(name: str, problem: str) -> UnavailableError:
    return UnavailableError(
        "wrong-model",
        f"model {name!r} of the server cannot be asked: {problem}",
        hint="name the ensemble with --upstream-model, and what it is for with --task",
    )

"""From a GGUF to a folder that transformers opens: the same numbers, under its names and in its layout."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType
from gguf.quants import dequantize
from numpy.typing import NDArray

from undercroft.core.errors import InvalidError
from undercroft.core.files import write_atomically
from undercroft.optimize.quantization.mixtures import Weights
from undercroft.optimize.quantization.source import Source, read_header
from undercroft.optimize.training.architectures import (
    ROPE_FACTORS,
    Architecture,
    architecture_of,
    published_name,
    to_published,
)
from undercroft.optimize.training.tensor_files import TensorPlan, write_tensors

WEIGHTS = "model.safetensors"
PLAIN = ("F32", "F16", "BF16")
# Beside the weights: what rotary frequencies are divided by, where a model has that; our program reads it.
FACTORS = "rope_factors.json"


@dataclass(frozen=True, slots=True)
class Opened:
    """A model that transformers can open.

    Args:
        architecture: Of its network.
        values: All its weights; count.
        context_tokens: That it was trained for.
    """

    architecture: Architecture
    values: int
    context_tokens: int


def look_into(path: Path, called: str | None = None) -> Opened:
    """What opening a model would give; nothing is written.

    Args:
        path: GGUF file.
        called: What an error calls it; the file's own name where it is left out.

    Raises:
        InvalidError: ``not-trainable``: its network is not known here.
    """
    header = read_header(path)
    if called is not None:
        header = replace(header, name=called)
    architecture = architecture_of(header)
    values = sum(tensor.elements for tensor in header.tensors if tensor.name != ROPE_FACTORS)
    return Opened(architecture, values, int(architecture.config["max_position_embeddings"]))


def open_model(path: Path, folder: Path) -> Opened:
    """Lays a model out as it would be published, without a tokenizer: token ids come from llama.cpp.

    Args:
        path: GGUF file. What is quantized in it becomes F32, the rest stays as it is.
        folder: Made; as large as the file, up to eight times where that is quantized.

    Raises:
        InvalidError: ``not-trainable``: its network, or a type of its tensors, is not known here.
        OSError: The disk is full.
    """
    opened = look_into(path)
    folder.mkdir(parents=True, exist_ok=True)
    with Source(path) as source:
        tensors = {name: one for one in source.tensors if (name := published_name(one.name)) is not None}
        plans = [
            TensorPlan(name, one.kind if one.kind in PLAIN else "F32", tuple(reversed(one.shape)))
            for name, one in tensors.items()
        ]

        def make(plan: TensorPlan) -> NDArray[Any]:
            tensor = tensors[plan.name]
            rows = read_values(source, tensor) if plan.kind == "F32" else _as_kept(source, tensor)
            return to_published(rows.reshape(plan.shape), opened.architecture.turned_heads(tensor.name))

        write_tensors(folder / WEIGHTS, plans, make)
        factors = next((one for one in source.tensors if one.name == ROPE_FACTORS), None)
        if factors is not None:
            write_atomically(folder / FACTORS, json.dumps(read_values(source, factors).tolist()).encode())
    write_atomically(folder / "config.json", json.dumps(opened.architecture.config, indent=1).encode())
    return opened


def read_values(source: Source, tensor: Weights) -> NDArray[np.float32]:
    """The numbers of a tensor, shape outermost first.

    Raises:
        InvalidError: ``not-trainable``: it is kept in a type that cannot be read.
    """
    kind = GGMLQuantizationType[tensor.kind]
    shape = tuple(reversed(tensor.shape))
    raw = np.empty(source.tensor_bytes(tensor.name), np.uint8)
    source.read(tensor.name, 0, raw)
    try:
        found: NDArray[np.float32] = dequantize(raw.reshape(math.prod(shape[:-1]), -1), kind).reshape(shape)
    except NotImplementedError as error:
        raise InvalidError(
            "not-trainable", f"tensor {tensor.name!r} is kept in {tensor.kind}, which cannot be read", hint="take F16"
        ) from error
    return found


def _as_kept(source: Source, tensor: Weights) -> NDArray[Any]:
    raw = np.empty(source.tensor_bytes(tensor.name), np.uint8)
    source.read(tensor.name, 0, raw)
    return raw.view("<f2" if tensor.kind == "F16" else "<u2")

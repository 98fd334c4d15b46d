"""From trained weights back to a GGUF: metadata, vocabulary, names and order of the source, other numbers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from gguf import GGMLQuantizationType
from gguf.quants import quantize
from numpy.typing import NDArray

from undercroft.core.errors import InvalidError
from undercroft.core.files import sync_folder
from undercroft.optimize.quantization.headers import Entry, Key, encode, number_key, padded
from undercroft.optimize.quantization.mixtures import Weights
from undercroft.optimize.quantization.schemes import TYPE_NUMBERS
from undercroft.optimize.quantization.source import Source
from undercroft.optimize.training.adapters import Pair
from undercroft.optimize.training.architectures import ROPE_FACTORS, from_published, published_name
from undercroft.optimize.training.opening import PLAIN, look_into, read_values
from undercroft.optimize.training.tensor_files import TensorFile

WeightKind = Literal["F32", "F16", "BF16"]

_FILE_TYPES = {"F32": 0, "F16": 1, "BF16": 32}  # general.file_type, as llama.h numbers it
_BYTES = {"F32": 4, "F16": 2, "BF16": 2}
_FILE_TYPE = "general.file_type"
_QUANTIZED = ("general.quantization_version", "quantize.")
_MOST_F16 = 65_504.0

_Values = Callable[[Source, Weights], NDArray[np.float32]]


def write_trained(source: Path, weights: TensorFile, target: Path, *, kind: WeightKind | None = None) -> None:
    """Writes a model whose weights were trained as a whole.

    Args:
        source: GGUF that was opened.
        weights: Under transformers' names; each tensor of the source but those of positions.
        target: GGUF to write.
        kind: What matrices are kept in; None keeps each as the source has it, F16 where that is quantized.

    Raises:
        InvalidError: ``not-finite``: a number became too large for its type, or none at all.
        OSError: The disk is full.
    """
    architecture = look_into(source).architecture

    def values(opened: Source, tensor: Weights) -> NDArray[np.float32]:
        published = published_name(tensor.name)
        if published is None:
            return read_values(opened, tensor)
        return from_published(weights.read(published), architecture.turned_heads(tensor.name))

    _write(source, target, kind, values)


def write_merged(source: Path, pairs: Mapping[str, Pair], target: Path, *, kind: WeightKind | None = None) -> None:
    """Writes a model into whose weights an adapter was added.

    Args:
        source: GGUF that the adapter was made for.
        pairs: Tensor → what is added to it.
        target: GGUF to write.
        kind: As for `write_trained`.

    Raises:
        InvalidError: ``not-finite``.
        OSError: The disk is full.
    """

    def values(opened: Source, tensor: Weights) -> NDArray[np.float32]:
        found = read_values(opened, tensor)
        return found + pairs[tensor.name].change() if tensor.name in pairs else found

    _write(source, target, kind, values)


def result_bytes(source: Source, kind: WeightKind | None) -> int:
    """Bytes that the tensors of a result take, without padding."""
    return sum(math.prod(one.shape) * _BYTES[_kind_of(one, kind)] for one in source.tensors)


def _write(source: Path, target: Path, kind: WeightKind | None, values: _Values) -> None:
    with Source(source) as opened, target.open("wb") as file:
        tensors, alignment = opened.tensors, opened.alignment
        kinds = {one.name: _kind_of(one, kind) for one in tensors}
        sizes = [padded(math.prod(one.shape) * _BYTES[kinds[one.name]], alignment) for one in tensors]
        *offsets, _ = itertools.accumulate(sizes, initial=0)
        entries = [
            Entry(one.name, one.shape, TYPE_NUMBERS[kinds[one.name]], offset)
            for one, offset in zip(tensors, offsets, strict=True)
        ]
        file.write(encode(_keys(opened.keys, list(kinds.values())), entries, alignment))
        for tensor, size in zip(tensors, sizes, strict=True):
            raw = _kept(values(opened, tensor), kinds[tensor.name], tensor.name)
            file.write(raw.ljust(size, b"\0"))
    sync_folder(target.parent)


def _kind_of(tensor: Weights, kind: WeightKind | None) -> WeightKind:
    """Norms and biases stay as they are; so does a type that is not rounded, unless another is wanted."""
    own: WeightKind | None = tensor.kind if tensor.kind in PLAIN else None  # type: ignore[assignment]  # it is one
    if own is not None and (kind is None or len(tensor.shape) == 1 or tensor.name == ROPE_FACTORS):
        return own
    return kind or "F16"


def _keys(keys: list[Key], kinds: list[WeightKind]) -> list[Key]:
    halves, brains = kinds.count("F16"), kinds.count("BF16")  # norms are F32 in every file
    most = "F32" if halves == brains == 0 else "F16" if halves >= brains else "BF16"
    kept = [key for key in keys if not key.name.startswith(_QUANTIZED)]
    return [number_key(_FILE_TYPE, _FILE_TYPES[most]) if key.name == _FILE_TYPE else key for key in kept]


def _kept(values: NDArray[np.float32], kind: WeightKind, name: str) -> bytes:
    if not np.isfinite(values).all() or (kind == "F16" and np.abs(values).max() > _MOST_F16):
        raise InvalidError(
            "not-finite",
            f"tensor {name!r} has values that are no numbers, or too large for {kind}",
            hint="a lower --rate, or --type bf16",
        )
    flat = np.ascontiguousarray(values.reshape(-1, values.shape[-1]), np.float32)
    return bytes(quantize(flat, GGMLQuantizationType[kind]).tobytes())

"""Writes a student: vocabulary and metadata of its source, another shape, weights drawn by chance."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from undercroft.core.files import sync_folder
from undercroft.optimize.quantization.headers import Entry, Key, encode, number_key, padded
from undercroft.optimize.quantization.mixtures import Weights
from undercroft.optimize.quantization.schemes import TYPE_NUMBERS
from undercroft.optimize.quantization.source import Source
from undercroft.optimize.students.shaping import Shape, keys_of, tensors_of
from undercroft.optimize.training.architectures import ROPE_FACTORS
from undercroft.optimize.training.opening import read_values

_SPREAD = 0.02
_RESIDUAL = ("attn_output.weight", "ffn_down.weight")
_FILE_TYPE = "general.file_type"
# What would be said of another model.
_GONE = ("general.quantization_version", "quantize.", "general.size_label", "general.parameter_count")


def write_student(source: Path, shape: Shape, target: Path, *, seed: int, report: Callable[[int, int], None]) -> None:
    """Writes a GGUF in F32; the same seed gives the same bytes.

    Args:
        source: GGUF whose vocabulary it gets.
        shape: Of the student.
        target: File to write.
        seed: Of the weights.
        report: Told bytes done and bytes in all.

    Raises:
        OSError: The disk is full.
    """
    with Source(source) as opened, target.open("wb") as file:
        tensors, alignment = tensors_of(opened.tensors, shape), opened.alignment
        sizes = [padded(4 * math.prod(one.shape), alignment) for one in tensors]
        *offsets, total = itertools.accumulate(sizes, initial=0)
        entries = [
            Entry(one.name, one.shape, TYPE_NUMBERS["F32"], offset)
            for one, offset in zip(tensors, offsets, strict=True)
        ]
        file.write(encode(_keys(opened.keys, shape), entries, alignment))
        done = 0
        for number, (tensor, size) in enumerate(zip(tensors, sizes, strict=True)):
            is_kept = tensor.name == ROPE_FACTORS
            values = read_values(opened, tensor) if is_kept else drawn(tensor, shape.blocks, (seed, number))
            file.write(values.tobytes().ljust(size, b"\0"))
            done += size
            report(done, total)
    sync_folder(target.parent)


def drawn(tensor: Weights, blocks: int, seed: tuple[int, int]) -> NDArray[np.float32]:
    """The weights of a tensor before anything was learnt.

    Args:
        tensor: Its name and shape.
        blocks: Of the network; count.
        seed: Of the whole, and of this tensor.

    Returns:
        Shape outermost first. Norms are 1 and biases 0.

    Source:
        A. Radford et al., Language Models are Unsupervised Multitask Learners (2019), section 2.3: a normal
        distribution, smaller by the root of the number of layers where it is added to what passes through.
    """
    shape = tuple(reversed(tensor.shape))
    if tensor.name.endswith(".bias"):
        return np.zeros(shape, np.float32)
    if len(shape) == 1:
        return np.ones(shape, np.float32)
    spread = _SPREAD / math.sqrt(2 * blocks) if tensor.name.endswith(_RESIDUAL) else _SPREAD
    values: NDArray[np.float32] = np.random.default_rng(seed).standard_normal(shape, np.float32) * np.float32(spread)
    return values


def _keys(keys: list[Key], shape: Shape) -> list[Key]:
    """The source's, with the numbers of the shape in place of its own; those that it does not say stay unsaid, but for
    heads that would be taken for others."""
    own = {f".{name}": value for name, value in keys_of(shape).items()}
    found, said = [], set()
    for key in keys:
        name = next((name for name in own if key.name.endswith(name) and not key.name.startswith("general.")), None)
        if key.name == _FILE_TYPE:
            found.append(number_key(_FILE_TYPE, 0))
        elif name is not None:
            found.append(number_key(key.name, own[name]))
            said.add(name)
        elif not key.name.startswith(_GONE):
            found.append(key)
    architecture = next(key.name.partition(".")[0] for key in keys if key.name.endswith(".block_count"))
    missing = [name for name in (".attention.head_count_kv",) if name not in said]
    return [*found, *(number_key(f"{architecture}{name}", own[name]) for name in missing)]

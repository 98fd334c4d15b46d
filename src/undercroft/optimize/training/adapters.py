"""From PEFT's folder of a LoRA to the pairs that llama.cpp adds to its matrices, and to a GGUF of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import gguf
import numpy as np
from gguf import GGMLQuantizationType
from gguf.quants import quantize
from numpy.typing import NDArray

from undercroft.core.errors import InvalidError
from undercroft.optimize.training.architectures import Architecture, from_published, tensor_name
from undercroft.optimize.training.tensor_files import TensorFile

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
_A, _B = ".lora_A.weight", ".lora_B.weight"

# F16 is none of them: large activations overflow in it, and llama.cpp then computes nothing that is a number.
AdapterKind = Literal["F32", "BF16"]


@dataclass(frozen=True, slots=True)
class Pair:
    """What is added to one matrix, ``scale * b @ a``.

    Args:
        a: Shape ``(rank, columns)``.
        b: Shape ``(rows, rank)``, rows as llama.cpp has them.
        alpha: Its scale is ``alpha / rank``.
    """

    a: NDArray[np.float32]
    b: NDArray[np.float32]
    alpha: float

    def change(self) -> NDArray[np.float32]:
        """Shape ``(rows, columns)``."""
        scale = np.float32(self.alpha / len(self.a))
        found: NDArray[np.float32] = scale * (self.b @ self.a)
        return found


def read_pairs(folder: Path, architecture: Architecture) -> dict[str, Pair]:
    """The pairs of an adapter by the tensor of llama.cpp's that each changes.

    Args:
        folder: As PEFT writes it.
        architecture: Of the base.

    Raises:
        InvalidError: ``not-finite``: a number of it is none; ``not-trainable``: it changes what llama.cpp has not.
        OSError: A file is not there.
    """
    alpha = float(json.loads((folder / CONFIG).read_text(encoding="utf-8"))["lora_alpha"])
    weights = TensorFile(folder / WEIGHTS)
    pairs: dict[str, Pair] = {}
    for stored in weights.tensors:
        if not stored.endswith(_A):
            continue
        module = stored.removesuffix(_A)
        name = tensor_name(module)
        rows = from_published(weights.read(module + _B), architecture.turned_heads(name))
        pairs[name] = Pair(weights.read(stored), rows, alpha)
        if not (np.isfinite(pairs[name].a).all() and np.isfinite(rows).all()):
            raise InvalidError("not-finite", f"the adapter of {name} has no numbers in it", hint="a lower --rate")
    return pairs


def write_adapter(
    pairs: Mapping[str, Pair], architecture: Architecture, target: Path, *, name: str, base: str, kind: AdapterKind
) -> None:
    """Writes a GGUF adapter.

    Args:
        pairs: Tensor → pair; all of the same alpha.
        architecture: Of the base.
        target: File to write.
        name: What it calls itself.
        base: What its base is called.
        kind: What it is kept in.

    Raises:
        OSError: The disk is full.

    Source:
        llama.cpp, ``convert_lora_to_gguf.py`` and ``llama-adapter.cpp``.
    """
    writer = gguf.GGUFWriter(target, architecture.name)
    writer.add_type("adapter")
    writer.add_name(name)
    writer.add_base_model_count(1)
    writer.add_base_model_name(0, base)
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", next(iter(pairs.values())).alpha)
    code = GGMLQuantizationType[kind]
    for tensor in sorted(pairs):
        for part, values in (("lora_a", pairs[tensor].a), ("lora_b", pairs[tensor].b)):
            writer.add_tensor(f"{tensor}.{part}", quantize(np.ascontiguousarray(values), code), raw_dtype=code)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

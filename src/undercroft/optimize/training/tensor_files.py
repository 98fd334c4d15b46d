"""Safetensors without torch: written tensor by tensor, read by name.

Source: https://github.com/huggingface/safetensors, ``README.md``: 8 bytes length, a JSON header, the data.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType
from gguf.quants import dequantize
from numpy.typing import NDArray

from undercroft.core.files import sync_folder
from undercroft.registry.inspection.safetensors import StoredTensor, read_safetensors

_LENGTH = struct.Struct("<Q")
_BYTES = {"F32": 4, "F16": 2, "BF16": 2}
_NUMPY: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2")}


@dataclass(frozen=True, slots=True)
class TensorPlan:
    """One tensor that will be written.

    Args:
        name: Unique.
        kind: ``F32``, ``F16`` or ``BF16``.
        shape: Outermost first.
    """

    name: str
    kind: str
    shape: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        """Of its data."""
        return int(np.prod(self.shape, dtype=np.int64)) * _BYTES[self.kind]


def write_tensors(path: Path, plans: Sequence[TensorPlan], make: Callable[[TensorPlan], NDArray[Any]]) -> None:
    """Writes a file, one tensor in memory at a time.

    Args:
        path: File to write.
        plans: All of them, in order.
        make: Gives the values of one, of its shape; BF16 as the 16 bits that they are kept in.

    Raises:
        OSError: The disk is full.
    """
    entries, begin = {}, 0
    for plan in plans:
        end = begin + plan.size_bytes
        entries[plan.name] = {"dtype": plan.kind, "shape": list(plan.shape), "data_offsets": [begin, end]}
        begin = end
    header = json.dumps({"__metadata__": {"format": "pt"}, **entries}).encode()
    header += b" " * (-len(header) % 8)
    with path.open("wb") as file:
        file.write(_LENGTH.pack(len(header)) + header)
        for plan in plans:
            file.write(np.ascontiguousarray(make(plan), _NUMPY[plan.kind]).tobytes())
    sync_folder(path.parent)


class TensorFile:
    """A file, read tensor by tensor.

    Args:
        path: Of the file.

    Raises:
        InvalidError: It is damaged.
        OSError: It cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        found = read_safetensors(path, path.name)
        self.tensors: Mapping[str, StoredTensor] = {one.name: one for one in found}
        with path.open("rb") as file:
            (length,) = _LENGTH.unpack(file.read(_LENGTH.size))
        self._data = _LENGTH.size + length

    def read(self, name: str) -> NDArray[np.float32]:
        """The values of a tensor, of its shape; they are kept in F32, F16 or BF16.

        Raises:
            KeyError: There is none of that name.
        """
        stored = self.tensors[name]
        count = int(np.prod(stored.shape, dtype=np.int64))
        kind = _NUMPY[stored.dtype]
        raw = np.fromfile(self._path, kind, count, offset=self._data + stored.begin).reshape(stored.shape)
        if stored.dtype == "BF16":
            raw = dequantize(raw.view(np.uint8), GGMLQuantizationType.BF16).reshape(stored.shape)
        found: NDArray[np.float32] = raw.astype(np.float32, copy=False)
        return found

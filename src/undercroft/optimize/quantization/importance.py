"""The importance matrix: how strongly the texts of a user excite each column of a model's weights.

A quantizer rounds all weights of a block with one scale; with the matrix it errs where it matters least. The file is
the one that ``llama-imatrix`` writes, so either tool's can be given to either quantizer.

Source: ``tools/imatrix/imatrix.cpp`` and ``common/imatrix-loader.cpp`` of llama.cpp, b11549.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from undercroft.core.errors import InvalidError
from undercroft.core.files import write_atomically
from undercroft.optimize.quantization.headers import (
    DEFAULT_ALIGNMENT,
    Entry,
    encode,
    number_key,
    padded,
    take_apart,
    text_key,
    texts_key,
)
from undercroft.optimize.quantization.schemes import TYPE_NUMBERS
from undercroft.registry.inspection.gguf import GgufHeader, Tensor, read_gguf

Floats = NDArray[np.float32]

_SUMS, _COUNTS = ".in_sum2", ".counts"
_HINT = "have it collected anew from your texts: undercroft optimize quantize MODEL --importance-texts FILE"


@dataclass(frozen=True, slots=True, eq=False)
class ImportanceMatrix:
    """What was seen of the inputs of a model's matrices.

    Args:
        sums: Name of a tensor → sum over tokens of each input's square; float32, shape ``(matrices, columns)``, where
            a stack of experts has several matrices and everything else one.
        counts: Name of a tensor → tokens that were seen; float32, shape ``(matrices,)``; 0 where an expert saw none.
        datasets: Names of the texts.
        chunks: Pieces of text; count.
        chunk_tokens: Length of a piece; tokens.
        name: What the quantized model says that it was made with, such as the name of the file.

    Raises:
        InvalidError: ``bad-importance``: shapes do not belong together, or a number is negative or none.
    """

    sums: Mapping[str, Floats]
    counts: Mapping[str, Floats]
    datasets: tuple[str, ...] = ()
    chunks: int = 0
    chunk_tokens: int = 0
    name: str = "importance.gguf"

    def __post_init__(self) -> None:
        if not self.sums:
            raise _bad(self.name, "it says nothing of any tensor")
        for tensor in {*self.sums, *self.counts}:
            sums, counts = self.sums.get(tensor), self.counts.get(tensor)
            if sums is None or counts is None:
                raise _bad(self.name, f"tensor {tensor!r} has only one of sums and counts")
            if sums.ndim != 2 or counts.shape != sums.shape[:1] or not sums.size:
                raise _bad(self.name, f"tensor {tensor!r} has sums of shape {sums.shape}, counts of {counts.shape}")
            for values in (sums, counts):
                if not np.isfinite(values).all() or (values < 0).any():
                    raise _bad(self.name, f"tensor {tensor!r} has a number that is negative or infinite")

    def weights(self, tensor: str) -> Floats | None:
        """Mean square of each input; all 1 for an expert that saw nothing.

        Args:
            tensor: Name.

        Returns:
            float32, shape ``(matrices, columns)``; None where nothing is known of the tensor.
        """
        sums = self.sums.get(tensor)
        if sums is None:
            return None
        counts = np.rint(self.counts[tensor]).astype(np.float32)[:, None]
        return np.where(counts > 0, sums / np.maximum(counts, np.float32(1)), np.float32(1)).astype(np.float32)

    def check_fits(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Makes sure that it was collected on a model of this shape.

        Args:
            shapes: Name of a tensor → sizes, innermost first, of the model.

        Raises:
            InvalidError: ``importance-does-not-fit``, with the name of a tensor.
        """
        for tensor, sums in self.sums.items():
            shape = shapes.get(tensor)
            if shape is None:
                if tensor.startswith("blk."):
                    raise _misfit(self.name, f"it knows tensor {tensor!r}, which the model does not have")
                continue
            expected = (shape[2] if len(shape) > 2 else 1, shape[0])
            if sums.shape != expected and tensor not in {"token_embd.weight", "per_layer_token_embd.weight"}:
                raise _misfit(
                    self.name,
                    f"tensor {tensor!r} has {expected[0]:,} × {expected[1]:,} inputs in the model and "
                    f"{sums.shape[0]:,} × {sums.shape[1]:,} in the matrix",
                )
        if not shapes.keys() & self.sums.keys():
            raise _misfit(self.name, "none of its tensors is in the model")


def read_importance(path: Path) -> ImportanceMatrix:
    """Reads a matrix.

    Args:
        path: A GGUF file of ``llama-imatrix`` or of `write_importance`.

    Raises:
        InvalidError: ``bad-gguf``, ``bad-importance``: it is damaged, or something else.
        OSError: It cannot be read.
    """
    header = read_gguf(path, path.name, with_tokens=False)
    kind = header.text("general.type")
    if kind != "imatrix":
        raise _bad(path.name, f"expected a GGUF file of type 'imatrix', got {kind or 'none'!r}")
    _, data = take_apart(path, DEFAULT_ALIGNMENT)
    found = {tensor.name: _floats(path, data, tensor) for tensor in header.tensors}
    datasets = header.array("imatrix.datasets")
    return ImportanceMatrix(
        sums={name.removesuffix(_SUMS): values for name, values in found.items() if name.endswith(_SUMS)},
        counts={name.removesuffix(_COUNTS): v.reshape(-1) for name, v in found.items() if name.endswith(_COUNTS)},
        datasets=tuple(str(item) for item in (datasets.items or ())) if datasets else (),
        chunks=_number(header, "imatrix.chunk_count"),
        chunk_tokens=_number(header, "imatrix.chunk_size"),
        name=path.name,
    )


def write_importance(path: Path, matrix: ImportanceMatrix) -> None:
    """Writes a matrix as ``llama-imatrix`` does; the file has its name only when it is whole.

    Args:
        path: Where to.
        matrix: What to write.

    Raises:
        OSError: The disk is full, or the folder cannot be written.
    """
    keys = [
        text_key("general.type", "imatrix"),
        texts_key("imatrix.datasets", matrix.datasets),
        number_key("imatrix.chunk_count", matrix.chunks),
        number_key("imatrix.chunk_size", matrix.chunk_tokens),
    ]
    entries, data = [], bytearray()
    for tensor in sorted(matrix.sums):
        sums, counts = matrix.sums[tensor], matrix.counts[tensor]
        parts = ((_SUMS, sums, (sums.shape[1], sums.shape[0])), (_COUNTS, counts, (1, counts.shape[0])))
        for suffix, values, shape in parts:
            entries.append(Entry(tensor + suffix, shape, TYPE_NUMBERS["F32"], len(data)))
            data += values.astype("<f4").tobytes()
            data += bytes(padded(len(data), DEFAULT_ALIGNMENT) - len(data))
    write_atomically(path, encode(keys, entries, DEFAULT_ALIGNMENT) + data)


def _floats(path: Path, data: int, tensor: Tensor) -> Floats:
    if tensor.kind.name != "F32" or len(tensor.shape) > 2:
        raise _bad(path.name, f"tensor {tensor.name!r} is {tensor.kind.name} of shape {list(tensor.shape)}")
    values = np.fromfile(path, "<f4", tensor.elements, offset=data + tensor.offset)
    if values.size != tensor.elements:
        raise _bad(path.name, f"tensor {tensor.name!r} was cut off")
    return values.astype(np.float32).reshape(-1, tensor.shape[0])


def _number(header: GgufHeader, key: str) -> int:
    value = header.integer(key)
    if value is None or not 0 <= value < 2**32:
        raise _bad(header.name, f"it does not say its {key}")
    return value


def _bad(name: str, problem: str) -> InvalidError:
    return InvalidError("bad-importance", f"importance matrix {name!r} cannot be used: {problem}", hint=_HINT)


def _misfit(name: str, problem: str) -> InvalidError:
    return InvalidError(
        "importance-does-not-fit",
        f"importance matrix {name!r} was not collected on this model: {problem}",
        hint="collect it again on the model that is to be quantized",
    )

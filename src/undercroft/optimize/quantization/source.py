"""The model to be quantized: one GGUF file or all parts of a split one, read piece by piece.

Pieces are read into memory of our own. A map of the whole file would count as ours, and a file that is cut off
meanwhile would end the process.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from undercroft.core.errors import InvalidError
from undercroft.optimize.quantization.headers import DEFAULT_ALIGNMENT, Key, take_apart
from undercroft.optimize.quantization.library import Bytes
from undercroft.optimize.quantization.mixtures import Network, Weights
from undercroft.registry.inspection.gguf import GgufHeader, Tensor, read_gguf

_PART = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.IGNORECASE)
_LAYERS_LIMIT = 1024
_OF_PARTS = frozenset({"split.no", "split.count", "split.tensors.count"})


@dataclass(frozen=True, slots=True)
class _Place:
    tensor: Tensor
    file: int
    begin: int


class Source:
    """A model, open for reading from any thread; a context manager. What is made of it is one file.

    Args:
        path: The file, or the first part of a split one; the others lie beside it.

    Raises:
        InvalidError: ``bad-gguf``, ``not-a-model``: it is damaged, parts are missing, or it is no model.
        OSError: It cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stack = ExitStack()
        try:
            parts = _parts(path)
            headers = _headers(parts)
            self._header = headers[0]
            self.alignment = self._header.integer("general.alignment") or DEFAULT_ALIGNMENT
            self._places: dict[str, _Place] = {}
            self.keys: list[Key] = []
            for part, header in zip(parts, headers, strict=True):
                self._open(part, header)
            self.network = _network(self._header)
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def tensors(self) -> list[Weights]:
        """All of them, in the order of the parts."""
        return [Weights(p.tensor.name, p.tensor.shape, p.tensor.kind.name) for p in self._places.values()]

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Name of a tensor → sizes, innermost first."""
        return {name: place.tensor.shape for name, place in self._places.items()}

    @property
    def size_bytes(self) -> int:
        """Of all tensors, without padding."""
        return sum(place.tensor.size_bytes for place in self._places.values())

    def tensor_bytes(self, name: str) -> int:
        """Of one tensor, without padding."""
        return self._places[name].tensor.size_bytes

    def read(self, name: str, offset: int, into: Bytes) -> None:
        """Reads a piece of a tensor.

        Args:
            name: Of the tensor.
            offset: From its beginning; bytes.
            into: Overwritten; as much is read as it holds, all of which lies in the tensor.

        Raises:
            InvalidError: ``damaged-tensor``: the file has become shorter.
            OSError: It cannot be read.
        """
        place = self._places[name]
        read_exactly(place.file, place.begin + offset, into, name)

    def _open(self, part: Path, header: GgufHeader) -> None:
        keys, data = take_apart(part, header.integer("general.alignment") or DEFAULT_ALIGNMENT)
        self.keys = self.keys or [key for key in keys if key.name not in _OF_PARTS]
        file = os.open(part, os.O_RDONLY | os.O_CLOEXEC)
        self._stack.callback(os.close, file)
        for tensor in header.tensors:
            if tensor.name in self._places:
                raise _bad(part.name, f"tensor {tensor.name!r} is in two parts")
            self._places[tensor.name] = _Place(tensor, file, data + tensor.offset)


def read_header(path: Path) -> GgufHeader:
    """What a model says of itself, all parts of a split one together: metadata of the first, tensors of all.

    Where a tensor lies is told in its own part only; `Source` reads it.

    Args:
        path: The file, or the first part of a split one; the others lie beside it.

    Raises:
        InvalidError: ``bad-gguf``, ``not-a-model``: it is damaged, or parts are missing.
        OSError: It cannot be read.
    """
    headers = _headers(_parts(path))
    return replace(
        headers[0],
        values={key: value for key, value in headers[0].values.items() if key not in _OF_PARTS},
        tensors=tuple(tensor for header in headers for tensor in header.tensors),
        size_bytes=sum(header.size_bytes for header in headers),
    )


def read_exactly(file: int, offset: int, into: Bytes, name: str) -> None:
    """Reads a piece of a file.

    Args:
        file: Descriptor.
        offset: From the beginning of the file; bytes.
        into: Flat; overwritten, all of it.
        name: Of the tensor in which it lies, for the error.

    Raises:
        InvalidError: ``damaged-tensor``: the file ends before.
        OSError: It cannot be read.
    """
    view, done = into.data, 0
    while done < into.size:
        count = os.preadv(file, [view[done:]], offset + done)
        if not count:
            raise InvalidError(
                "damaged-tensor",
                f"tensor {name!r} ends after {offset + done:,} bytes of the file, expected {offset + into.size:,}",
                hint="bring the model's file again; this one is cut off",
            )
        done += count


def _parts(path: Path) -> list[Path]:
    match = _PART.fullmatch(path.name)
    if match is None:
        return [path]
    if int(match["number"]) != 1:
        raise _bad(path.name, "it is not the first part of a split model; give the first", code="not-a-model")
    count = int(match["count"])
    parts = [path.with_name(f"{match['stem']}-{n:05d}-of-{match['count']}{path.suffix}") for n in range(1, count + 1)]
    missing = next((part for part in parts if not part.exists()), None)
    if missing is not None:
        raise _bad(path.name, f"its part {missing.name} is not beside it")
    return parts


def _headers(parts: list[Path]) -> list[GgufHeader]:
    headers = [read_gguf(part, part.name, with_tokens=False) for part in parts]
    _check_parts(headers, len(parts))
    return headers


def _check_parts(headers: list[GgufHeader], count: int) -> None:
    first = headers[0]
    said = first.integer("split.count") or 1
    if said != count:
        raise _bad(first.name, f"it is one of {said:,} parts by its metadata, and one of {count:,} by its name")
    for number, header in enumerate(headers):
        if count > 1 and header.integer("split.no") != number:
            raise _bad(header.name, f"expected part {number + 1:,} of {count:,} by its own metadata")
    wanted, found = first.integer("split.tensors.count"), sum(len(header.tensors) for header in headers)
    if wanted is not None and wanted != found:
        raise _bad(first.name, f"expected {wanted:,} tensors in all parts, got {found:,}")


def _network(header: GgufHeader) -> Network:
    kind, architecture = header.text("general.type") or "model", header.text("general.architecture")
    if kind != "model" or architecture in (None, "clip") or not header.tensors:
        what = architecture if kind == "model" and architecture else kind
        raise _bad(header.name, f"expected a model of texts, got {what!r}", code="not-a-model")
    layers = header.integer(f"{architecture}.block_count")
    if layers is None or not 1 <= layers <= _LAYERS_LIMIT:
        raise _bad(header.name, f"{architecture}.block_count is {layers}, expected 1 to {_LAYERS_LIMIT:,}")
    heads = _first(header, f"{architecture}.attention.head_count", 0)
    return Network(
        architecture=str(architecture),
        layers=layers,
        heads=heads,
        kv_heads=_first(header, f"{architecture}.attention.head_count_kv", heads),
        experts=_first(header, f"{architecture}.expert_count", 0),
        predicting_layers=_first(header, f"{architecture}.nextn_predict_layers", 0),
    )


def _first(header: GgufHeader, key: str, default: int) -> int:
    """A count that may be given block by block; the first block's."""
    array = header.array(key)
    if array is not None:
        item = next(iter(array.items or ()), default)
        return item if isinstance(item, int) else default
    found = header.integer(key)
    return default if found is None else found


def _bad(name: str, problem: str, *, code: str = "bad-gguf") -> InvalidError:
    return InvalidError(code, f"{name} cannot be used: {problem}", hint="bring the model's files again")

"""Reads the header of a GGUF file: every length, count, offset and type is checked before it is used.

A file that passes is well formed: tensors lie one after the other inside it. Whether they make a model is said by
`undercroft.registry.inspection.gguf_model`.

Source: ``docs/gguf.md`` of ggml-org; where the reference reader (``gguf.cpp``) is stricter, so is this one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from undercroft.registry.inspection.gguf_types import TENSOR_TYPES, TensorType, ValueType
from undercroft.registry.inspection.gguf_values import Array, Value, read_text, read_values
from undercroft.registry.inspection.reading import BoundedReader, RemoteBytes

MAGIC = b"GGUF"
_HEADER_LIMIT_BYTES = 128 * 1024 * 1024  # the largest real ones have 30 MB
_KEYS_LIMIT = 65_536
_TENSORS_LIMIT = 65_536
_TENSOR_NAME_LIMIT_BYTES = 63  # the engine's own limit is 64 with the zero at the end
_DIMENSIONS_LIMIT = 4
_ELEMENTS_LIMIT = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Tensor:
    """Where a tensor lies.

    Args:
        name: Unique in its file.
        shape: 1 to 4 dimensions, innermost first, as in the file.
        kind: How elements are stored.
        offset: From the beginning of the data section; bytes.
        size_bytes: Bytes, without padding.
    """

    name: str
    shape: tuple[int, ...]
    kind: TensorType
    offset: int
    size_bytes: int

    @property
    def elements(self) -> int:
        count = 1
        for dimension in self.shape:
            count *= dimension
        return count


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """Everything in a GGUF file but the weights.

    Args:
        name: What its owner calls the file.
        version: 2 or 3.
        values: Metadata by key.
        tensors: In the order of the file.
        size_bytes: Of the whole file.
    """

    name: str
    version: int
    values: Mapping[str, Value]
    tensors: tuple[Tensor, ...]
    size_bytes: int

    def text(self, key: str) -> str | None:
        """A string value, or None where the key is missing or of another type."""
        found = self.values.get(key)
        return found.value if found and isinstance(found.value, str) else None

    def integer(self, key: str) -> int | None:
        """An integer value, or None where the key is missing or of another type."""
        found = self.values.get(key)
        if found is None or isinstance(found.value, (bool, str, float, Array)):
            return None
        return found.value

    def array(self, key: str) -> Array | None:
        """An array, or None where the key is missing or of another type."""
        found = self.values.get(key)
        return found.value if found and isinstance(found.value, Array) else None


def read_gguf(path: Path | RemoteBytes, name: str, *, with_tokens: bool = True) -> GgufHeader:
    """Reads and checks a header.

    Args:
        path: An ordinary file, or bytes elsewhere.
        name: What to call it in errors.
        with_tokens: Look at each token, as a model that is to be loaded needs; a shape does not.

    Raises:
        InvalidError: ``bad-gguf``: something in it is out of bounds, unknown, or double.
    """
    with BoundedReader(path, name=name, code="bad-gguf", what="GGUF file", limit_bytes=_HEADER_LIMIT_BYTES) as reader:
        version = _version(reader)
        tensor_count, key_count = reader.u64("the number of tensors"), reader.u64("the number of keys")
        if tensor_count > _TENSORS_LIMIT:
            reader.fail(f"expected at most {_TENSORS_LIMIT:,} tensors, got {tensor_count:,}")
        if key_count > _KEYS_LIMIT:
            reader.fail(f"expected at most {_KEYS_LIMIT:,} keys, got {key_count:,}")
        values = read_values(reader, key_count, with_tokens=with_tokens)
        alignment = _alignment(reader, values)
        tensors = _read_tensors(reader, tensor_count, alignment)
        _check_end(reader, tensors, alignment)
        return GgufHeader(name, version, values, tuple(tensors), reader.size_bytes)


def _version(reader: BoundedReader) -> int:
    magic = reader.take(4, "the magic number")
    if magic != MAGIC:
        reader.fail(f"expected it to begin with {MAGIC!r}, got {magic!r}")
    version = reader.u32("the version")
    if version in (2, 3):
        return version
    if version & 0xFFFF == 0:
        reader.fail("it is big-endian; convert it on a little-endian machine")
    reader.fail(f"expected GGUF version 2 or 3, got {version}")


def _alignment(reader: BoundedReader, values: Mapping[str, Value]) -> int:
    given = values.get("general.alignment")
    if given is None:
        return 32
    # The engine stops its process where this has another type.
    if given.kind is not ValueType.UINT32 or not isinstance(given.value, int):
        reader.fail(f"general.alignment has type {given.kind.name}, expected UINT32")
    if not 8 <= given.value <= 65_536 or given.value & (given.value - 1):
        reader.fail(f"general.alignment is {given.value:,}, expected a power of two from 8 to 65,536")
    return given.value


def _read_tensors(reader: BoundedReader, count: int, alignment: int) -> list[Tensor]:
    tensors: list[Tensor] = []
    seen: set[str] = set()
    expected_offset = 0
    for number in range(1, count + 1):
        name = read_text(reader, f"the name of tensor {number} of {count}", _TENSOR_NAME_LIMIT_BYTES)
        what = f"tensor {name!r}"
        if not name or not name.isprintable():
            reader.fail(f"tensor {number} of {count} is named {name!r}, expected printable text")
        if name in seen:
            reader.fail(f"{what} is there twice")
        seen.add(name)
        shape = _shape(reader, what)
        kind = TENSOR_TYPES.get(number_of_kind := reader.u32(what))
        if kind is None:
            reader.fail(f"{what} has type {number_of_kind}, which is not known")
        offset = reader.u64(what)
        if offset != expected_offset:
            reader.fail(f"{what} begins at byte {offset:,} of the data, expected {expected_offset:,}")
        tensor = Tensor(name, shape, kind, offset, _size_bytes(reader, what, shape, kind))
        expected_offset += -(-tensor.size_bytes // alignment) * alignment
        tensors.append(tensor)
    return tensors


def _shape(reader: BoundedReader, what: str) -> tuple[int, ...]:
    dimensions = reader.u32(what)
    if not 1 <= dimensions <= _DIMENSIONS_LIMIT:
        reader.fail(f"{what} has {dimensions:,} dimensions, expected 1 to {_DIMENSIONS_LIMIT}")
    shape = tuple(reader.u64(what) for _ in range(dimensions))
    elements = 1
    for size in shape:
        elements *= size
    if not 1 <= elements <= _ELEMENTS_LIMIT:
        reader.fail(f"{what} has the shape {list(shape)}, expected sizes of at least 1 whose product fits")
    return shape


def _size_bytes(reader: BoundedReader, what: str, shape: tuple[int, ...], kind: TensorType) -> int:
    if shape[0] % kind.block:
        reader.fail(f"{what} has rows of {shape[0]:,} elements, not a multiple of the {kind.block} of {kind.name}")
    elements = 1
    for size in shape:
        elements *= size
    size_bytes = elements // kind.block * kind.block_bytes
    if size_bytes > reader.size_bytes:
        reader.fail(f"{what} needs {size_bytes:,} bytes, the whole file has {reader.size_bytes:,}")
    return size_bytes


def _check_end(reader: BoundedReader, tensors: Sequence[Tensor], alignment: int) -> None:
    data_offset = -(-reader.position // alignment) * alignment
    for tensor in tensors:
        end = data_offset + tensor.offset + tensor.size_bytes
        if end > reader.size_bytes:
            reader.fail(
                f"tensor {tensor.name!r} ends at byte {end:,}, the file at byte {reader.size_bytes:,}: it was cut off"
            )

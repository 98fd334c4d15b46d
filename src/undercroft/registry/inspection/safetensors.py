"""Reads the header of a safetensors file.

Source: the format's specification, https://github.com/huggingface/safetensors#format, and its reference reader.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from undercroft.registry.inspection.json_files import loads
from undercroft.registry.inspection.reading import BoundedReader, RemoteBytes

# The format allows 100 MB and its hub 25 MB. Parsed JSON takes up to fifty times its size; a header of 100,000 tensors
# has 10 MB.
_HEADER_LIMIT_BYTES = 10_000_000
_TENSORS_LIMIT = 200_000
_DIMENSIONS_LIMIT = 64
_ELEMENTS_LIMIT = 2**63 - 1
_METADATA = "__metadata__"

# Bits of one element.
DTYPES: dict[str, int] = {
    "BOOL": 8,
    "U8": 8,
    "I8": 8,
    "F8_E4M3": 8,
    "F8_E5M2": 8,
    "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "F4": 4,
    "I16": 16,
    "U16": 16,
    "F16": 16,
    "BF16": 16,
    "I32": 32,
    "U32": 32,
    "F32": 32,
    "I64": 64,
    "U64": 64,
    "F64": 64,
    "C64": 64,
}


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor of a safetensors file.

    Args:
        name: Unique in its file.
        dtype: As the file calls it.
        shape: Outermost first; empty for a single number.
        begin: Offset in the data section; bytes.
        end: Where it ends there.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def elements(self) -> int:
        count = 1
        for size in self.shape:
            count *= size
        return count


def read_safetensors(path: Path | RemoteBytes, name: str) -> list[StoredTensor]:
    """Reads and checks a header.

    Returns:
        The tensors in the order of their bytes; they fill the data section without a hole.

    Raises:
        InvalidError: ``bad-safetensors``.
    """
    with BoundedReader(
        path,
        name=name,
        code="bad-safetensors",
        what="safetensors file",
        limit_bytes=_HEADER_LIMIT_BYTES + 8,
    ) as reader:
        length = reader.u64("the length of the header")
        if length > _HEADER_LIMIT_BYTES:
            reader.fail(f"its header has {length:,} bytes, expected at most {_HEADER_LIMIT_BYTES:,}")
        raw = reader.take(length, "the header")
        if not raw.startswith(b"{"):
            reader.fail(f"its header begins with {raw[:8]!r}, expected b'{{'")
        tensors = [_tensor(reader, key, entry) for key, entry in _entries(reader, raw)]
        _check_layout(reader, tensors, reader.size_bytes - 8 - length)
        return sorted(tensors, key=lambda tensor: (tensor.begin, tensor.end))


def _entries(reader: BoundedReader, raw: bytes) -> list[tuple[str, Any]]:
    try:
        header = loads(raw)
    except (ValueError, RecursionError) as error:
        reader.fail(f"its header is not JSON in UTF-8: {error}"[:200])
    if not isinstance(header, dict):
        reader.fail("its header is not a JSON object")
    metadata = header.pop(_METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        reader.fail(f"its {_METADATA} is not an object of strings")
    if not header:
        reader.fail("it holds no tensors")
    if len(header) > _TENSORS_LIMIT:
        reader.fail(f"expected at most {_TENSORS_LIMIT:,} tensors, got {len(header):,}")
    return list(header.items())


def _tensor(reader: BoundedReader, name: str, entry: Any) -> StoredTensor:
    what = f"tensor {name[:120]!r}"
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        reader.fail(f"{what} is not an object of dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    bits = DTYPES.get(dtype) if isinstance(dtype, str) else None
    if bits is None:
        reader.fail(f"{what} has the dtype {str(dtype)[:40]!r}, which is not known")
    if not _is_counts(shape) or len(shape) > _DIMENSIONS_LIMIT:
        reader.fail(f"{what} has a shape that is not a list of up to {_DIMENSIONS_LIMIT} sizes")
    if not _is_counts(offsets) or len(offsets) != 2:
        reader.fail(f"{what} has data_offsets that are not two byte counts")
    tensor = StoredTensor(name, dtype, tuple(shape), offsets[0], offsets[1])
    _check_size(reader, what, tensor, bits)
    return tensor


def _check_size(reader: BoundedReader, what: str, tensor: StoredTensor, bits: int) -> None:
    elements = 1
    for size in tensor.shape:
        elements *= size
        if elements > _ELEMENTS_LIMIT:
            reader.fail(f"{what} has a shape whose product does not fit")
    if elements * bits % 8:
        reader.fail(f"{what} does not end on a whole byte")
    if tensor.end - tensor.begin != elements * bits // 8:
        reader.fail(
            f"{what} has {tensor.end - tensor.begin:,} bytes, expected {elements * bits // 8:,} for its shape and dtype"
        )


def _is_counts(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(item, int) and not isinstance(item, bool) and item >= 0 for item in value
    )


def _check_layout(reader: BoundedReader, tensors: list[StoredTensor], data_bytes: int) -> None:
    at = 0
    for tensor in sorted(tensors, key=lambda tensor: (tensor.begin, tensor.end)):
        if tensor.begin != at:
            kind = "overlaps the one before it" if tensor.begin < at else "leaves a hole before it"
            reader.fail(f"tensor {tensor.name[:120]!r} begins at byte {tensor.begin:,}, expected {at:,}: it {kind}")
        at = tensor.end
    if at != data_bytes:
        reader.fail(f"its tensors need {at:,} bytes of data, it has {data_bytes:,}")

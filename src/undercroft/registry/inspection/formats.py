"""What a file is, by its first bytes and never by its name."""

from __future__ import annotations

import re
import struct
from enum import StrEnum
from pathlib import Path
from typing import NoReturn

from undercroft.core.errors import InvalidError, RefusedError

_HEAD_BYTES = 1024
_SAFETENSORS_HEADER_LIMIT_BYTES = 100_000_000
# ModelProto begins with its field 1, ir_version; what follows it is another field of ModelProto.
_ONNX = re.compile(rb"\x08[\x01-\x20][\x12\x1a\x22\x28\x32\x3a\x42\x72\xa2\xca]", re.DOTALL)
# FlatBuffers name their schema after the offset of the root; the digits of ExecuTorch's count versions.
_EXECUTORCH, _LITERT = re.compile(rb".{4}ET\d\d", re.DOTALL), re.compile(rb".{4}TFL3", re.DOTALL)
# Protocols 2 to 5 begin with 0x80 and their number; older ones are text that begins with an opcode.
_PICKLE = re.compile(rb"\x80[\x02-\x05]|\(?c[a-zA-Z_][\w.]*\n[a-zA-Z_]|\((dp|lp|i|t)|[(\]}]q\x00|\(K|\(X")
_TAR_MAGIC_AT = 257

_CARRY_CODE: tuple[tuple[bytes, str], ...] = (
    (b"PK\x03\x04", "a zip archive, as PyTorch and Keras write their pickles"),
    (b"PK\x05\x06", "a zip archive, as PyTorch and Keras write their pickles"),
    (b"\x93NUMPY", "a NumPy array, which may hold pickled objects"),
    (b"\x89HDF\r\n", "an HDF5 file, as Keras writes models with code in them"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ", "an xz archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
    (b"\xca\xfe\xba\xbe", "a program"),
    (b"\xcf\xfa\xed\xfe", "a program"),
    (b"#!", "a script"),
)


class Format(StrEnum):
    """Files that hold weights and nothing that runs."""

    GGUF = "gguf"
    SAFETENSORS = "safetensors"
    ONNX = "onnx"
    EXECUTORCH = "executorch"
    LITERT = "litert"
    TRITON = "triton"


def find_format(path: Path) -> Format | None:
    """The format that a file begins like; None where it is none of ours."""
    head, size = _head(path)
    if head.startswith(b"GGUF"):
        return Format.GGUF
    if _EXECUTORCH.match(head):
        return Format.EXECUTORCH
    if _LITERT.match(head):
        return Format.LITERT
    if len(head) > 8 and head[8:9] == b"{":
        (length,) = struct.unpack_from("<Q", head)
        if length <= min(size, _SAFETENSORS_HEADER_LIMIT_BYTES):
            return Format.SAFETENSORS
    # A program begins otherwise, so nothing that can run is taken for ONNX.
    return Format.ONNX if _ONNX.match(head) else None


def require_format(path: Path, name: str) -> Format:
    """The format of a file of weights.

    Raises:
        RefusedError: ``unsafe-format``: it is of a kind that can carry code.
        InvalidError: ``unknown-format``: it is nothing that is known.
    """
    found = find_format(path)
    if found is None:
        refuse_unknown(path, name)
    return found


def refuse_unknown(path: Path, name: str) -> NoReturn:
    """Says what a file is that cannot be taken."""
    head, size = _head(path)
    if size == 0:
        raise InvalidError("unknown-format", f"{name[-120:]!r} is empty", hint="get it again from where it came")
    refuse_code(path, name)
    raise InvalidError(
        "unknown-format",
        f"{name[-120:]!r} begins with {head[:8]!r}, expected a GGUF, safetensors or ONNX file",
        hint="get the model as GGUF or safetensors",
    )


def refuse_code(path: Path, name: str) -> None:
    """Refuses what can carry code, whatever it is called.

    Raises:
        RefusedError: ``unsafe-format``.
    """
    kind = _code_carrier(_head(path)[0])
    if kind is not None:
        raise RefusedError(
            "unsafe-format",
            f"{name[-120:]!r} is {kind}: loading it can run code",
            hint="get the model as GGUF or safetensors",
        )


def _code_carrier(head: bytes) -> str | None:
    for magic, kind in _CARRY_CODE:
        if head.startswith(magic):
            return kind
    if head[_TAR_MAGIC_AT : _TAR_MAGIC_AT + 5] == b"ustar":
        return "a tar archive"
    if _PICKLE.match(head):
        return "a pickle"
    return None


def _head(path: Path) -> tuple[bytes, int]:
    with path.open("rb", buffering=0) as file:
        head = file.read(_HEAD_BYTES)
        return head, file.seek(0, 2)

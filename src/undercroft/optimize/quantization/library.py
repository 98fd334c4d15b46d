"""The functions of llama.cpp that turn rows of numbers into blocks and back, called in the engine's own library.

The library is the one inside the ``xllamacpp`` wheel; it is opened without importing that package. Some of its
functions end the process when they are called wrongly, so each is guarded here, and whoever quantizes a model does so
in a process of its own.

Source: ``ggml.h`` and ``ggml-cpu.h`` of llama.cpp, b11549: ``ggml_quantize_chunk``, ``ggml_validate_row_data``,
``ggml_type_traits``, ``ggml_cpu_fp16_to_fp32``.
"""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from undercroft.core.errors import InvalidError, RefusedError, UnavailableError
from undercroft.engines.openmp import load_carried
from undercroft.hardware.measuring.matrix import library_path
from undercroft.optimize.quantization.schemes import TYPE_NUMBERS, TYPES

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]

_NEVER_IN_FILES = frozenset({"Q8_1", "Q8_K"})  # made on the way, while the engine multiplies
_REINSTALL = "pip install --force-reinstall xllamacpp"
_ROWS_FROM_FLOAT = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)


class _Traits(ctypes.Structure):
    """``struct ggml_type_traits``."""

    _fields_ = (
        ("type_name", ctypes.c_char_p),
        ("blck_size", ctypes.c_int64),
        ("blck_size_interleave", ctypes.c_int64),
        ("type_size", ctypes.c_size_t),
        ("is_quantized", ctypes.c_bool),
        ("to_float", ctypes.c_void_p),
        ("from_float_ref", ctypes.c_void_p),
    )


_SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "ggml_quantize_chunk": (
        ctypes.c_size_t,
        (
            ctypes.c_int,
            ctypes.c_void_p,
            ctypes.c_void_p,
            ctypes.c_int64,
            ctypes.c_int64,
            ctypes.c_int64,
            ctypes.c_void_p,
        ),
    ),
    "ggml_row_size": (ctypes.c_size_t, (ctypes.c_int, ctypes.c_int64)),
    "ggml_quantize_requires_imatrix": (ctypes.c_bool, (ctypes.c_int,)),
    "ggml_validate_row_data": (ctypes.c_bool, (ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t)),
    "ggml_get_type_traits": (ctypes.POINTER(_Traits), (ctypes.c_int,)),
    "ggml_cpu_init": (None, ()),
    "ggml_cpu_fp16_to_fp32": (None, (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)),
    "ggml_cpu_bf16_to_fp32": (None, (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)),
}


class Library:
    """llama.cpp's quantization functions. They hold no state, and let other Python threads run meanwhile.

    Args:
        path: Of the shared object.

    Raises:
        UnavailableError: ``no-quantizer``: it cannot be loaded, or is not the library that we know.
    """

    def __init__(self, path: Path) -> None:
        try:
            load_carried()
            self._library: Any = ctypes.CDLL(str(path))
        except OSError as error:
            raise UnavailableError(
                "no-quantizer",
                f"the engine's library {path} cannot be loaded: {error}",
                hint="undercroft doctor, which says what is missing",
            ) from error
        for name, (result, arguments) in _SIGNATURES.items():
            try:
                function = getattr(self._library, name)
            except AttributeError as error:
                raise UnavailableError(
                    "no-quantizer", f"the engine's library {path} has no function {name}", hint=_REINSTALL
                ) from error
            function.restype, function.argtypes = result, arguments
        self._to_float = {name: self._dequantizer(path, name) for name in TYPES}
        # The same numbers as by the types' own functions, which take nine times as long.
        self._library.ggml_cpu_init()
        self._to_float["F16"] = self._library.ggml_cpu_fp16_to_fp32
        self._to_float["BF16"] = self._library.ggml_cpu_bf16_to_fp32

    def _dequantizer(self, path: Path, name: str) -> Any:
        """What makes floats of a type; None for what is no weight. Checks that sizes are as we know them."""
        if name in _NEVER_IN_FILES:
            return None
        traits = self._library.ggml_get_type_traits(TYPE_NUMBERS[name]).contents
        found = (traits.type_name or b"").decode().upper(), traits.blck_size, traits.type_size
        kind = TYPES[name]
        if found != (name.upper(), kind.block, kind.block_bytes):
            raise UnavailableError(
                "no-quantizer",
                f"the engine's library {path} has type {found[0] or 'without a name'} with {found[2]} bytes for "
                f"{found[1]} values where {name} with {kind.block_bytes} for {kind.block} is expected",
                hint=_REINSTALL,
            )
        return _ROWS_FROM_FLOAT(traits.to_float) if traits.to_float else None

    def row_bytes(self, kind: str, columns: int) -> int:
        """Bytes of one row.

        Args:
            kind: Name of the type.
            columns: Values in a row; a multiple of the type's block.

        Raises:
            InvalidError: ``row-does-not-fit``: it is none.
        """
        if columns < 1 or columns % TYPES[kind].block:
            raise InvalidError(
                "row-does-not-fit",
                f"a row of {kind} has a multiple of {TYPES[kind].block} values, got {columns:,}",
                hint="choose a type of shorter blocks, such as Q8_0",
            )
        return int(self._library.ggml_row_size(TYPE_NUMBERS[kind], columns))

    def can_read(self, kind: str) -> bool:
        """Whether values of this type can be turned into floats."""
        return kind == "F32" or self._to_float[kind] is not None

    def quantize(self, kind: str, rows: Floats, importance: Floats | None, into: Bytes) -> None:
        """Turns rows into blocks.

        Args:
            kind: Name of the type to make.
            rows: Finite values; shape ``(rows, columns)``, contiguous.
            importance: One weight a column, finite and not negative; shape ``(columns,)``.
            into: Shape ``(rows, row_bytes(kind, columns))``, contiguous; overwritten.

        Raises:
            RefusedError: ``needs-importance``: the type cannot be made without it.
            InvalidError: ``row-does-not-fit``, ``bad-numbers``: the values cannot be held by the type.
        """
        count, columns = rows.shape
        if importance is None and self._library.ggml_quantize_requires_imatrix(TYPE_NUMBERS[kind]):
            raise RefusedError(
                "needs-importance",
                f"{kind} cannot be made without an importance matrix",
                hint="name texts of your own with --importance-texts FILE, or choose Q2_K",
            )
        expected = (count, self.row_bytes(kind, columns))
        is_contiguous = rows.flags.c_contiguous and into.flags.c_contiguous
        if into.shape != expected or not is_contiguous or (importance is not None and importance.shape != (columns,)):
            raise InvalidError(
                "row-does-not-fit",
                f"{count:,} rows of {columns:,} values make {expected} bytes of {kind}, got room of shape {into.shape}",
            )
        weights = None if importance is None else np.ascontiguousarray(importance)
        written = self._library.ggml_quantize_chunk(
            TYPE_NUMBERS[kind],
            rows.ctypes.data,
            into.ctypes.data,
            0,
            count,
            columns,
            None if weights is None else weights.ctypes.data,
        )
        if written != into.nbytes or not self.is_valid(kind, into):
            raise InvalidError("bad-numbers", f"the values cannot be held by {kind}", hint="choose BF16 or Q8_0")

    def dequantize(self, kind: str, blocks: Bytes, into: Floats) -> None:
        """Turns blocks into floats.

        Args:
            kind: Name of the type.
            blocks: Whole blocks, contiguous.
            into: As many values as they hold, contiguous; overwritten.

        Raises:
            InvalidError: ``row-does-not-fit``, or ``unreadable-type``: the type holds no weights.
        """
        size = TYPES[kind]
        if blocks.nbytes % size.block_bytes or blocks.nbytes // size.block_bytes * size.block != into.size:
            raise InvalidError(
                "row-does-not-fit", f"{blocks.nbytes:,} bytes of {kind} are not {into.size:,} values", hint=None
            )
        if kind == "F32":
            into.reshape(-1).view(np.uint8)[:] = blocks.reshape(-1)
            return
        function = self._to_float[kind]
        if function is None:
            raise InvalidError(
                "unreadable-type",
                f"{kind} holds no weights that could be stored in another type",
                hint="convert the model again to F16 or BF16",
            )
        function(blocks.ctypes.data, into.ctypes.data, into.size)

    def is_valid(self, kind: str, blocks: Bytes) -> bool:
        """Whether no value, and no scale of a block, is infinite or not a number."""
        if kind == "F32":
            return bool(np.isfinite(blocks.reshape(-1).view(np.float32)).all())
        return bool(self._library.ggml_validate_row_data(TYPE_NUMBERS[kind], blocks.ctypes.data, blocks.nbytes))


@functools.cache
def open_library() -> Library:
    """The library of the installed engine.

    Raises:
        UnavailableError: ``no-quantizer``.
    """
    try:
        path = library_path()
    except OSError as error:
        raise UnavailableError("no-quantizer", str(error), hint="pip install xllamacpp") from error
    return Library(path)

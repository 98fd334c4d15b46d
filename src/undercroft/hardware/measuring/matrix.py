"""Matrix products with the engine's own kernels (ggml), per type of weights.

``python -m undercroft.hardware.measuring.matrix '{"threads": 2, …}'`` prints the figures as JSON; the engine's library
is loaded in a process of its own, because it brings OpenMP and threads with it. Weights lie as in their file: kernels
that the engine gets by repacking them are not in the figures, so a prompt may be computed faster than they say.

Source: ggml.h, the public C interface; numbers of types are those of the GGUF format.
"""

from __future__ import annotations

import array
import ctypes
import importlib.util
import json
import random
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

_F32 = 0
TYPES = {"f32": 0, "f16": 1, "bf16": 30, "q8_0": 8, "q6_K": 14, "q4_K": 12, "q4_0": 2}
_WIDTH = 4096
_SLACK_BYTES = 64 * 1024**2
_LONGEST_ROUNDS = 24


@dataclass(frozen=True, slots=True)
class Task:
    """What to measure.

    Args:
        threads: To compute with.
        types: Names out of `TYPES`.
        batch_tokens: Columns of the second matrix: tokens of a prompt that are computed in one piece.
        vector_bytes: Of weights for a product with one token; several times the last cache.
        seconds: For each figure, about.
    """

    threads: int
    types: tuple[str, ...]
    batch_tokens: int
    vector_bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Figure:
    """One product, computed several times.

    Args:
        type: Of the weights.
        columns: Tokens.
        rows: Of the weights, 4,096 wide.
        weights_bytes: Of the weights.
        seconds: Of each time, the shortest first.
    """

    type: str
    columns: int
    rows: int
    weights_bytes: int
    seconds: tuple[float, ...]

    @property
    def operations(self) -> int:
        """Of one product; a multiply-add is two."""
        return 2 * self.rows * _WIDTH * self.columns


class _Parameters(ctypes.Structure):
    """``struct ggml_init_params``."""

    _fields_ = (("mem_size", ctypes.c_size_t), ("mem_buffer", ctypes.c_void_p), ("no_alloc", ctypes.c_bool))


def library_path() -> Path:
    """The engine's shared object.

    Raises:
        OSError: It is not installed.
    """
    found = importlib.util.find_spec("xllamacpp")
    folders = list(found.submodule_search_locations or []) if found else []
    paths = [path for folder in folders for path in sorted(Path(folder).glob("*.so"))]
    if not paths:
        raise OSError("the engine's library (xllamacpp) is not installed")
    return paths[0]


def load(path: Path) -> Any:
    """The library with the signatures of what we call.

    Raises:
        OSError: It cannot be loaded, or lacks a function.
    """
    library = ctypes.CDLL(str(path))
    pointer, count, number = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
    signatures: dict[str, tuple[Any, tuple[Any, ...]]] = {
        "ggml_cpu_init": (None, ()),
        "ggml_init": (pointer, (_Parameters,)),
        "ggml_free": (None, (pointer,)),
        "ggml_row_size": (ctypes.c_size_t, (number, count)),
        "ggml_new_tensor_2d": (pointer, (pointer, number, count, count)),
        "ggml_get_data": (pointer, (pointer,)),
        "ggml_mul_mat": (pointer, (pointer, pointer, pointer)),
        "ggml_new_graph": (pointer, (pointer,)),
        "ggml_build_forward_expand": (None, (pointer, pointer)),
        "ggml_graph_compute_with_ctx": (number, (pointer, pointer, number)),
        "ggml_quantize_chunk": (ctypes.c_size_t, (number, pointer, pointer, count, count, count, pointer)),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name, None)
        if function is None:
            raise OSError(f"{path} has no {name}")
        function.restype, function.argtypes = result, arguments
    library.ggml_cpu_init()
    return library


def run(task: Task, path: Path | None = None) -> list[Figure]:
    """Computes all products of a task; types that give a wrong result or cannot be computed are left out."""
    library = load(path or library_path())
    figures = []
    for name in task.types:
        row_bytes = int(library.ggml_row_size(TYPES[name], _WIDTH))
        for columns, rows in ((task.batch_tokens, _WIDTH), (1, max(_WIDTH, task.vector_bytes // row_bytes))):
            seconds = _times(library, TYPES[name], rows, columns, task)
            if seconds:
                figures.append(Figure(name, columns, rows, rows * row_bytes, tuple(sorted(seconds))))
    return figures


def _times(library: Any, kind: int, rows: int, columns: int, task: Task) -> list[float]:
    """Seconds of each time; empty where the result was wrong."""
    row_bytes = int(library.ggml_row_size(kind, _WIDTH))
    # A computation takes its scratch memory out of the context and does not give it back.
    scratch = _LONGEST_ROUNDS * (4 * _WIDTH * columns + 1024**2)
    size = rows * row_bytes + 4 * columns * (_WIDTH + rows) + scratch + _SLACK_BYTES
    context = library.ggml_init(_Parameters(size, None, False))
    if not context:
        return []
    try:
        weights = library.ggml_new_tensor_2d(context, kind, _WIDTH, rows)
        tokens = library.ggml_new_tensor_2d(context, _F32, _WIDTH, columns)
        row, token = _values(1), _values(2)
        _fill(library, kind, library.ggml_get_data(weights), row, rows)
        _fill(library, _F32, library.ggml_get_data(tokens), token, columns)
        product = library.ggml_mul_mat(context, weights, tokens)
        graph = library.ggml_new_graph(context)
        library.ggml_build_forward_expand(graph, product)
        seconds = _repeat(library, context, graph, task)
        result = ctypes.c_float.from_address(library.ggml_get_data(product)).value
        return seconds if is_close(result, row, token) else []
    finally:
        library.ggml_free(context)


def _repeat(library: Any, context: int, graph: int, task: Task) -> list[float]:
    library.ggml_graph_compute_with_ctx(context, graph, task.threads)  # threads and pages are there after the first
    seconds: list[float] = []
    while len(seconds) < _LONGEST_ROUNDS - 1 and (len(seconds) < 5 or sum(seconds) < task.seconds):
        begun = time.perf_counter()
        library.ggml_graph_compute_with_ctx(context, graph, task.threads)
        seconds.append(time.perf_counter() - begun)
    return seconds


def is_close(result: float, row: array.array[float], token: array.array[float]) -> bool:
    """Whether one value of the product is what it should be, within what a 4-bit type loses."""
    expected = sum(a * b for a, b in zip(row, token, strict=True))
    scale = sum((a * b) ** 2 for a, b in zip(row, token, strict=True)) ** 0.5
    return bool(abs(result - expected) <= 0.5 * scale)


def _values(seed: int) -> array.array[float]:
    chance = random.Random(seed)
    return array.array("f", (chance.gauss(0.0, 1.0) for _ in range(_WIDTH)))


def _fill(library: Any, kind: int, data: int, row: array.array[float], rows: int) -> None:
    """The same row everywhere: what the values are does not change how long a product takes."""
    row_bytes = int(library.ggml_row_size(kind, _WIDTH))
    library.ggml_quantize_chunk(kind, row.buffer_info()[0], data, 0, 1, _WIDTH, None)
    filled = 1
    while filled < rows:
        count = min(filled, rows - filled)
        ctypes.memmove(data + filled * row_bytes, data, count * row_bytes)
        filled += count


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    print(json.dumps([asdict(figure) for figure in run(Task(**{**given, "types": tuple(given["types"])}))]))

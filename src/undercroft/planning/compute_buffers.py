"""Bytes that llama.cpp needs while it computes one piece of a prompt. Pure.

Three parts: the buffer of the graph, whose size ggml's allocator decides (`undercroft.planning.compute_graph`); on a
processor the work buffer, where a product of matrices first writes its input in the type that the weights' type is
multiplied with; and there, for some types, a tile of 512 KiB for each thread.

Source: ``ggml_graph_plan`` of ``ggml-cpu.c``, ``ggml_tiled_wdata_size`` of ``ggml-cpu/tiled``, ``work_size`` of
``ggml-cpu/repack.cpp`` in llama.cpp, 2026-10.
"""

from __future__ import annotations

from functools import lru_cache

from undercroft.catalog.shapes import ModelShape
from undercroft.planning.compute_graph import Piece, graph_of
from undercroft.planning.graph_allocator import BufferSize
from undercroft.planning.weights import ShapeKey

# Weights of these types are multiplied with single-precision, of others with half-precision or 8-bit values.
_WORK_BYTES = {"F32": 0.0, "F16": 2.0, "BF16": 2.0}
_WORK_BYTES_LEGACY, _WORK_BYTES_K = 34 / 32, 292 / 256
# Which token goes to which expert, for each expert as if all came to it.
_ROUTE_BYTES = 8
_TILE_BYTES = 512 * 1024
_UNTILED = frozenset({"F32", "F16", "BF16", "Q8_0", "Q5_0", "Q5_1", "Q4_0", "Q4_1", "IQ4_NL", "MXFP4", "NVFP4"})


def graph_buffer(model: ModelShape, piece: Piece) -> BufferSize:
    """The buffer of the graph.

    Args:
        model: Its shape.
        piece: What is computed together.
    """
    return _graph_buffer(ShapeKey(model), piece)


@lru_cache(maxsize=4096)
def _graph_buffer(key: ShapeKey, piece: Piece) -> BufferSize:
    return graph_of(key.model, piece).buffer_size()


def work_buffer_bytes(model: ModelShape, *, tokens: int, weight_type: str, threads: int) -> int:
    """Bytes of a processor's work buffer.

    Args:
        model: Its shape.
        tokens: Computed together.
        weight_type: Of most matrices: ``Q4_K`` …
        threads: That compute; 0 is not known and counts as one.
    """
    work = int(_bytes_of_a_value(weight_type) * tokens * _longest_row(model))
    if model.experts is not None:
        work += _ROUTE_BYTES * tokens * model.experts.used * model.experts.count
    return work + (0 if weight_type in _UNTILED else _TILE_BYTES * max(threads, 1))


def _bytes_of_a_value(weight_type: str) -> float:
    is_wide = weight_type.endswith("_K") or weight_type.startswith(("IQ1", "IQ2", "IQ3", "IQ4_XS", "TQ"))
    return _WORK_BYTES.get(weight_type, _WORK_BYTES_K if is_wide else _WORK_BYTES_LEGACY)


def _longest_row(model: ModelShape) -> int:
    experts = model.experts
    routed = experts.feed_forward * experts.used if experts is not None else 0
    return max(model.feed_forward, routed, model.width, model.heads * model.head_dim)

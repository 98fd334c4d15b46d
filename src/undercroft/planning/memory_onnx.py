"""Memory of a model in ONNX Runtime: of an encoder, and of one that generates with onnxruntime-genai. Pure.

Weights are read into memory (no mapping). While they are read, the largest tensor is there twice. Activations lie in an
arena that keeps what it once took: the first run takes piece by piece, and from the second run on one planned block
lies beside it.

Source: ``onnxruntime/core/framework`` (arena, memory patterns) of ONNX Runtime 1.31; compared with encoders in single
precision on Linux x86-64, see ``docs/guide/memory-forecast.md``. Other precisions are computed, not measured.

Of a model that generates the matrices are repacked into private memory and the table of rows stays mapped; each slot
has its cache from the start, in single precision, and prompts are computed in pieces. Measured with onnxruntime-genai
0.18 and a Llama of 125 million weights in F32 and INT4.
"""

from __future__ import annotations

from dataclasses import replace

from undercroft.catalog.shapes import ModelShape
from undercroft.core.errors import InvalidError
from undercroft.planning.forecasts import MemoryForecast, Term, Workload
from undercroft.planning.memory_cache import cache_bytes_per_token
from undercroft.planning.targets import Target
from undercroft.planning.weights import TensorShape, tensor_shapes

_MIB = 1024**2
# Measured: Python with numpy, the library, a session; and what of them is mapped from files.
_RUNTIME_BYTES, _LIBRARY_BYTES = 30 * _MIB, 38 * _MIB
_ARENA_RUNS = 2
_FLOAT_BYTES = 4
# The process that answers and the one that computes, with their libraries; tokens of one piece of a prompt.
_GENERATING_RUNTIME_BYTES, _GENERATING_LIBRARY_BYTES = 62 * _MIB, 68 * _MIB
_PIECE_TOKENS = 64

# Quantization → bytes of a value in matrices, and in tables of rows, which are left as they are in 8 and 4 bits.
VALUE_BYTES: dict[str, tuple[float, float]] = {
    "F32": (4.0, 4.0),
    "F16": (2.0, 2.0),
    "INT8": (1.0, 4.0),
    "INT4": (0.5 + 4 / 32, 4.0),
}
# The builder's mix of 4 and 8 bits, and a scale for each 32 weights.
_GENERATING_VALUE_BYTES = {**VALUE_BYTES, "INT8": (1 + 4 / 32, 4.0), "INT4": (0.85, 4.0)}
_ALIASES = {"": "F32", "FP32": "F32", "FP16": "F16", "Q8_0": "INT8", "Q4_0": "INT4"}
_TABLES = ("token_embd.weight", "position_embd.weight", "token_types.weight")
_SOURCE = "onnxruntime/core/framework: session state, arena, memory patterns"
_MEASURED = "measured with ONNX Runtime 1.31"
_GENAI = "measured with onnxruntime-genai 0.18"


def forecast_onnx(model: ModelShape, workload: Workload, target: Target) -> MemoryForecast:
    """Every term of a model's memory on the host.

    Args:
        model: Its shape.
        workload: Of an encoder ``slots`` texts of ``context_tokens`` tokens in one batch; else slots with such room.
        target: Where; the host is taken.

    Raises:
        InvalidError: ``bad-workload`` or ``unknown-quantization``.
    """
    if min(workload.context_tokens, workload.slots) < 1:
        raise InvalidError(
            "bad-workload",
            f"expected at least 1 context token and slot, got {workload.context_tokens} and {workload.slots}",
        )
    name = workload.quantization.strip().upper()
    sizes = (VALUE_BYTES if _is_encoder(model, workload) else _GENERATING_VALUE_BYTES).get(_ALIASES.get(name, name))
    if sizes is None:
        raise InvalidError(
            "unknown-quantization",
            f"expected a quantization of ONNX Runtime, got {workload.quantization[:40]!r}; "
            f"known are {', '.join(VALUE_BYTES)}",
        )
    host, tensors = target.host.id, tensor_shapes(model)
    if not _is_encoder(model, workload):
        return _generating(model, workload, host, sizes, name or "F32")
    weights = sum(_tensor_bytes(tensor, sizes) for tensor in tensors)
    largest = max(_tensor_bytes(tensor, sizes) for tensor in tensors)
    arena = _activation_bytes(model, workload) * _ARENA_RUNS
    tokens = workload.slots * workload.context_tokens
    formula = (
        f"arena for {tokens:,} tokens in one batch, twice" if arena >= largest else "the largest tensor, while read"
    )
    found = [
        Term("weights", host, weights, False, f"{name or 'F32'} of {len(tensors)} tensors, read whole", _SOURCE),
        Term("compute buffers", host, max(arena, largest), False, formula, _SOURCE),
        Term("runtime", host, _RUNTIME_BYTES, False, "process and session", _MEASURED),
        Term("runtime", host, _LIBRARY_BYTES, True, "program and libraries, mapped", _MEASURED),
    ]
    return MemoryForecast(terms=tuple(term for term in found if term.size_bytes > 0), gpu_layers=0)


def _is_encoder(model: ModelShape, workload: Workload) -> bool:
    return model.is_encoder or workload.is_embedding


def _generating(
    model: ModelShape, workload: Workload, host: str, sizes: tuple[float, float], name: str
) -> MemoryForecast:
    tensors = tensor_shapes(model)
    tables = [one for one in tensors if one.name in _TABLES]
    matrices = sum(_tensor_bytes(one, sizes) for one in tensors if one.name not in _TABLES)
    if model.is_tied:
        # Both ends share one table, which is written as a matrix, too.
        matrices += sum(int(one.elements * sizes[0]) for one in tables)
    tokens = workload.slots * workload.context_tokens
    cache = 2 * cache_bytes_per_token(model, "f16") * tokens
    piece = replace(workload, slots=1, context_tokens=min(_PIECE_TOKENS, workload.context_tokens))
    buffers = _ARENA_RUNS * _activation_bytes(model, piece)
    found = [
        Term("weights", host, matrices, False, f"{name}, repacked", _GENAI),
        Term("weights", host, sum(int(4 * one.elements) for one in tables), True, "tables of rows, mapped", _GENAI),
        Term("kv cache", host, cache, False, f"{tokens:,} tokens, f32, from the start", _GENAI),
        Term("compute buffers", host, buffers, False, f"{_PIECE_TOKENS} tokens of a prompt, twice", _GENAI),
        Term("runtime", host, _GENERATING_RUNTIME_BYTES, False, "two processes", _GENAI),
        Term("runtime", host, _GENERATING_LIBRARY_BYTES, True, "programs and libraries, mapped", _GENAI),
    ]
    return MemoryForecast(terms=tuple(term for term in found if term.size_bytes > 0), gpu_layers=0)


def _tensor_bytes(tensor: TensorShape, sizes: tuple[float, float]) -> int:
    if len(tensor.shape) < 2:
        return tensor.elements * _FLOAT_BYTES
    return int(tensor.elements * sizes[tensor.name in _TABLES])


def _activation_bytes(model: ModelShape, workload: Workload) -> int:
    """Floats alive in one block: scores of all pairs of tokens and projections, or the feed-forward part."""
    tokens = workload.slots * workload.context_tokens
    attention = 2 * model.heads * workload.context_tokens + 4 * model.heads * model.head_dim
    inner = (3 if model.is_gated else 2) * model.feed_forward + 2 * model.width
    return tokens * max(attention, inner) * _FLOAT_BYTES

"""How much memory a model takes, term by term. Pure.

Each engine keeps its memory in its own way; see `memory_llamacpp`, `memory_vllm` and `memory_onnx`.
"""

from __future__ import annotations

from collections.abc import Callable

from undercroft.catalog.shapes import ModelShape
from undercroft.core.errors import InvalidError
from undercroft.planning.forecasts import MemoryForecast, Workload
from undercroft.planning.memory_llamacpp import forecast_llamacpp
from undercroft.planning.memory_onnx import forecast_onnx
from undercroft.planning.memory_vllm import forecast_vllm
from undercroft.planning.targets import Target

_FORECASTS: dict[str, Callable[[ModelShape, Workload, Target], MemoryForecast]] = {
    "llama.cpp": forecast_llamacpp,
    "vllm": forecast_vllm,
    "onnxruntime": forecast_onnx,
}


def forecast_memory(model: ModelShape, workload: Workload, target: Target) -> MemoryForecast:
    """Memory of one replica, by terms and pools.

    Args:
        model: Its shape.
        workload: How it is to be run.
        target: Where; the sum of a pool may be above what the pool has.

    Raises:
        InvalidError: ``unknown-engine``, ``bad-workload`` or ``unknown-quantization``.
    """
    forecast = _FORECASTS.get(workload.engine)
    if forecast is None:
        raise InvalidError(
            "unknown-engine", f"expected one of {', '.join(_FORECASTS)}, got {workload.engine[:40]!r} to plan for"
        )
    return forecast(model, workload, target)

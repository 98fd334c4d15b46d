"""The engines there are. Light to import: an engine's own libraries are loaded in its process only."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from undercroft.core.settings import EngineSettings
from undercroft.engines.contract import Engine
from undercroft.engines.external import External
from undercroft.engines.llamacpp import LlamaCpp
from undercroft.engines.onnxruntime import OnnxRuntime
from undercroft.engines.tensorrt_llm import TensorRtLlm
from undercroft.engines.triton import Triton
from undercroft.engines.vllm import Vllm

ENGINES: Mapping[str, Callable[[EngineSettings], Engine]] = {
    one.name: one for one in (LlamaCpp, Vllm, OnnxRuntime, Triton, TensorRtLlm, External)
}


def engines(settings: EngineSettings) -> dict[str, Engine]:
    """Each of them, made with the settings, by its name."""
    return {name: make(settings) for name, make in ENGINES.items()}

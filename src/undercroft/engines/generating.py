"""What engines that generate ask of a replica's spec alike. Pure."""

from __future__ import annotations

from pathlib import Path

from undercroft.core.errors import InvalidError
from undercroft.engines.contract import EngineSpec, Task


def check_generating(spec: EngineSpec, *, engine: str) -> Path:
    """Refuses what neither llama.cpp nor vLLM does.

    Args:
        spec: What to serve.
        engine: Its name, for the error.

    Returns:
        Where the model lies.

    Raises:
        InvalidError: No model, a task that they do not do, or a context or a number of slots below 1.
    """
    if spec.model_path is None:
        raise InvalidError("no-model", f"deployment {spec.name!r} needs a model for engine {engine!r}, got none")
    if spec.task is Task.CLASSIFY:
        raise InvalidError(
            "wrong-task",
            f"deployment {spec.name!r}: engine {engine!r} does not classify",
            hint="undercroft optimize convert MODEL --to onnx",
        )
    if spec.context_tokens < 1 or spec.slots < 1:
        raise InvalidError(
            "bad-engine-settings",
            f"deployment {spec.name!r} expected at least 1 context token and 1 slot, "
            f"got {spec.context_tokens} and {spec.slots}",
        )
    return spec.model_path

"""The engines that there are, and which format of a model each runs. Data; it is said here and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

from undercroft.core.errors import InvalidError

EngineName = Literal["llama.cpp", "vllm", "onnxruntime", "triton", "tensorrt-llm", "external"]
ENGINE_NAMES: tuple[EngineName, ...] = get_args(EngineName)
# Servers that somebody else runs: they are attached by URL, and take no model of ours.
ATTACHED: frozenset[EngineName] = frozenset({"triton", "tensorrt-llm", "external"})

# The engine of a format, where nobody names one. A format has one; what is attached runs what it was given elsewhere.
ENGINE_OF_FORMAT: Mapping[str, EngineName] = {"gguf": "llama.cpp", "safetensors": "vllm", "onnx": "onnxruntime"}


def find_engine(name: str) -> EngineName:
    """The engine of a name.

    Raises:
        InvalidError: ``unknown-engine``.
    """
    found = next((one for one in ENGINE_NAMES if one == name), None)
    if found is None:
        raise InvalidError(
            "unknown-engine",
            f"expected one of {', '.join(ENGINE_NAMES)}, got {name[:40]!r}",
            hint="undercroft engine list",
        )
    return found


def engine_of(model: str, model_format: str) -> EngineName:
    """The engine that runs a model.

    Args:
        model: Its name, for the error.
        model_format: ``gguf``, ``safetensors`` or ``onnx``.

    Raises:
        InvalidError: ``not-servable``: no engine here runs the format.
    """
    found = ENGINE_OF_FORMAT.get(model_format)
    if model_format == "triton":
        raise InvalidError(
            "not-servable",
            f"model {model!r} is a Triton model repository, which a Triton server serves and no engine here",
            hint=f"undercroft model export {model} FOLDER, and attach what serves it: undercroft engine list",
        )
    if found is None:
        known = " or ".join(ENGINE_OF_FORMAT)
        raise InvalidError(
            "not-servable",
            f"model {model!r} is {model_format}, expected {known}, which is what the engines of this version run",
            hint="pull it as one of these",
        )
    return found


def check_runs(engine: EngineName, model: str, model_format: str) -> None:
    """Makes sure that an engine runs a model's format.

    Args:
        engine: Which was asked for.
        model: Name of the model, for the error.
        model_format: ``gguf``, ``safetensors`` or ``onnx``.

    Raises:
        InvalidError: ``wrong-engine``: another engine runs it. ``not-servable``: none does.
    """
    right = engine_of(model, model_format)
    if right != engine:
        raise InvalidError(
            "wrong-engine",
            f"model {model!r} is {model_format}, which {right} runs; it was asked for with engine {engine!r}",
            hint=f"leave --engine out, or say --engine {right}",
        )

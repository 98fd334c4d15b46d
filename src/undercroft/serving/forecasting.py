"""How much memory a replica will take, before it is started. Reads the model's shape; the arithmetic is in planning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from undercroft.engines.contract import EngineSpec
from undercroft.engines.memory_limit import KV_BYTES_PER_VALUE
from undercroft.registry.entries import Model
from undercroft.serving.ledger import ReplicaForecast
from undercroft.serving.specs import Template

_RUNTIME_BYTES = 160 * 1024**2


def guess(model: Model, spec: EngineSpec) -> ReplicaForecast:
    """From the size of the files and what facts there are, for a model whose shape cannot be read.

    Args:
        model: The registered model.
        spec: What would be started.
    """
    facts = model.facts
    cache = model.size_bytes // 4
    if facts.layers and facts.kv_heads and facts.head_dim:
        values = 2 * facts.layers * facts.kv_heads * facts.head_dim * spec.context_tokens * spec.slots
        cache = int(values * KV_BYTES_PER_VALUE[spec.cache_type])
    private = model.size_bytes + cache + _RUNTIME_BYTES
    return ReplicaForecast(
        private_bytes=private,
        file_bytes=model.size_bytes,
        plain_private_bytes=private,
        plain_file_bytes=model.size_bytes,
        note="its shape could not be read; guessed from the size of its files",
    )


class Forecaster(Protocol):
    """Forecasts for this machine."""

    def forecast(self, template: Template, model: Model | None) -> ReplicaForecast | None:
        """What a replica of a template will take; None for an engine that runs elsewhere."""
        ...

    def read_gpus(self) -> Mapping[int, tuple[int, int]]:
        """Accelerator index → (all, free) bytes, of those with memory of their own."""
        ...


class SizeForecaster:
    """Guesses from sizes."""

    def forecast(self, template: Template, model: Model | None) -> ReplicaForecast | None:
        return None if model is None else guess(model, template.spec)

    def read_gpus(self) -> Mapping[int, tuple[int, int]]:
        return {}

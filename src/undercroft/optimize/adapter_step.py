"""The step that converts a LoRA of PEFT's for llama.cpp: what it would make and take, and the doing of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict

from undercroft.core.errors import InvalidError
from undercroft.core.home import Home
from undercroft.environments.installed import Environment, needed
from undercroft.environments.recipes import find
from undercroft.optimize.conversion.adapting import (
    ADAPTER_TYPES,
    AdapterOrder,
    AdapterType,
    alpha_of,
    convert_adapter,
)
from undercroft.optimize.conversion.architectures import check_architecture, known_architectures
from undercroft.optimize.conversion.settings import Convert
from undercroft.optimize.convert_step import BESIDE_BYTES, ENVIRONMENT, environment_told
from undercroft.optimize.jobs.room import Forecast
from undercroft.optimize.prepared import PreparedStep
from undercroft.optimize.sources import AdapterSource
from undercroft.optimize.steps import Progress, Workspace
from undercroft.registry.inspection.json_files import read_json
from undercroft.registry.selection import PEFT_CONFIG

_MATRIX_BYTES: dict[AdapterType, int] = {"f32": 4, "bf16": 2}


class AdapterStep:
    """From PEFT's folder to a GGUF that llama.cpp loads beside its base.

    Args:
        source: What is converted, and its base in both forms.
        weight_type: What its matrices are kept in.
        environment: The installed ``convert``.
    """

    def __init__(self, source: AdapterSource, weight_type: AdapterType, environment: Environment) -> None:
        self._source, self._weight_type, self._environment = source, weight_type, environment

    def run(self, work: Workspace, report: Callable[[Progress], None]) -> None:
        """Makes the file, as `undercroft.optimize.steps.Step` says, and leaves what the comparison showed."""
        between = work.folder / "between"
        adapter, base = work.folder / self._source.adapter.model.name, work.folder / "published"
        self._source.adapter.lay_out(adapter)
        self._source.base.lay_out(base)
        between.mkdir()
        order = AdapterOrder(
            adapter=adapter,
            base=base,
            model=self._source.gguf.path,
            model_type=self._source.gguf.model.facts.quantization.lower(),
            target=work.result,
            weight_type=self._weight_type,
            folder=between,
            threads=work.threads,
        )
        agreement = convert_adapter(order, self._environment, report)
        for folder in (adapter, base, between):
            shutil.rmtree(folder)
        work.findings.write_text(json.dumps({"agreement": asdict(agreement)}), encoding="utf-8")


def prepare_adapter(settings: Convert, source: AdapterSource, home: Home) -> PreparedStep:
    """Looks whether an adapter can be converted, and what that takes.

    Args:
        settings: What the recipe says.
        source: The adapter and its base.
        home: Where environments lie.

    Raises:
        InvalidError: Its type is none for adapters, its layers have different scales, or its base is a network that the
            converter does not know.
        UnavailableError: ``no-environment``.
    """
    adapter, base = source.adapter, source.base
    kept = next((one for one in ADAPTER_TYPES if one == (settings.type or ADAPTER_TYPES[0])), None)
    if kept is None:
        raise InvalidError(
            "wrong-type",
            f"adapter {adapter.model.name!r} cannot be kept in {settings.type}: expected {' or '.join(ADAPTER_TYPES)}",
            hint="in F16 large activations overflow, and Q8_0 needs ranks that are multiples of 32",
        )
    alpha_of(read_json(adapter.files[PEFT_CONFIG], PEFT_CONFIG))
    environment = needed(home, find(ENVIRONMENT))
    config = read_json(base.path, "config.json")
    check_architecture(config if isinstance(config, dict) else {}, known_architectures(environment.sources))
    result = (adapter.model.facts.parameters or 0) * _MATRIX_BYTES[kept] + adapter.bytes_beside_weights
    asked = 4 * (base.model.facts.parameters or 0)
    gguf = source.gguf.model
    return PreparedStep(
        kind="convert",
        step=AdapterStep(source, kept, environment),
        forecast=Forecast(
            result_bytes=result, disk_bytes=result, memory_bytes=max(asked, gguf.size_bytes) + BESIDE_BYTES
        ),
        told={
            "settings": {"to": settings.to, "type": kept},
            "base": {"name": gguf.name, "digest": gguf.digest},
            "environment": environment_told(environment),
        },
        libraries=("gguf", "xllamacpp"),
    )

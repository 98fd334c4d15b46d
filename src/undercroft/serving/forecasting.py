"""What a replica will take, before it is started. Reads the model's shape; the arithmetic is in planning."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import structlog

from undercroft.catalog.shapes import ModelShape
from undercroft.core.errors import UndercroftError
from undercroft.core.home import Home
from undercroft.engines.contract import EngineSpec, Task
from undercroft.engines.memory_limit import KV_BYTES_PER_VALUE
from undercroft.engines.onnxruntime import inputs_at_once
from undercroft.engines.vllm_options import adapter_room
from undercroft.environments.installed import needed
from undercroft.environments.recipes import find
from undercroft.hardware.detection import detect
from undercroft.hardware.machine import Machine
from undercroft.planning.calibration import Quantity
from undercroft.planning.forecasts import Workload
from undercroft.planning.memory import forecast_memory
from undercroft.planning.memory_onnx import VALUE_BYTES
from undercroft.planning.memory_vllm import LINEAR_BITS, adapter_bytes
from undercroft.planning.speed import decode_forecast, forecast_speed, kind_of
from undercroft.planning.targets import Target
from undercroft.planning.this_machine import target_here
from undercroft.planning.vllm_launch import launch_without_shape, vllm_launch
from undercroft.registry.entries import Model
from undercroft.registry.stored_shapes import stored_shape
from undercroft.serving.accuracy import read_corrections
from undercroft.serving.deployments import DeploymentSettings
from undercroft.serving.ledger import HOST, Figure, ReplicaForecast
from undercroft.serving.specs import Template, placed
from undercroft.storage.database import Database

_log = structlog.get_logger("forecasting")

_RUNTIME_BYTES = 160 * 1024**2
_LOOK_AGAIN_SECONDS = 2.0


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
        note="its shape could not be read; guessed from the size of its files",
    )


class Forecaster(Protocol):
    """Forecasts for this machine."""

    def place(self, template: Template, model: Model, settings: DeploymentSettings) -> Template:
        """The template of a vllm replica with what the plan decides: accelerators, shares, cache; and its environment.

        Raises:
            UnavailableError: Its environment is not installed.
            InvalidError: The GPUs that were asked for are not there.
        """
        ...

    def forecast(self, template: Template, model: Model | None) -> ReplicaForecast | None:
        """What a replica of a template will take; None for an engine that runs elsewhere."""
        ...

    def learnt(self) -> None:
        """More was learnt: the next forecasts are made anew."""
        ...

    def read_gpus(self) -> Mapping[int, tuple[int, int]]:
        """Accelerator index → (all, free) bytes, of those with memory of their own."""
        ...


class MachineForecaster:
    """Forecasts from the model's shape and this machine, corrected by what earlier loads taught.

    Args:
        database: Models, measurements, earlier pairs.
        home: Where models lie.
        has_gpu_engine: Whether the engine can use accelerators; the wheel's cannot.
    """

    def __init__(self, database: Database, home: Home, *, has_gpu_engine: bool) -> None:
        self._database = database
        self._home = home
        self._has_gpu_engine = has_gpu_engine
        self._shapes: dict[str, ModelShape | None] = {}
        self._known: dict[tuple[str, int], ReplicaForecast] = {}
        self._machine: Machine | None = None
        self._looked_at = -math.inf
        self._pairs = 0

    def forecast(self, template: Template, model: Model | None) -> ReplicaForecast | None:
        """See `Forecaster`. Made anew when the description changed or something was learnt."""
        if model is None:
            return None
        key = (template.digest, self._pairs)
        if key not in self._known:
            self._known[key] = self._make(template, model)
        return self._known[key]

    def place(self, template: Template, model: Model, settings: DeploymentSettings) -> Template:
        """See `Forecaster`."""
        target = self._target()
        environment = needed(self._home, find(recipe_of_vllm(target)))
        shape = self._shape(model)
        work = workload_of(template, has_gpu_engine=True, stored=model.facts.quantization)
        adapters_bytes = 2 * work.adapters_bytes  # half precision may be computed in single
        if shape is None:
            launch = launch_without_shape(target, gpus=settings.gpus, gpu_memory_ratio=settings.gpu_memory_ratio)
        else:
            adapters_bytes += adapter_bytes(shape, work, 1)
            launch = vllm_launch(shape, work, target, gpus=settings.gpus, gpu_memory_ratio=settings.gpu_memory_ratio)
        self._has_gpu_engine = self._has_gpu_engine or launch.gpus > 0
        return placed(template, model, environment.folder, launch, adapters_bytes=adapters_bytes)

    def learnt(self) -> None:
        """More pairs were kept: forecasts are made anew."""
        self._pairs += 1
        self._known.clear()

    def read_gpus(self) -> Mapping[int, tuple[int, int]]:
        """See `Forecaster`."""
        if not self._has_gpu_engine:
            return {}
        return {
            a.index: (a.memory_bytes, a.free_bytes)
            for a in self._current_machine().accelerators
            if not a.is_unified and a.memory_bytes is not None and a.free_bytes is not None
        }

    def _make(self, template: Template, model: Model) -> ReplicaForecast:
        shape = self._shape(model)
        if shape is None:
            return guess(model, template.spec)
        try:
            return self._from_shape(shape, template, model)
        except UndercroftError as error:
            _log.warning("no forecast", model=model.name, error=error.message)
            return guess(model, template.spec)

    def _target(self) -> Target:
        with self._database.read() as connection:
            return target_here(self._current_machine(), connection, self._home.root)

    def _from_shape(self, shape: ModelShape, template: Template, model: Model) -> ReplicaForecast:
        target = self._target()
        if template.engine == "vllm":
            target = replace(target, accelerators=target.accelerators[: template.spec.gpus])
        with self._database.read() as connection:
            learnt = read_corrections(connection)
        work = workload_of(template, has_gpu_engine=self._has_gpu_engine, stored=model.facts.quantization)
        memory = forecast_memory(shape, work, target)
        kind = kind_of(shape, work, target, memory.gpu_layers)
        speed = forecast_speed(shape, work, target, memory)
        ratio = template.spec.gpu_memory_ratio  # vLLM takes its share whole, whatever it needs of it
        on_gpus = {
            a.id: memory.in_pool(a.id) if ratio is None else int(ratio * a.total_bytes) for a in target.accelerators
        }
        plain: dict[Quantity, float] = {
            Quantity.PRIVATE_BYTES: memory.in_pool(HOST, with_files=False),
            Quantity.FILE_BYTES: memory.in_pool(HOST) - memory.in_pool(HOST, with_files=False),
            Quantity.GPU_BYTES: sum(on_gpus.values()),
            Quantity.LOAD_SECONDS: speed.load.value,
        }
        factors = {quantity: learnt.correction(kind, quantity).factor for quantity in plain}
        return ReplicaForecast(
            private_bytes=int(plain[Quantity.PRIVATE_BYTES] * factors[Quantity.PRIVATE_BYTES]),
            file_bytes=int(plain[Quantity.FILE_BYTES] * factors[Quantity.FILE_BYTES]),
            gpu_bytes={
                int(pool.removeprefix("gpu")): int(size * factors[Quantity.GPU_BYTES])
                for pool, size in on_gpus.items()
                if size
            },
            kind=kind,
            figures={q: Figure(value, value * factors[q]) for q, value in plain.items() if value},
            answers=decode_forecast(shape, work, target, memory.gpu_layers, learnt),
        )

    def _shape(self, model: Model) -> ModelShape | None:
        if model.digest not in self._shapes:
            try:
                with self._database.read() as connection:
                    found = stored_shape(self._home, connection, model)
            except UndercroftError as error:
                _log.warning("shape not read", model=model.name, error=error.message)
                found = None
            self._shapes[model.digest] = found
        return self._shapes[model.digest]

    def _current_machine(self) -> Machine:
        """What a GPU has free changes; processors and disks do not, and asking the vendors' tools takes a moment."""
        now = time.monotonic()
        if self._machine is None or (self._has_gpu_engine and now - self._looked_at > _LOOK_AGAIN_SECONDS):
            self._machine = detect(self._home.root)
            self._looked_at = now
        return self._machine


def recipe_of_vllm(target: Target) -> str:
    """The environment in which vLLM runs on a machine."""
    return "vllm-cuda" if any(one.vendor == "nvidia" for one in target.accelerators) else "vllm"


def workload_of(template: Template, *, has_gpu_engine: bool, stored: str) -> Workload:
    """A replica in the words of planning.

    Args:
        template: What it is started with.
        has_gpu_engine: Whether llama.cpp can use accelerators.
        stored: How most weights are stored, as the model's files say; vLLM computes with half precision where that is
            more.
    """
    spec = template.spec
    is_vllm, is_onnx = template.engine == "vllm", template.engine == "onnxruntime"
    is_batched = is_onnx and spec.task is not Task.GENERATE
    adapter_slots, adapter_rank = adapter_room(spec) if is_vllm else (0, 0)
    return Workload(
        engine=template.engine,
        quantization=_vllm_type(stored, spec.dtype) if is_vllm else _onnx_type(stored) if is_onnx else "",
        context_tokens=spec.context_tokens,
        slots=inputs_at_once(spec) if is_batched else spec.slots,
        cache_type=spec.cache_type,
        gpu_layers=-1 if is_vllm else spec.gpu_layers if has_gpu_engine else 0,
        is_embedding=spec.task is not Task.GENERATE,
        adapters_bytes=sum(_file_bytes(adapter.path) for adapter in spec.adapters),
        adapter_slots=adapter_slots,
        adapter_rank=adapter_rank,
    )


def _file_bytes(path: Path) -> int:
    """Of a file, or of all in a folder; 0 where nothing is."""
    return sum(file.stat().st_size for file in (path, *path.glob("*")) if file.is_file())


def _onnx_type(stored: str) -> str:
    name = stored.upper()
    return name if name in VALUE_BYTES else ""


def _vllm_type(stored: str, dtype: str) -> str:
    name = stored.upper()
    if name in LINEAR_BITS and LINEAR_BITS[name] < LINEAR_BITS["F16"]:
        return name
    return "F32" if dtype == "float32" else "BF16"

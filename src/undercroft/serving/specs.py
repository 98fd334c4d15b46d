"""From a deployment to what an engine is started with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from undercroft.catalog.engines import EngineName
from undercroft.core.errors import InvalidError
from undercroft.core.home import Home
from undercroft.core.ids import new_id
from undercroft.core.settings import EngineSettings
from undercroft.engines.contract import EngineSpec, Task
from undercroft.engines.memory_limit import default_memory_limit
from undercroft.planning.vllm_launch import VllmLaunch
from undercroft.registry.models import Model
from undercroft.serving.adapters import LoadedAdapter
from undercroft.serving.deployments import Deployment

# A model's own context can be larger than its cache fits in memory; without a wish, no more than this is taken.
_LARGEST_DEFAULT_CONTEXT_TOKENS = 8192
_UNKNOWN_CONTEXT_TOKENS = 2048
# Requests to an encoder are short, and computed together: those that wait make the batches.
_ENCODER_SLOTS = 64
# What a process of vLLM's may take beside weights and cache: several times what was seen with a model of no size.
_VLLM_SPARE_BYTES = 4 * 1024**3
# What was not there when replicas that still run were started does not make them others.
_LATER = frozenset({"environment", "dtype", "gpus", "gpu_memory_ratio", "cache_bytes", "ca_file", "metrics_port"})
_LATER_FIELDS = [field for field in fields(EngineSpec) if field.name in _LATER]


@dataclass(frozen=True, slots=True)
class Template:
    """An engine spec that lacks only a replica's own id and folders.

    Args:
        spec: With empty ``replica_id``.
        digest: Of everything in it that a running replica cannot change; equal digests need no restart.
        engine: What runs it.
    """

    spec: EngineSpec
    digest: str
    engine: EngineName = "llama.cpp"


def template_for(
    deployment: Deployment,
    model: Model | None,
    model_path: Path | None,
    settings: EngineSettings,
    adapters: Sequence[LoadedAdapter] = (),
) -> Template:
    """What every replica of a deployment is started with.

    Args:
        deployment: What is wanted.
        model: Its model; None for ``external``.
        model_path: The model's main file.
        settings: Defaults for what the deployment leaves open.
        adapters: What is loaded beside the model.

    Raises:
        InvalidError: The deployment asks for more context than its model was made for.
    """
    own = deployment.settings
    context_tokens = _context_tokens(deployment, model, settings.context_tokens)
    task = Task(own.task or (model.facts.task if model else None) or Task.GENERATE)
    is_batched = deployment.engine in ("onnxruntime", "triton") and task is not Task.GENERATE
    slots = own.slots or (_ENCODER_SLOTS if is_batched else settings.slots)
    spec = EngineSpec(
        replica_id="",
        name=deployment.name,
        task=task,
        run_dir=Path(),
        log_path=Path(),
        model_path=model_path,
        context_tokens=context_tokens,
        slots=slots,
        threads=own.threads or settings.threads,
        gpu_layers=own.gpu_layers,
        cache_type=own.cache_type,
        dtype=own.dtype,
        memory_limit_bytes=own.memory_limit_bytes or settings.memory_limit_bytes or None,
        seal_required=settings.seal == "required",
        url=own.url.rstrip("/").removesuffix("/v1") if own.url else None,
        upstream_model=own.upstream_model,
        key_file=own.key_file,
        ca_file=own.ca_file,
        metrics_port=own.metrics_port,
        adapters=tuple(adapter.loaded for adapter in adapters),
    )
    if model is not None and spec.memory_limit_bytes is None and own.gpu_layers <= 0 and deployment.engine != "vllm":
        sizes = sum(adapter.model.size_bytes for adapter in adapters)
        limit = _memory_limit(model, spec, sizes, is_single_precision=deployment.engine == "onnxruntime")
        spec = replace(spec, memory_limit_bytes=limit)
    return _described(spec, model, deployment.engine)


def placed(
    template: Template, model: Model, environment: Path, launch: VllmLaunch, *, adapters_bytes: int = 0
) -> Template:
    """A template with what the plan decided of its place.

    Args:
        template: Of a deployment whose engine is vllm.
        model: Its model.
        environment: Where the engine is installed.
        launch: What the plan decided.
        adapters_bytes: What LoRAs beside the model take at most on the host.
    """
    spec = template.spec
    limit = spec.memory_limit_bytes
    if limit is None and launch.cache_bytes is not None:
        limit = 2 * model.size_bytes + launch.cache_bytes + adapters_bytes + _VLLM_SPARE_BYTES
    spec = replace(
        spec,
        environment=environment,
        gpus=launch.gpus,
        gpu_memory_ratio=launch.gpu_memory_ratio,
        cache_bytes=launch.cache_bytes,
        memory_limit_bytes=limit,
    )
    return _described(spec, model, template.engine)


def housed(template: Template, model: Model, environment: Path) -> Template:
    """A template of an engine that runs in an environment of its own, with that.

    Args:
        template: Of the deployment.
        model: Its model.
        environment: Where the engine is installed.
    """
    return _described(replace(template.spec, environment=environment), model, template.engine)


def _described(spec: EngineSpec, model: Model | None, engine: EngineName) -> Template:
    digest = _digest(spec, model)
    return Template(replace(spec, digest=digest), digest, engine)


def for_replica(template: Template, home: Home) -> EngineSpec:
    """The spec of one new replica, with an id and folders of its own."""
    replica_id = new_id("rep")
    return replace(
        template.spec,
        replica_id=replica_id,
        run_dir=home.engines / replica_id,
        log_path=home.logs / f"engine-{template.spec.name}.log",
    )


def adopted(template: Template, home: Home, replica_id: str) -> EngineSpec:
    """The spec of a replica that runs already."""
    return replace(for_replica(template, home), replica_id=replica_id, run_dir=home.engines / replica_id)


def _context_tokens(deployment: Deployment, model: Model | None, usual: int) -> int:
    wanted = deployment.settings.context_tokens
    own = model.facts.context_tokens if model else None
    if wanted and own and wanted > own:
        raise InvalidError(
            "context-too-long",
            f"deployment {deployment.name!r} asks for a context of {wanted:,} tokens, its model was made for {own:,}",
            hint=f"undercroft deployment change {deployment.name} --context {own}",
        )
    if wanted or not usual:
        return wanted or min(own or _UNKNOWN_CONTEXT_TOKENS, _LARGEST_DEFAULT_CONTEXT_TOKENS)
    return min(own or usual, usual)


def _memory_limit(model: Model, spec: EngineSpec, adapters_bytes: int, *, is_single_precision: bool) -> int:
    facts = model.facts
    return default_memory_limit(
        model_bytes=model.size_bytes + adapters_bytes,
        context_tokens=spec.context_tokens,
        slots=spec.slots,
        layers=facts.layers,
        kv_heads=facts.kv_heads,
        head_dim=facts.head_dim,
        cache_type="f32" if is_single_precision else spec.cache_type,
    )


def _digest(spec: EngineSpec, model: Model | None) -> str:
    content = asdict(spec)
    for own in ("replica_id", "run_dir", "log_path", "digest"):
        del content[own]
    for field in _LATER_FIELDS:
        if content[field.name] == field.default:
            del content[field.name]
    content["model_digest"] = model.digest if model else None
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()

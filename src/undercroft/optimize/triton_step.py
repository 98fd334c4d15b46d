"""The step that makes Triton model repositories: what it would make and take, and the doing of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Literal

from undercroft.core.errors import InvalidError
from undercroft.core.home import Home
from undercroft.core.settings import EngineSettings
from undercroft.engines.encoder.folder import read_encoder
from undercroft.environments.installed import Environment, needed
from undercroft.environments.recipes import find
from undercroft.optimize.jobs.room import Forecast
from undercroft.optimize.onnx.schemes import INT8
from undercroft.optimize.onnx_steps import check_size
from undercroft.optimize.prepared import PreparedStep
from undercroft.optimize.sources import PublishedSource
from undercroft.optimize.steps import Progress, Workspace
from undercroft.optimize.triton.configs import NetworkRuntime, Ordered, Precision, check_signature
from undercroft.optimize.triton.making import Order, make_repository
from undercroft.optimize.triton.plan import BUILDER, find_builder
from undercroft.registry.inspection.onnx import read_onnx
from undercroft.registry.inspection.onnx_signature import Signature, read_signature

_RUNNER = "onnxruntime"
_TOLD_PACKAGES = ("tokenizers", "onnxruntime", "numpy")
_BESIDE_BYTES = 512 * 1024**2
_TASKS = ("embed", "rerank", "classify")


class TritonStep:
    """From an encoder in ONNX to a Triton model repository.

    Args:
        source: What is served.
        ordered: What the repository is to be.
        version: Number of the version that is made.
        runner: The installed ``onnxruntime``.
        settings: Whether the engine that the source is asked in has to be sealed.
    """

    def __init__(
        self, source: PublishedSource, ordered: Ordered, version: int, runner: Environment, settings: EngineSettings
    ) -> None:
        self._source, self._ordered, self._version = source, ordered, version
        self._runner, self._settings = runner, settings

    def run(self, work: Workspace, report: Callable[[Progress], None]) -> None:
        """Makes the folder, as `undercroft.optimize.steps.Step` says, and leaves what the comparison showed."""
        published, between = work.folder / "published", work.folder / "between"
        self._source.lay_out(published)
        between.mkdir()
        order = Order(published, work.result_folder, self._ordered, self._version, between, work.threads)
        agreement, plan = make_repository(order, self._runner, self._settings, report)
        shutil.rmtree(published)
        shutil.rmtree(between)
        work.findings.write_text(json.dumps({**plan, "agreement": asdict(agreement)}), encoding="utf-8")


def prepare_triton(
    to: Literal["triton", "tensorrt"],
    kept: str | None,
    version: int | None,
    source: PublishedSource,
    home: Home,
    engines: EngineSettings,
    *,
    name: str,
) -> PreparedStep:
    """Looks whether a repository can be made of a model, and what that takes.

    Args:
        to: Its network is run by ONNX Runtime, or from a plan of TensorRT.
        kept: What TensorRT computes in, ``f32`` or ``f16``; None is ``f32``.
        version: Number of the version that is made; None is 1.
        source: The model, in ONNX.
        home: Where environments lie.
        engines: Whether the engine that the source is asked in has to be sealed.
        name: What the ensemble is called.

    Raises:
        InvalidError: It is no encoder, one with parts that are not known here, its network takes something else, or
            TensorRT does not know what it computes.
        UnavailableError: ``no-environment``.
    """
    runtime: NetworkRuntime = "tensorrt" if to == "tensorrt" else "onnxruntime"
    precision: Precision = "f16" if kept == "f16" else "f32"
    number = version or 1
    model = source.model
    if model.facts.task not in _TASKS:
        raise InvalidError(
            "wrong-task",
            f"model {model.name!r} is for {model.facts.task or 'a task that its files do not tell'}: expected one that "
            "embeds, reranks or classifies, of which Triton is given a repository",
            hint="one that generates is served by TensorRT-LLM itself: undercroft engine list",
        )
    encoder, signature = read_encoder(source.files), _signature(source)
    if to == "tensorrt" and model.facts.quantization == INT8.name:
        raise InvalidError(
            "not-for-tensorrt",
            f"model {model.name!r} is in 8 bits as ONNX Runtime computes them, for which TensorRT has no operators",
            hint="convert the one in F32: undercroft optimize convert MODEL --to tensorrt --type f16",
        )
    runner = needed(home, find(_RUNNER))
    is_unbuilt = runtime == "tensorrt" and find_builder() is None
    return PreparedStep(
        kind="convert",
        step=TritonStep(source, Ordered(name, encoder, signature, runtime, precision), number, runner, engines),
        forecast=Forecast(
            # A plan is about as large as its network.
            result_bytes=(2 if runtime == "tensorrt" else 1) * model.size_bytes,
            disk_bytes=(2 if runtime == "tensorrt" else 1) * model.size_bytes,
            memory_bytes=3 * model.size_bytes + _BESIDE_BYTES,
        ),
        told={
            "settings": {"to": to, "type": precision, "version": number},
            "environment": _told(runner),
        },
        # A plan is another one each time it is built.
        is_reproducible=runtime != "tensorrt" or is_unbuilt,
        warning=(
            f"{BUILDER} is not on PATH: the plan is not built here. The repository comes with the recipe that "
            "builds it where TensorRT is."
        )
        if is_unbuilt
        else "",
    )


def _signature(source: PublishedSource) -> Signature:
    """What its network takes and gives, after a look at whether Triton can be given its files.

    Raises:
        InvalidError: Its tokenizer is missing, its weights lie beside the network, or that takes something else.
    """
    model = source.model
    if "tokenizer.json" not in source.files:
        raise InvalidError(
            "no-tokenizer",
            f"model {model.name!r} has no tokenizer.json, from which texts are split inside Triton",
            hint=f"convert the original: undercroft optimize convert MODEL --to onnx --name {model.name}-onnx",
        )
    network = next(name for name in source.files if name.endswith(".onnx"))
    if read_onnx(source.files[network], network).external:
        raise InvalidError(
            "wrong-network",
            f"model {model.name!r} has its weights in files beside {network!r}, expected one that holds them",
            hint="convert the original: undercroft optimize convert MODEL --to onnx",
        )
    signature = read_signature(source.files[network], network)
    check_signature(signature, model.name)
    check_size(source, model.size_bytes)
    return signature


def _told(environment: Environment) -> dict[str, Any]:
    """Versions of what works in the environment, and the digest of what it was made of."""
    record = environment.record()
    assert record is not None  # `needed` has looked
    versions = {name: record.packages[name] for name in _TOLD_PACKAGES if name in record.packages}
    return {"recipe": record.recipe_digest, "versions": versions}

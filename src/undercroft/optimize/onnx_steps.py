"""The steps that make encoders for ONNX Runtime: what each would make and take, and the doing of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from undercroft.core.errors import InvalidError
from undercroft.core.home import Home
from undercroft.core.settings import EngineSettings
from undercroft.core.units import format_bytes
from undercroft.engines.encoder.folder import Encoder, read_encoder
from undercroft.environments.installed import Environment, needed
from undercroft.environments.recipes import find
from undercroft.hardware.processors import read_processor
from undercroft.optimize.compression.settings import Calibration
from undercroft.optimize.compression.texts import share_out
from undercroft.optimize.jobs.room import Forecast
from undercroft.optimize.onnx.making import Calibrating, Order, make_int8, make_onnx
from undercroft.optimize.onnx.schemes import INT8, OnnxScheme, suits_signed
from undercroft.optimize.prepared import PreparedStep
from undercroft.optimize.quantize_step import read_texts
from undercroft.optimize.recipes import Quantize
from undercroft.optimize.sources import PublishedSource
from undercroft.optimize.steps import Progress, Workspace

EXPORTER, RUNNER = "onnx", "onnxruntime"
_TOLD_PACKAGES = ("torch", "transformers", "tokenizers", "onnx", "onnxscript", "onnxruntime", "onnxruntime-genai")
_BESIDE_BYTES = 1024**3  # torch with its exporter, and what it computes
_FILE_BYTES = 2 * 1024**3
_TASKS = ("embed", "rerank", "classify")


class ToOnnxStep:
    """From the form in which an encoder is published to ONNX.

    Args:
        source: What is converted.
        encoder: What it is.
        exporter: The installed ``onnx``.
        runner: The installed ``onnxruntime``.
        settings: Whether the engine that the result is tried in has to be sealed.
    """

    def __init__(
        self,
        source: PublishedSource,
        encoder: Encoder,
        exporter: Environment,
        runner: Environment,
        settings: EngineSettings,
    ) -> None:
        self._source, self._encoder = source, encoder
        self._exporter, self._runner, self._settings = exporter, runner, settings

    def run(self, work: Workspace, report: Callable[[Progress], None]) -> None:
        """Makes the folder, as `undercroft.optimize.steps.Step` says, and leaves what the comparison showed."""
        order = _laid_out(work, self._source, self._encoder)
        agreement = make_onnx(order, self._exporter, self._runner, self._settings, report)
        _clean(order)
        work.findings.write_text(json.dumps({"agreement": asdict(agreement)}), encoding="utf-8")


class Int8Step:
    """Matrices of an encoder in ONNX, rounded to 8 bits.

    Args:
        source: What is rounded.
        encoder: What it is.
        runner: The installed ``onnxruntime``.
        settings: Whether the engine that both are tried in has to be sealed.
        calibration: Texts of the user's, for ranges that are fixed; None finds them while it computes.
        is_signed: Whether weights are rounded to signed numbers.
    """

    def __init__(
        self,
        source: PublishedSource,
        encoder: Encoder,
        runner: Environment,
        settings: EngineSettings,
        calibration: Calibration | None,
        *,
        is_signed: bool,
    ) -> None:
        self._source, self._encoder = source, encoder
        self._runner, self._settings, self._calibration = runner, settings, calibration
        self._is_signed = is_signed

    def run(self, work: Workspace, report: Callable[[Progress], None]) -> None:
        """Makes the folder, as `undercroft.optimize.steps.Step` says, and leaves what the comparison showed."""
        order = _laid_out(work, self._source, self._encoder)
        read = _calibrating(self._calibration) if self._calibration is not None else None
        agreement, counted = make_int8(
            order, self._runner, self._settings, report, is_signed=self._is_signed, calibrating=read
        )
        _clean(order)
        told = {"matrices": counted, "agreement": asdict(agreement)}
        work.findings.write_text(json.dumps(told), encoding="utf-8")


def prepare_to_onnx(kept: str | None, source: PublishedSource, home: Home, engines: EngineSettings) -> PreparedStep:
    """Looks whether an encoder can be converted to ONNX, and what that takes.

    Args:
        kept: What the weights are to be kept in; None is F32.
        source: The model, in safetensors.
        home: Where environments lie.
        engines: Whether the engine that the result is tried in has to be sealed.

    Raises:
        InvalidError: It is no encoder, one with parts that are not known here, or too large for one file.
        UnavailableError: ``no-environment``.
    """
    encoder = _encoder_of(source)
    if kept not in (None, "f32"):
        raise InvalidError(
            "wrong-type",
            f"model {source.model.name!r} is an encoder, which becomes ONNX in f32: expected no --type {kept}",
            hint=f"undercroft optimize convert {source.model.name} --to onnx, then quantize what it makes --to int8",
        )
    exporter, runner = needed(home, find(EXPORTER)), needed(home, find(RUNNER))
    weights = 4 * (source.model.facts.parameters or 0)
    check_size(source, weights)
    others = source.bytes_beside_weights
    return PreparedStep(
        kind="convert",
        step=ToOnnxStep(source, encoder, exporter, runner, engines),
        # While it is exported the weights are there twice: as torch's, and as the graph's that is being written.
        forecast=Forecast(weights + others, weights + others, 3 * weights + _BESIDE_BYTES),
        told={"settings": {"to": "onnx", "type": "f32"}, "environments": told_of(exporter, runner)},
    )


def prepare_int8(
    scheme: OnnxScheme, asked: Quantize, source: PublishedSource, home: Home, engines: EngineSettings
) -> PreparedStep:
    """Looks whether a model in ONNX can be rounded to 8 bits, and what that takes.

    Args:
        scheme: How.
        asked: What the recipe says.
        source: The model, in ONNX.
        home: Where environments lie.
        engines: Whether the engine that both are tried in has to be sealed.

    Raises:
        InvalidError: It is no encoder, one with parts that are not known here, in 8 bits already, or too large.
        UnavailableError: ``no-environment``.
    """
    encoder = _encoder_of(source)
    if source.model.facts.quantization == INT8.name:
        raise InvalidError(
            "nothing-to-do",
            f"model {source.model.name!r} is in 8 bits already",
            hint=f"undercroft model show {source.model.name}",
        )
    if asked.calibration is not None:
        _calibrating(asked.calibration)
    runner = needed(home, find(RUNNER))
    size = source.model.size_bytes
    check_size(source, size)
    processor = read_processor()
    is_signed = suits_signed(processor.architecture, processor.features)
    return PreparedStep(
        kind="quantize",
        step=Int8Step(source, encoder, runner, engines, asked.calibration, is_signed=is_signed),
        # In between lies the model with its shapes written down; while it is rounded it is there twice.
        forecast=Forecast(size, 2 * size, 3 * size + _BESIDE_BYTES // 2),
        told={
            "settings": {
                **asked.model_dump(mode="json", exclude_defaults=True),
                "operators": ["MatMul"],
                "is_per_channel": True,
                "is_signed": is_signed,
                "is_dynamic": not scheme.needs_texts,
            },
            "environments": told_of(runner),
        },
    )


def _calibrating(asked: Calibration) -> Calibrating:
    """Texts of the user's, shared out; as many as were asked for."""
    parts = share_out(read_texts(asked), is_calibrated=True, what=f"the texts {asked.texts}")
    return Calibrating(parts.calibration[: asked.samples], parts.held_back, asked.sample_tokens)


def _encoder_of(source: PublishedSource) -> Encoder:
    model = source.model
    if model.facts.task not in _TASKS:
        raise InvalidError(
            "wrong-task",
            f"model {model.name!r} is for {model.facts.task or 'a task that its files do not tell'}: expected one that "
            "embeds, reranks or classifies, which is what engine onnxruntime runs",
            hint=f"undercroft optimize convert {model.name} --to gguf",
        )
    return read_encoder(source.files)


def check_size(source: PublishedSource, size_bytes: int) -> None:
    """Refuses what one ONNX file cannot hold: its lengths end at 2 GiB.

    Args:
        source: The model, for the error.
        size_bytes: Of its weights in F32.

    Raises:
        InvalidError: ``too-large``.
    """
    if size_bytes >= _FILE_BYTES:
        raise InvalidError(
            "too-large",
            f"model {source.model.name!r} takes {format_bytes(size_bytes)} in F32, one ONNX file holds less than "
            f"{format_bytes(_FILE_BYTES)}",
            hint=f"undercroft optimize convert {source.model.name} --to gguf",
        )


def _laid_out(work: Workspace, source: PublishedSource, encoder: Encoder) -> Order:
    published, between = work.folder / "published", work.folder / "between"
    source.lay_out(published)
    between.mkdir()
    return Order(published, work.result_folder, encoder, between, work.threads)


def _clean(order: Order) -> None:
    shutil.rmtree(order.source)
    shutil.rmtree(order.folder)


def told_of(*environments: Environment) -> dict[str, Any]:
    """Versions of what works in each environment, and the digest of what it was made of."""
    told = {}
    for environment in environments:
        record = environment.record()
        assert record is not None  # `needed` has looked
        versions = {name: record.packages[name] for name in _TOLD_PACKAGES if name in record.packages}
        told[environment.folder.name] = {"recipe": record.recipe_digest, "versions": versions}
    return told

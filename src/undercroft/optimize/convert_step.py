"""The step that converts: what it would make and take, and the doing of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from undercroft.core.errors import InvalidError
from undercroft.core.home import Home
from undercroft.core.settings import EngineSettings
from undercroft.environments.installed import Environment, needed
from undercroft.environments.recipes import find
from undercroft.optimize.conversion.architectures import check_architecture, known_architectures
from undercroft.optimize.conversion.converting import WEIGHT_TYPES, ConversionOrder, WeightType, convert_to_gguf
from undercroft.optimize.conversion.settings import Convert
from undercroft.optimize.jobs.room import Forecast
from undercroft.optimize.prepared import PreparedStep
from undercroft.optimize.sources import PublishedSource
from undercroft.optimize.steps import Progress, Workspace
from undercroft.registry.inspection.json_files import read_json

ENVIRONMENT = "convert"
_TOLD_PACKAGES = ("torch", "transformers", "tokenizers", "safetensors")
# What a weight takes in each type, bytes; what runs beside the weights while source and result are asked.
_WEIGHT_BYTES: dict[WeightType, float] = {"f32": 4.0, "f16": 2.0, "bf16": 2.0, "q8_0": 34 / 32}
BESIDE_BYTES = 1024**3
_TASKS = ("generate", "embed")


class ConvertStep:
    """From the form in which a model is published to a GGUF.

    Args:
        source: What is converted.
        weight_type: What the weights are kept in.
        environment: The installed ``convert``.
        settings: How the engine is run that the result is tried in.
    """

    def __init__(
        self, source: PublishedSource, weight_type: WeightType, environment: Environment, settings: EngineSettings
    ) -> None:
        self._source, self._weight_type = source, weight_type
        self._environment, self._settings = environment, settings

    def run(self, work: Workspace, report: Callable[[Progress], None]) -> None:
        """Makes the file, as `undercroft.optimize.steps.Step` says, and leaves what the comparison showed."""
        published, between = work.folder / "published", work.folder / "between"
        self._source.lay_out(published)
        between.mkdir()
        order = ConversionOrder(
            source=published,
            target=work.result,
            name=self._source.model.name,
            weight_type=self._weight_type,
            task="embed" if self._source.model.facts.task == "embed" else "generate",
            folder=between,
            threads=work.threads,
        )
        found = convert_to_gguf(order, self._environment, self._settings, report)
        shutil.rmtree(published)
        shutil.rmtree(between)
        told = {"pre_tokenizer": found.pre_tokenizer, "is_pre_tokenizer_tried": found.is_pre_tokenizer_tried}
        work.findings.write_text(json.dumps({**told, "agreement": asdict(found.agreement)}), encoding="utf-8")


def prepare_convert(settings: Convert, source: PublishedSource, home: Home, engines: EngineSettings) -> PreparedStep:
    """Looks whether a model can be converted, and what that takes.

    Args:
        settings: What the recipe says.
        source: The model.
        home: Where environments lie.
        engines: How the engine is run that the result is tried in.

    Raises:
        InvalidError: It is for a task that a converted model cannot be compared in, or a network that the converter
            does not know.
        UnavailableError: ``no-environment``.
    """
    model = source.model
    if model.facts.task not in _TASKS:
        raise InvalidError(
            "wrong-task",
            f"model {model.name!r} is for {model.facts.task or 'a task that its files do not tell'}: expected one that "
            "generates or embeds, since a result that cannot be compared with its source is not kept",
        )
    recipe = find(ENVIRONMENT)
    environment = needed(home, recipe)
    config = read_json(source.path, "config.json")
    check_architecture(config if isinstance(config, dict) else {}, known_architectures(environment.sources))
    wanted = next((one for one in WEIGHT_TYPES if one == settings.type), None)
    weight_type: WeightType = wanted or ("bf16" if model.facts.quantization == "BF16" else "f16")
    parameters = model.facts.parameters or 0
    weights = sum(file.size_bytes for file in model.files if file.path.endswith(".safetensors"))
    result = int(parameters * _WEIGHT_BYTES[weight_type]) + model.size_bytes - weights
    asked = parameters * (2 if model.facts.quantization == "BF16" else 4)
    return PreparedStep(
        kind="convert",
        step=ConvertStep(source, weight_type, environment, engines),
        forecast=Forecast(result_bytes=result, disk_bytes=result, memory_bytes=max(asked, result) + BESIDE_BYTES),
        told={"settings": {"to": settings.to, "type": weight_type}, "environment": environment_told(environment)},
        libraries=("gguf", "xllamacpp"),
    )


def environment_told(environment: Environment) -> dict[str, Any]:
    """Versions of what works in the environment, and the digest of what it was made of."""
    record = environment.record()
    assert record is not None  # `needed` has looked
    versions = {name: record.packages[name] for name in _TOLD_PACKAGES if name in record.packages}
    converter = {source.package: source.version for source in find(ENVIRONMENT).sources}
    return {"recipe": record.recipe_digest, "versions": {**versions, **converter}}

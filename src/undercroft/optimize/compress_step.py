"""The step that makes a published model smaller for vLLM: what it would make and take, and the doing of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from undercroft.core.errors import InvalidError, RefusedError
from undercroft.core.home import Home
from undercroft.environments.installed import Environment, needed
from undercroft.environments.recipes import find
from undercroft.optimize.compression.compressing import (
    ENVIRONMENT,
    CompressionOrder,
    compress,
    modules_of,
    scratch_bytes,
)
from undercroft.optimize.compression.layout import choose_group_size, file_bytes, matrices, planned
from undercroft.optimize.compression.schemes import CompressedScheme
from undercroft.optimize.compression.texts import Parts, share_out
from undercroft.optimize.conversion.sample_texts import PROMPTS, SPLIT_TEXTS
from undercroft.optimize.jobs.room import Forecast
from undercroft.optimize.prepared import PreparedStep
from undercroft.optimize.quantize_step import read_texts
from undercroft.optimize.recipes import Quantize
from undercroft.optimize.sources import PublishedSource
from undercroft.optimize.steps import Progress, Workspace
from undercroft.registry.inspection.json_files import read_json
from undercroft.registry.inspection.safetensors import DTYPES, StoredTensor, read_safetensors
from undercroft.registry.selection import INDEX, Role, role_of

_TOLD_PACKAGES = ("torch", "transformers", "tokenizers", "safetensors", "llmcompressor", "compressed-tensors")
_UNQUANTIZED = ("F32", "F16", "BF16")
# Python with torch, and what it takes for one window; what quantization_config adds to the settings.
_BASE_BYTES = 1536 * 1024**2
_CONFIG_BYTES = 2048


class CompressStep:
    """Fewer bits a weight, in the form in which models are published.

    Args:
        source: What is made smaller.
        settings: What the recipe says.
        scheme: Of these.
        group_size: Weights of a row that share a scale; None: all of a row.
        modules: Names of the modules whose weights become smaller.
        environment: The installed ``compress``.
    """

    def __init__(
        self,
        source: PublishedSource,
        settings: Quantize,
        scheme: CompressedScheme,
        group_size: int | None,
        modules: frozenset[str],
        environment: Environment,
    ) -> None:
        self._source, self._settings, self._scheme = source, settings, scheme
        self._group_size, self._modules, self._environment = group_size, modules, environment

    def run(self, work: Workspace, report: Callable[[Progress], None]) -> None:
        """Makes the folder, as `undercroft.optimize.steps.Step` says, and leaves what the comparison showed."""
        published, between = work.folder / "published", work.folder / "between"
        self._source.lay_out(published)
        between.mkdir()
        calibration = self._settings.calibration
        found = compress(
            CompressionOrder(
                source=published,
                target=work.result_folder,
                scheme=self._scheme,
                group_size=self._group_size,
                is_smoothed=self._settings.smoothing is not False,
                texts=_parts(self._settings, self._scheme),
                samples=calibration.samples if calibration is not None else 0,
                sample_tokens=calibration.sample_tokens if calibration is not None else 1,
                vocabulary=_vocabulary(self._source),
                modules=self._modules,
                folder=between,
                seed=work.seed,
                threads=work.threads,
            ),
            self._environment,
            report,
        )
        shutil.rmtree(published)
        shutil.rmtree(between)
        told = {"calibration": {"samples": found.samples, "tokens": found.tokens}}
        work.findings.write_text(json.dumps({**told, "comparison": asdict(found.comparison)}), encoding="utf-8")


def prepare_compress(
    settings: Quantize, scheme: CompressedScheme, source: PublishedSource, home: Home, *, threads: int
) -> PreparedStep:
    """Looks whether a published model can be made smaller so, and what that takes.

    Args:
        settings: What the recipe says.
        scheme: Of these.
        source: The model.
        home: Where environments lie.
        threads: Processors that will work; count.

    Raises:
        InvalidError: It is for another task, of another layout, or its rows cannot be cut into such groups.
        RefusedError: ``requantizing``.
        UnavailableError: ``no-environment``.
    """
    _check_kind(source, scheme)
    tensors = _tensors(source)
    chosen = matrices(tensors, source.model.name)
    group_size = choose_group_size(
        scheme, [one.shape[1] for one in chosen], settings.group_size, model=source.model.name
    )
    _parts(settings, scheme)
    environment = needed(home, find(ENVIRONMENT))
    is_tied = bool(read_json(source.path, "config.json").get("tie_word_embeddings"))
    made = planned(tensors, scheme, group_size, chosen=chosen, is_tied=is_tied)
    others = sum(
        file.size_bytes for file in source.model.files if role_of(file.path) is not Role.WEIGHTS and file.path != INDEX
    )
    result = file_bytes(made) + others + _CONFIG_BYTES
    disk = result + scratch_bytes(_vocabulary(source))
    return PreparedStep(
        kind="quantize",
        step=CompressStep(source, settings, scheme, group_size, modules_of([one.name for one in chosen]), environment),
        forecast=Forecast(
            result_bytes=result, disk_bytes=disk, memory_bytes=_memory_bytes(settings, scheme, tensors, chosen)
        ),
        told={
            "settings": {**settings.model_dump(mode="json", exclude_none=True), "group_size": group_size},
            "environment": _told(environment),
        },
        is_reproducible=not _is_calibrated(settings, scheme),  # sums depend on how many threads share them
        warning=scheme.warning,
    )


def _check_kind(source: PublishedSource, scheme: CompressedScheme) -> None:
    model = source.model
    if model.facts.task != "generate":
        raise InvalidError(
            "wrong-task",
            f"model {model.name!r} is for {model.facts.task or 'a task that its files do not tell'}: expected one that "
            "makes text, since a result that cannot be compared with its source is not kept",
        )
    if model.facts.quantization not in _UNQUANTIZED:
        raise RefusedError(
            "requantizing",
            f"model {model.name!r} is rounded to {model.facts.quantization} already; making {scheme.name} of it would "
            "round it twice, which loses more than rounding once",
            hint="take the model in F16, BF16 or F32, as it was published first",
        )


def _tensors(source: PublishedSource) -> list[StoredTensor]:
    weights = [name for name in source.files if role_of(name) is Role.WEIGHTS]
    return [one for name in weights for one in read_safetensors(source.files[name], name)]


def _vocabulary(source: PublishedSource) -> int:
    return source.model.facts.vocabulary_tokens or 1


def _is_calibrated(settings: Quantize, scheme: CompressedScheme) -> bool:
    return scheme.needs_texts and (scheme.method != "smoothing" or settings.smoothing is not False)


def _parts(settings: Quantize, scheme: CompressedScheme) -> Parts:
    """Texts to calibrate and to compare by; ours to compare by, where the user has given none."""
    if settings.calibration is None:
        return Parts((), (*SPLIT_TEXTS, *PROMPTS))
    text = read_texts(settings.calibration)
    is_calibrated = _is_calibrated(settings, scheme)
    return share_out(text, is_calibrated=is_calibrated, what=f"the texts {settings.calibration.texts}")


def _memory_bytes(
    settings: Quantize, scheme: CompressedScheme, tensors: Sequence[StoredTensor], chosen: Sequence[StoredTensor]
) -> int:
    """The model as it is stored; where texts are read, what a block passes on of them and sums over its inputs."""
    weights = sum(one.end - one.begin for one in tensors)
    if settings.calibration is None or not _is_calibrated(settings, scheme):
        return weights + _BASE_BYTES
    width = max(DTYPES[one.dtype] // 8 * one.shape[1] for one in chosen)
    # A block's own inputs and outputs are there at a time.
    passed_on = 2 * settings.calibration.samples * settings.calibration.sample_tokens * width
    blocks = len({one.name.split("layers.")[1].split(".")[0] for one in chosen})
    sums = 2 * 4 * sum(one.shape[1] ** 2 for one in chosen) // blocks
    return weights + passed_on + sums + _BASE_BYTES


def _told(environment: Environment) -> dict[str, Any]:
    """Versions of what works in the environment, and the digest of what it was made of."""
    record = environment.record()
    assert record is not None  # `needed` has looked
    versions = {name: record.packages[name] for name in _TOLD_PACKAGES if name in record.packages}
    return {"recipe": record.recipe_digest, "versions": versions}

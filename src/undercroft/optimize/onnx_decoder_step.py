"""The step that makes ONNX of a model that generates: what it would make and take, and the doing of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable

from undercroft.core.home import Home
from undercroft.core.settings import EngineSettings
from undercroft.environments.installed import Environment, needed
from undercroft.environments.recipes import find
from undercroft.optimize.jobs.room import Forecast
from undercroft.optimize.onnx.decoding import (
    BLOCK_SIZE,
    DECODER_TYPES,
    MOST_TOKENS,
    DecoderOrder,
    DecoderType,
    make_decoder,
)
from undercroft.optimize.onnx_steps import EXPORTER, RUNNER, told_of
from undercroft.optimize.prepared import PreparedStep
from undercroft.optimize.sources import PublishedSource, refuse_rounded
from undercroft.optimize.steps import Progress, Workspace

_BESIDE_BYTES = 1024**3  # torch with the builder, and what they compute
# Of a matrix with its scales; the table of rows stays in F32.
_WEIGHT_BYTES: dict[DecoderType, float] = {"f32": 4.0, "int8": 1 + 4 / BLOCK_SIZE, "int4": 0.625 + 4 / BLOCK_SIZE}


class ToDecoderStep:
    """From the form in which a model is published to ONNX for onnxruntime-genai.

    Args:
        source: What is converted.
        weight_type: What the weights are kept in.
        exporter: The installed ``onnx``.
        runner: The installed ``onnxruntime``.
        settings: Whether the engine that the result is tried in has to be sealed.
    """

    def __init__(
        self,
        source: PublishedSource,
        weight_type: DecoderType,
        exporter: Environment,
        runner: Environment,
        settings: EngineSettings,
    ) -> None:
        self._source, self._weight_type = source, weight_type
        self._exporter, self._runner, self._settings = exporter, runner, settings

    def run(self, work: Workspace, report: Callable[[Progress], None]) -> None:
        """Makes the folder, as `undercroft.optimize.steps.Step` says, and leaves what the comparison showed."""
        published, between = work.folder / "published", work.folder / "between"
        self._source.lay_out(published)
        between.mkdir()
        architecture = self._source.model.facts.architecture
        order = DecoderOrder(published, work.result_folder, architecture, self._weight_type, between, work.threads)
        found = make_decoder(order, self._exporter, self._runner, self._settings, report)
        shutil.rmtree(published)
        shutil.rmtree(between)
        work.findings.write_text(json.dumps(found.told()), encoding="utf-8")


def prepare_to_decoder(kept: str | None, source: PublishedSource, home: Home, engines: EngineSettings) -> PreparedStep:
    """Looks whether a model that generates can be converted to ONNX, and what that takes.

    Args:
        kept: What the weights are to be kept in; None is F32.
        source: The model, in safetensors.
        home: Where environments lie.
        engines: Whether the engine that the result is tried in has to be sealed.

    Raises:
        InvalidError: ``requantizing``: it is rounded already.
        UnavailableError: ``no-environment``.
    """
    model = source.model
    wanted = next((one for one in DECODER_TYPES if one == kept), None)
    weight_type: DecoderType = wanted or "f32"
    refuse_rounded(model)
    exporter, runner = needed(home, find(EXPORTER)), needed(home, find(RUNNER))
    facts = model.facts
    table = (facts.vocabulary_tokens or 0) * (facts.embedding_length or 0)
    parameters = facts.parameters or 0
    # Where both ends share one table it is written twice: as a table of rows, and as a matrix.
    result = int(4 * table + parameters * _WEIGHT_BYTES[weight_type]) + source.bytes_beside_weights
    scratch = 4 * MOST_TOKENS * (facts.vocabulary_tokens or 0)
    told = {"to": "onnx", "type": weight_type}
    return PreparedStep(
        kind="convert",
        step=ToDecoderStep(source, weight_type, exporter, runner, engines),
        # While it is built the weights are there twice: as torch's, and as the graph's that is being written.
        forecast=Forecast(result, 2 * result + scratch, 8 * parameters + _BESIDE_BYTES),
        told={"settings": told, "environments": told_of(exporter, runner)},
    )

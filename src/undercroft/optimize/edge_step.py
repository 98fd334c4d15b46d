"""The step that makes programs for devices: what it would make and take, and the doing of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from undercroft.core.errors import InvalidError
from undercroft.core.home import Home
from undercroft.engines.encoder.folder import Encoder, read_encoder
from undercroft.environments.installed import Environment, needed
from undercroft.environments.recipes import find
from undercroft.optimize.edge.making import EdgeType, Order, Runtime, lengths_of, make_program, most_tokens
from undercroft.optimize.jobs.room import Forecast
from undercroft.optimize.prepared import PreparedStep
from undercroft.optimize.sources import PublishedSource
from undercroft.optimize.steps import Progress, Workspace

_TOLD_PACKAGES = ("torch", "transformers", "tokenizers", "executorch", "torchao", "litert-torch", "ai-edge-quantizer")
_BESIDE_BYTES = 1024**3  # torch with the exporter, and what it computes
# What an exporter has of the weights at its worst: read, traced, lowered, written.
_COPIES = 5
_GRAPH_BYTES = 4 * 1024**2


class EdgeStep:
    """From the form in which an encoder is published to a program for a device.

    Args:
        source: What is converted.
        encoder: What it is.
        runtime: What will run it.
        weights: What the weights are kept in.
        environment: The installed environment of the runtime.
    """

    def __init__(
        self,
        source: PublishedSource,
        encoder: Encoder,
        runtime: Runtime,
        weights: EdgeType,
        environment: Environment,
    ) -> None:
        self._source, self._encoder = source, encoder
        self._runtime, self._weights, self._environment = runtime, weights, environment

    def run(self, work: Workspace, report: Callable[[Progress], None]) -> None:
        """Makes the folder, as `undercroft.optimize.steps.Step` says, and leaves what the comparison showed."""
        published, between = work.folder / "published", work.folder / "between"
        self._source.lay_out(published)
        between.mkdir()
        order = Order(published, work.result_folder, self._runtime, self._weights, self._encoder, between, work.threads)
        agreement = make_program(order, self._environment, report)
        shutil.rmtree(published)
        shutil.rmtree(between)
        work.findings.write_text(json.dumps({"agreement": asdict(agreement)}), encoding="utf-8")


def prepare_edge(runtime: Runtime, weights: EdgeType, source: PublishedSource, home: Home) -> PreparedStep:
    """Looks whether a program for a device can be made of a model, and what that takes.

    Args:
        runtime: What will run it.
        weights: What the weights are to be kept in.
        source: The model, in safetensors.
        home: Where environments lie.

    Raises:
        InvalidError: It does not embed, or has parts that are not known here.
        UnavailableError: ``no-environment``.
    """
    model = source.model
    if model.facts.task != "embed":
        raise InvalidError(
            "wrong-task",
            f"model {model.name!r} is for {model.facts.task or 'a task that its files do not tell'}: expected one that "
            f"embeds, which is what is made for {runtime}",
            hint=f"undercroft optimize convert {model.name} --to gguf",
        )
    encoder = read_encoder(source.files)
    environment = needed(home, find(runtime))
    whole = 4 * (model.facts.parameters or 0)
    result = whole + source.bytes_beside_weights
    result += _GRAPH_BYTES * len(lengths_of(runtime, most_tokens(encoder)))
    return PreparedStep(
        kind="convert",
        step=EdgeStep(source, encoder, runtime, weights, environment),
        # What is rounded is written whole before.
        forecast=Forecast(result, 2 * result if weights == "int8" else result, _COPIES * whole + _BESIDE_BYTES),
        told={"settings": {"to": runtime, "type": weights}, "environment": _told(environment)},
    )


def _told(environment: Environment) -> dict[str, Any]:
    """Versions of what works in the environment, and the digest of what it was made of."""
    record = environment.record()
    assert record is not None  # `needed` has looked
    versions = {name: record.packages[name] for name in _TOLD_PACKAGES if name in record.packages}
    return {"recipe": record.recipe_digest, "versions": versions}

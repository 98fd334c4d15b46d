"""The step that makes programs for devices: what it would make and take, and the doing of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from undercroft.core.errors import InvalidError
from undercroft.core.home import Home
from undercroft.engines.encoder.folder import Encoder, read_encoder
from undercroft.environments.installed import Environment, needed
from undercroft.environments.recipes import find
from undercroft.optimize.edge.decoding import DecoderOrder, cache_tokens_of, lengths_read, make_decoder
from undercroft.optimize.edge.making import EdgeType, Order, Runtime, lengths_of, make_program, most_tokens
from undercroft.optimize.jobs.room import Forecast
from undercroft.optimize.onnx.decoding import MOST_TOKENS
from undercroft.optimize.prepared import PreparedStep
from undercroft.optimize.sources import PublishedSource, refuse_rounded
from undercroft.optimize.steps import Progress, Workspace
from undercroft.registry.inspection.json_files import read_json

_TOLD_PACKAGES = ("torch", "transformers", "tokenizers", "executorch", "torchao", "litert-torch", "ai-edge-quantizer")
_BESIDE_BYTES = 1024**3  # torch with the exporter, and what it computes
# What an exporter has of the weights at its worst: read, traced, lowered, written.
_COPIES = 5
_GRAPH_BYTES = 4 * 1024**2
_OTHER_FORMS = {"rerank": "onnx", "classify": "onnx"}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a program is made.

    Args:
        published: Folder of the model that is read.
        target: Folder to write to; made there.
        folder: For what is in between.
        threads: Processors to use; count.
    """

    published: Path
    target: Path
    folder: Path
    threads: int


Make = Callable[[Place, Callable[[Progress], None]], dict[str, Any]]


class EdgeStep:
    """From the form in which a model is published to a program for a device.

    Args:
        source: What is converted.
        make: Makes the program and runs it against its source; what that showed, for the lineage.
    """

    def __init__(self, source: PublishedSource, make: Make) -> None:
        self._source, self._make = source, make

    def run(self, work: Workspace, report: Callable[[Progress], None]) -> None:
        """Makes the folder, as `undercroft.optimize.steps.Step` says, and leaves what the comparison showed."""
        place = Place(work.folder / "published", work.result_folder, work.folder / "between", work.threads)
        self._source.lay_out(place.published)
        place.folder.mkdir()
        found = self._make(place, report)
        shutil.rmtree(place.published)
        shutil.rmtree(place.folder)
        work.findings.write_text(json.dumps(found), encoding="utf-8")


def prepare_edge(runtime: Runtime, weights: EdgeType, source: PublishedSource, home: Home) -> PreparedStep:
    """Looks whether a program for a device can be made of a model, and what that takes.

    Args:
        runtime: What will run it.
        weights: What the weights are to be kept in.
        source: The model, in safetensors.
        home: Where environments lie.

    Raises:
        InvalidError: Nothing is made of its task for the runtime, it has parts that are not known here, or it is
            rounded already.
        UnavailableError: ``no-environment``.
    """
    facts = source.model.facts
    whole = 4 * (facts.parameters or 0)
    kept = whole + source.bytes_beside_weights
    if facts.task == "generate":
        refuse_rounded(source.model)
        environment = needed(home, find(runtime))
        cache_tokens = cache_tokens_of(facts, read_json(source.path, "config.json"))
        make = _decoder_maker(runtime, weights, cache_tokens, environment)
        # Where both ends share one table, ExecuTorch writes it twice: as a table of rows, and as a matrix.
        table = 4 * (facts.vocabulary_tokens or 0) * (facts.embedding_length or 0) if runtime == "executorch" else 0
        graphs = _GRAPH_BYTES * len(lengths_read(runtime, cache_tokens))
        result, scratch = kept + table + graphs, 4 * MOST_TOKENS * (facts.vocabulary_tokens or 0)
    else:
        encoder = _encoder_of(source, runtime)
        environment = needed(home, find(runtime))
        make = _encoder_maker(runtime, weights, encoder, environment)
        result, scratch = kept + _GRAPH_BYTES * len(lengths_of(runtime, most_tokens(encoder))), 0
    return PreparedStep(
        kind="convert",
        step=EdgeStep(source, make),
        # What is rounded is written whole before.
        forecast=Forecast(
            result, (2 * result if weights == "int8" else result) + scratch, _COPIES * whole + _BESIDE_BYTES
        ),
        told={"settings": {"to": runtime, "type": weights}, "environment": _told(environment)},
    )


def _encoder_of(source: PublishedSource, runtime: Runtime) -> Encoder:
    model = source.model
    if model.facts.task == "embed":
        return read_encoder(source.files)
    raise InvalidError(
        "wrong-task",
        f"model {model.name!r} is for {model.facts.task or 'a task that its files do not tell'}: expected one that "
        f"embeds or generates, which is what is made for {runtime}",
        hint=f"undercroft optimize convert {model.name} --to {_OTHER_FORMS.get(model.facts.task or '', 'gguf')}",
    )


def _encoder_maker(runtime: Runtime, weights: EdgeType, encoder: Encoder, environment: Environment) -> Make:
    def make(place: Place, report: Callable[[Progress], None]) -> dict[str, Any]:
        order = Order(place.published, place.target, runtime, weights, encoder, place.folder, place.threads)
        return {"agreement": asdict(make_program(order, environment, report))}

    return make


def _decoder_maker(runtime: Runtime, weights: EdgeType, cache_tokens: int, environment: Environment) -> Make:
    def make(place: Place, report: Callable[[Progress], None]) -> dict[str, Any]:
        order = DecoderOrder(place.published, place.target, runtime, weights, cache_tokens, place.folder, place.threads)
        return make_decoder(order, environment, report).told()

    return make


def _told(environment: Environment) -> dict[str, Any]:
    """Versions of what works in the environment, and the digest of what it was made of."""
    record = environment.record()
    assert record is not None  # `needed` has looked
    versions = {name: record.packages[name] for name in _TOLD_PACKAGES if name in record.packages}
    return {"recipe": record.recipe_digest, "versions": versions}

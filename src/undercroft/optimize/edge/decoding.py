"""From a published model that generates to a program for a device, run in its runtime and held against its source."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from undercroft.core.errors import InvalidError
from undercroft.environments.installed import Environment
from undercroft.optimize.conversion.programs_run import run_program
from undercroft.optimize.conversion.sample_texts import PROMPTS, SPLIT_TEXTS
from undercroft.optimize.edge.making import PROGRAM_FILES, PROGRAMS, EdgeType, Runtime
from undercroft.optimize.onnx.decoding import (
    KEPT,
    LIMIT_NATS,
    MOST_TOKENS,
    MadeDecoder,
    check_answers,
    check_expectations,
)
from undercroft.optimize.steps import Progress
from undercroft.registry.facts import ModelFacts
from undercroft.registry.inspection.edge import MANIFEST, EdgeManifest, Tensor

_NEW_TOKENS = 16
# What LiteRT reads at once; shorter pieces are filled up.
_LENGTHS = (1, 32)
_MOST_CACHE_TOKENS = 2048  # every token attends over all of the cache, filled or not


@dataclass(frozen=True, slots=True)
class DecoderOrder:
    """What is wanted.

    Args:
        source: Folder of the published model.
        target: Folder to write to; made here.
        runtime: What will run it.
        weights: What the matrices are kept in.
        cache_tokens: Room for prompt and answer together.
        folder: For what is in between; the caller removes it.
        threads: Processors to use; count.
    """

    source: Path
    target: Path
    runtime: Runtime
    weights: EdgeType
    cache_tokens: int
    folder: Path
    threads: int


def cache_tokens_of(facts: ModelFacts, settings: Mapping[str, Any]) -> int:
    """Room for prompt and answer together: no more than the model was made for, or than a layer of it looks back.

    Args:
        facts: Of the published model.
        settings: Its ``config.json``.
    """
    window = settings.get("sliding_window")
    limits = [facts.context_tokens, window if isinstance(window, int) else None]
    return min([_MOST_CACHE_TOKENS, *(most for most in limits if most and most > 0)])


def make_decoder(order: DecoderOrder, environment: Environment, report: Callable[[Progress], None]) -> MadeDecoder:
    """Exports with the runtime's own exporter, and runs the result against its source before it counts.

    Args:
        order: What is wanted.
        environment: The installed environment of the runtime.
        report: Told what it does.

    Raises:
        InvalidError: The result is not the same model.
        UnavailableError: A program failed, or memory is short.
        OSError: The disk is full.
    """
    order.target.mkdir()
    report(Progress(0, 0, "steps", "exporting it, and comparing it with its source"))
    told = {
        "source": str(order.source),
        "target": str(order.target),
        "weights": order.weights,
        "cache_tokens": order.cache_tokens,
        "lengths": lengths_read(order.runtime, order.cache_tokens),
        "texts": [*SPLIT_TEXTS, *PROMPTS],
        "prompts": PROMPTS,
        "split_texts": SPLIT_TEXTS,
        "new_tokens": _NEW_TOKENS,
        "most_tokens": MOST_TOKENS,
        "scratch": str(order.folder / "expected.bin"),
        "threads": order.threads,
    }
    said = run_program(environment, f"to_{order.runtime}_decoder", told, folder=order.folder, programs=PROGRAMS)
    manifest = manifest_of(order, said)
    (order.target / MANIFEST).write_text(json.dumps(manifest.to_dict(), indent=1) + "\n", encoding="utf-8")
    for name in KEPT:
        if (order.source / name).is_file():
            shutil.copyfile(order.source / name, order.target / name)
    return check_made(said, order.weights)


def lengths_read(runtime: Runtime, cache_tokens: int) -> tuple[int, ...]:
    """What a program reads at once, tokens: ExecuTorch anything up to one, LiteRT what it was made for.

    Args:
        runtime: What runs it.
        cache_tokens: Room for prompt and answer together.
    """
    if runtime == "executorch":
        return (cache_tokens,)
    return tuple(length for length in _LENGTHS if length <= cache_tokens)


def manifest_of(order: DecoderOrder, said: Mapping[str, Any]) -> EdgeManifest:
    """How the program is run.

    Args:
        order: What was wanted.
        said: By the exporter: ``pad_token``, ``end_tokens``, ``parameters``, ``vocabulary``; of LiteRT's cache
            ``layers``, ``heads``, ``head_width``, too.
    """
    logits = Tensor("logits", "float32", (1, 1, said["vocabulary"]))
    inputs, outputs = _whose_cache_is_inside(logits) if order.runtime == "executorch" else _lent(order, said, logits)
    return EdgeManifest(
        runtime=order.runtime,
        program=PROGRAM_FILES[order.runtime],
        tokenizer="tokenizer.json",
        task="generate",
        weights=order.weights,
        parameters=said["parameters"],
        most_tokens=order.cache_tokens,
        lengths=lengths_read(order.runtime, order.cache_tokens),
        is_length_fixed=order.runtime == "litert",
        pad_token=said["pad_token"],
        width=0,
        pooling="",
        end_tokens=tuple(said["end_tokens"]),
        inputs=inputs,
        outputs=outputs,
    )


def _whose_cache_is_inside(logits: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    return (Tensor("input_ids", "int64", (1, "tokens")), Tensor("positions", "int64", ("tokens",))), (logits,)


def _lent(
    order: DecoderOrder, said: Mapping[str, Any], logits: Tensor
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """What goes in and comes out where the caller keeps the cache: what comes of a layer is what is new of it."""
    names = [f"{name}_{layer}" for layer in range(said["layers"]) for name in ("keys", "values")]
    heads, width = said["heads"], said["head_width"]
    told = (
        Tensor("input_ids", "int32", (1, "length")),
        Tensor("position", "int32", (1,)),
        Tensor("last", "int32", (1,)),
    )
    kept = (Tensor(name, "float32", (1, heads, order.cache_tokens, width)) for name in names)
    new = (Tensor(name, "float32", (1, heads, "length", width)) for name in names)
    return (*told, *kept), (logits, *new)


def check_made(said: Mapping[str, Any], weights: EdgeType) -> MadeDecoder:
    """What both models expect of the same texts, if it is near enough, and of unrounded weights the same answers.

    Args:
        said: By the program that compared them.
        weights: What the matrices are kept in.

    Raises:
        InvalidError: ``not-the-same``.
    """
    check_splits(said["split"], said["result_split"])
    comparison = check_expectations(said, weights)
    check_pieces(said.get("pieces_nats", 0.0), weights)
    agreement = check_answers(said["source"], said["result"]) if weights == "f32" else None
    return MadeDecoder({}, comparison, agreement)


def check_pieces(nats: float, weights: EdgeType) -> None:
    """Whether a text that is read in pieces is read as one is that is read token by token.

    Args:
        nats: Largest divergence of what is expected after a piece.
        weights: What the matrices are kept in.

    Raises:
        InvalidError: ``not-the-same``.
    """
    if not nats <= LIMIT_NATS[weights]:
        raise InvalidError(
            "not-the-same",
            f"the new model is not its source: what it expects of a text that is read in pieces is {nats:.3g} nats "
            f"away from what it expects of one that is read token by token, at most {LIMIT_NATS[weights]:g} is allowed "
            f"for {weights}",
            hint="undercroft optimize convert MODEL --to gguf",
        )


def check_splits(expected: Sequence[Sequence[int]], found: Sequence[Sequence[int]]) -> None:
    """Whether a device cuts text into the same tokens.

    Args:
        expected: Token ids of each text, the source's.
        found: Those of the tokenizer that a device reads.

    Raises:
        InvalidError: ``not-the-same``.
    """
    for text, its, ours in zip(SPLIT_TEXTS, expected, found, strict=True):
        if list(its) != list(ours):
            raise InvalidError(
                "not-the-same",
                f"the new model is not its source: it splits {text[:40]!r} into other tokens",
                hint="undercroft optimize convert MODEL --to gguf",
            )

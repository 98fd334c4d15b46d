"""From a published encoder to a program for a device, run in the device's own runtime and held against its source."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from undercroft.engines.encoder.folder import Encoder
from undercroft.environments.installed import Environment
from undercroft.optimize.conversion.comparing import Agreement
from undercroft.optimize.conversion.programs_run import run_program
from undercroft.optimize.onnx.verifying import TEXTS, compare
from undercroft.optimize.steps import Progress
from undercroft.registry.inspection.edge import MANIFEST, EdgeManifest, Tensor
from undercroft.registry.selection import Role, role_of

Runtime = Literal["executorch", "litert"]
EdgeType = Literal["f32", "int8"]

PROGRAMS = Path(__file__).with_name("programs")
PROGRAM_FILES: dict[Runtime, str] = {"executorch": "model.pte", "litert": "model.tflite"}
# ExecuTorch computes any length. LiteRT computes what it was made for: a text is filled up to the next of these.
_LENGTHS = (32, 128)
_MOST_TOKENS = 512  # of what is worth computing on a device; attention takes the square of it


@dataclass(frozen=True, slots=True)
class Order:
    """What is wanted.

    Args:
        source: Folder of the model that is read.
        target: Folder to write to; made here.
        runtime: What will run it.
        weights: What the weights are kept in.
        encoder: What it is.
        folder: For what is in between; the caller removes it.
        threads: Processors to use; count.
    """

    source: Path
    target: Path
    runtime: Runtime
    weights: EdgeType
    encoder: Encoder
    folder: Path
    threads: int


def make_program(order: Order, environment: Environment, report: Callable[[Progress], None]) -> Agreement:
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
    most, texts = most_tokens(order.encoder), sample_texts()
    order.target.mkdir()
    report(Progress(0, 0, "steps", "asking the source and exporting it"))
    told = {
        "model": str(order.source),
        "target": str(order.target),
        "weights": order.weights,
        "pooling": order.encoder.pooling,
        "is_normalized": order.encoder.is_normalized,
        "most_tokens": most,
        "lengths": lengths_of(order.runtime, most),
        "texts": texts,
        "threads": order.threads,
    }
    said = run_program(environment, f"to_{order.runtime}", told, folder=order.folder, programs=PROGRAMS)
    manifest = manifest_of(order, said)
    (order.target / MANIFEST).write_text(json.dumps(manifest.to_dict(), indent=1) + "\n", encoding="utf-8")
    _keep_what_it_says_of_itself(order.source, order.target)
    report(Progress(0, 0, "steps", f"comparing with the source, in {order.runtime}"))
    asked = {"folder": str(order.target), "task": "embed", "texts": texts, "threads": order.threads}
    made = run_program(environment, "answer", asked, folder=order.folder, programs=PROGRAMS)["embedded"]
    return compare(order.encoder, said["answers"], made, order.weights)


def sample_texts() -> list[str]:
    """What source and result are asked: many scripts, many lengths, and one longer than anything that is computed."""
    return [*TEXTS, " ".join(TEXTS * 2)]


def most_tokens(encoder: Encoder) -> int:
    """Longest text of a program; what is longer is cut, as it is for the source.

    Args:
        encoder: The published one.
    """
    return min(encoder.max_tokens, _MOST_TOKENS)


def lengths_of(runtime: Runtime, most: int) -> tuple[int, ...]:
    """What a program computes, tokens.

    Args:
        runtime: What runs it.
        most: Longest text, tokens.
    """
    if runtime == "executorch":
        return (most,)
    return (*(length for length in _LENGTHS if length < most), most)


def manifest_of(order: Order, said: dict[str, Any]) -> EdgeManifest:
    """How the program is run.

    Args:
        order: What was wanted.
        said: By the exporter: ``pad_token``, ``parameters``, ``width``.
    """
    is_fixed = order.runtime == "litert"
    most, kind = most_tokens(order.encoder), "int32" if is_fixed else "int64"
    size = "length" if is_fixed else "tokens"
    return EdgeManifest(
        runtime=order.runtime,
        program=PROGRAM_FILES[order.runtime],
        tokenizer="tokenizer.json",
        task="embed",
        weights=order.weights,
        parameters=said["parameters"],
        most_tokens=most,
        lengths=lengths_of(order.runtime, most),
        is_length_fixed=is_fixed,
        pad_token=said["pad_token"],
        width=said["width"],
        pooling=order.encoder.pooling,
        end_tokens=(),
        inputs=tuple(Tensor(name, kind, (1, size)) for name in ("input_ids", "attention_mask")),
        outputs=(Tensor("sentence_embedding", "float32", (1, said["width"])),),
    )


def _keep_what_it_says_of_itself(source: Path, target: Path) -> None:
    """Its settings, from which it is known what it is, and its card and licence."""
    for path in sorted(source.iterdir()):
        if path.name == "config.json" or role_of(path.name) is Role.DOCUMENT:
            shutil.copyfile(path, target / path.name)

"""From a published encoder to one in ONNX, and from that to one in 8 bits; each was run and held against its source."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from undercroft.core.errors import InvalidError
from undercroft.core.settings import EngineSettings
from undercroft.engines.encoder.folder import Encoder
from undercroft.engines.onnxruntime import network_file
from undercroft.environments.installed import Environment
from undercroft.optimize.conversion.comparing import Agreement
from undercroft.optimize.conversion.programs_run import run_program
from undercroft.optimize.onnx.verifying import answers_of, compare, read_inputs, sample_inputs
from undercroft.optimize.steps import Progress

PROGRAMS = Path(__file__).with_name("programs")
# Of a published model the settings that say how it is used; weights and tokenizer are written anew.
_KEPT = (
    *("config.json", "tokenizer_config.json", "special_tokens_map.json", "modules.json", "sentence_bert_config.json"),
    *("config_sentence_transformers.json", "1_Pooling/config.json"),
)
_DOCUMENTS = ("README.md", "LICENSE", "LICENSE.txt", "LICENSE.md", "NOTICE", "NOTICE.txt")
_NETWORK, _TOKENIZER = "model.onnx", "tokenizer.json"
# Kinds of operators that are rounded. Tables of rows (Gather) stay: they cost no time, and rounding them costs cosine.
_ROUNDED = ("MatMul",)
_MOST_HELD_BACK = 64


@dataclass(frozen=True, slots=True)
class Order:
    """What is wanted.

    Args:
        source: Folder of the model that is read.
        target: Folder to write to; made here.
        encoder: What it is.
        folder: For what is in between; the caller removes it.
        threads: Processors to use; count.
    """

    source: Path
    target: Path
    encoder: Encoder
    folder: Path
    threads: int


def make_onnx(
    order: Order,
    exporter: Environment,
    runner: Environment,
    settings: EngineSettings,
    report: Callable[[Progress], None],
) -> Agreement:
    """Exports with torch's own exporter, and runs the result against its source before it counts.

    Args:
        order: What is wanted.
        exporter: The installed ``onnx``.
        runner: The installed ``onnxruntime``.
        settings: Whether the engine has to be sealed.
        report: Told how far it is.

    Raises:
        InvalidError: The result is not the same model.
        UnavailableError: A program failed, memory is short, or the engine does not load the result.
    """
    encoder, inputs = order.encoder, sample_inputs(order.encoder)
    order.target.mkdir()
    report(Progress(0, 0, "steps", "asking the source and exporting it"))
    told = {
        "model": str(order.source),
        "target": str(order.target),
        "task": encoder.task,
        "pooling": encoder.pooling,
        "is_normalized": encoder.is_normalized,
        "activation": encoder.activation,
        "inputs": inputs,
        "most_tokens": encoder.max_tokens,
        "threads": order.threads,
    }
    said = run_program(exporter, "to_onnx", told, folder=order.folder, programs=PROGRAMS)
    _copy(order.source, order.target, (*_KEPT, *_DOCUMENTS))
    report(Progress(0, 0, "steps", "comparing with the source"))
    made = answers_of(order.target, encoder, inputs, runner, settings, threads=order.threads)
    return compare(encoder, said["answers"], made, "f32")


@dataclass(frozen=True, slots=True)
class Calibrating:
    """By what the ranges of inputs are found, and by what the result is compared beside our own samples.

    Args:
        texts: That are read before anything is rounded.
        held_back: That the quantizer never sees.
        tokens: Of one text, at most.
    """

    texts: Sequence[str]
    held_back: Sequence[str]
    tokens: int


def make_int8(
    order: Order,
    runner: Environment,
    settings: EngineSettings,
    report: Callable[[Progress], None],
    *,
    is_signed: bool,
    calibrating: Calibrating | None = None,
) -> tuple[Agreement, Mapping[str, Any]]:
    """Rounds with ONNX Runtime's own quantizer, and runs the result against its source before it counts.

    Args:
        order: What is wanted.
        runner: The installed ``onnxruntime``.
        settings: Whether the engine has to be sealed.
        report: Told how far it is.
        is_signed: Whether weights are rounded to signed numbers, see `suits_signed`.
        calibrating: Texts for ranges that are fixed; None finds them for every batch anew.

    Returns:
        How well they agree, and how many matrices were rounded or stayed.

    Raises:
        InvalidError: The result is not the same model.
        UnavailableError: The program failed, memory is short, or the engine does not load one of them.
    """
    encoder = order.encoder
    inputs = sample_inputs(encoder, calibrating.held_back[:_MOST_HELD_BACK] if calibrating is not None else ())
    shutil.copytree(order.source, order.target, ignore=shutil.ignore_patterns("*.onnx", "*.onnx_data"))
    report(Progress(0, 0, "steps", "rounding"))
    told: dict[str, Any] = {
        "source": str(network_file(order.source)),
        "target": str(order.target / _NETWORK),
        "folder": str(order.folder),
        "operators": _ROUNDED,
        "is_per_channel": True,
        "is_signed": is_signed,
    }
    program = "to_int8"
    if calibrating is not None:
        program = "to_int8_static"
        told |= {
            "tokenizer": str(order.source / _TOKENIZER),
            "inputs": read_inputs(encoder, calibrating.texts),
            "most_tokens": min(encoder.max_tokens, calibrating.tokens),
        }
    counted = run_program(runner, program, told, folder=order.folder, programs=PROGRAMS)
    if not counted["rounded"]:
        raise InvalidError(
            "nothing-rounded",
            f"none of the model's {counted['others']} matrices could be rounded: it has no others than its tables",
            hint="keep the model as it is",
        )
    report(Progress(0, 0, "steps", "asking the source"))
    before = answers_of(order.source, encoder, inputs, runner, settings, threads=order.threads)
    report(Progress(0, 0, "steps", "comparing with the source"))
    after = answers_of(order.target, encoder, inputs, runner, settings, threads=order.threads)
    return compare(encoder, before, after, "int8"), counted


def _copy(source: Path, target: Path, names: tuple[str, ...]) -> None:
    for name in names:
        if (source / name).is_file():
            (target / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(source / name, target / name)

"""From a folder as it is published to one that is smaller, was loaded again and is still the same model."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from undercroft.core.errors import InvalidError
from undercroft.environments.installed import Environment
from undercroft.optimize.compression.comparing import Comparison, check_same
from undercroft.optimize.compression.schemes import CompressedScheme
from undercroft.optimize.compression.texts import Parts
from undercroft.optimize.conversion.programs_run import run_program
from undercroft.optimize.steps import Progress
from undercroft.registry.selection import INDEX, Role, role_of

PROGRAMS = Path(__file__).with_name("programs")
ENVIRONMENT = "compress"
LEAST_CALIBRATION_TOKENS = 1000
WINDOW_TOKENS = 256
_MOST_COMPARED_TOKENS = 4096
_SCRATCH_BYTES = 512 * 1024**2
_LOGITS_BYTES = 4
_README = "readme.md"


@dataclass(frozen=True, slots=True)
class CompressionOrder:
    """What is wanted.

    Args:
        source: Folder of a published model.
        target: Folder to make.
        scheme: Which.
        group_size: Weights of a row that share a scale; None: all of a row.
        is_smoothed: Whether outliers of what is read are moved into the weights first; for W8A8.
        texts: Shared out.
        samples: Texts of ``sample_tokens`` that are read, at most; count.
        sample_tokens: Tokens of one.
        vocabulary: Tokens of the model's.
        modules: Names of the modules whose weights become smaller.
        folder: For what is in between; the caller removes it.
        seed: Of what is random.
        threads: Processors to use; count.
    """

    source: Path
    target: Path
    scheme: CompressedScheme
    group_size: int | None
    is_smoothed: bool
    texts: Parts
    samples: int
    sample_tokens: int
    vocabulary: int
    modules: frozenset[str]
    folder: Path
    seed: int
    threads: int


@dataclass(frozen=True, slots=True)
class Compressed:
    """What came of it.

    Args:
        samples: Windows of text that the quantizer read; count.
        tokens: In all of them.
        comparison: With the source, on what was held back.
    """

    samples: int
    tokens: int
    comparison: Comparison


def compared_tokens(vocabulary: int) -> int:
    """Most tokens at which a result is compared with its source: what is kept of the source has to fit on the disk.

    Args:
        vocabulary: Tokens of the model's; count.
    """
    return max(64, min(_MOST_COMPARED_TOKENS, _SCRATCH_BYTES // (_LOGITS_BYTES * vocabulary)))


def scratch_bytes(vocabulary: int) -> int:
    """Of the file that holds what the source expects, at most."""
    return compared_tokens(vocabulary) * vocabulary * _LOGITS_BYTES


def compress(order: CompressionOrder, environment: Environment, report: Callable[[Progress], None]) -> Compressed:
    """Compresses, then loads the result and holds it against its source on texts that the quantizer has not read.

    Args:
        order: What is wanted.
        environment: The installed ``compress``.
        report: Told how far it is.

    Raises:
        InvalidError: ``too-little-text``; ``not-the-same``; ``not-all-quantized``.
        UnavailableError: A program failed, or memory is short.
        OSError: The disk is full.
    """
    report(Progress(0, 0, "steps", "opening the model"))
    said = _make(order, environment, report)
    _tidy(order)
    found = _compare(order, environment, report)
    check_same(found, order.scheme)
    return Compressed(said["samples"], said["tokens"], found)


def _make(order: CompressionOrder, environment: Environment, report: Callable[[Progress], None]) -> Mapping[str, Any]:
    method = "rounding" if order.scheme.method == "smoothing" and not order.is_smoothed else order.scheme.method
    asked = {
        "source": str(order.source),
        "target": str(order.target),
        "preset": order.scheme.preset,
        "method": method,
        "group_size": order.group_size if order.scheme.group_size is None else None,
        "texts": order.texts.calibration if method != "rounding" else (),
        "samples": order.samples,
        "sample_tokens": order.sample_tokens,
        "least_tokens": LEAST_CALIBRATION_TOKENS,
        "seed": order.seed,
        "threads": order.threads,
    }
    said = run_program(
        environment, "compress", asked, folder=order.folder, programs=PROGRAMS, hear=_hearing(report, "layers")
    )
    if said["outcome"] == "os-error":
        number = said["errno"] or errno.EIO
        raise OSError(number, os.strerror(number), said["path"])
    if said["outcome"] == "too-little-text":
        raise InvalidError(
            "too-little-text",
            f"the texts to calibrate by have {said['tokens']:,} tokens: expected {LEAST_CALIBRATION_TOKENS:,} or more, "
            "better some tens of thousands",
            hint="give longer --calibration-texts",
        )
    _check_modules(order, frozenset(said["modules"]))
    return said


def _check_modules(order: CompressionOrder, made: frozenset[str]) -> None:
    """Nothing is left out silently, and nothing else is touched."""
    odd = sorted(made ^ order.modules)
    if odd:
        what = "left as it was" if odd[0] in order.modules else "quantized, too"
        raise InvalidError(
            "not-all-quantized",
            f"{len(odd):,} of {len(order.modules):,} matrices came out otherwise than planned: {odd[0][:100]} was "
            f"{what}",
            hint="this architecture is not one that the scheme was tried with: take another form, as a GGUF",
        )


def _tidy(order: CompressionOrder) -> None:
    """Leaves the weights as they were written, and everything else as its makers published it.

    The library writes settings and tokenizer anew in the words of its own version; engines know the published ones.
    """
    written = json.loads((order.target / "config.json").read_bytes())
    for path in sorted(order.target.iterdir()):
        if path.suffix != ".safetensors" and path.name != INDEX:
            path.unlink()
    for path in sorted(order.source.rglob("*")):
        name = path.relative_to(order.source).as_posix()
        is_kept = path.is_file() and role_of(name) is not Role.WEIGHTS and name != INDEX and name.lower() != _README
        if is_kept:
            target = order.target / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    config = json.loads((order.source / "config.json").read_bytes())
    config["quantization_config"] = written["quantization_config"]
    (order.target / "config.json").write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _compare(order: CompressionOrder, environment: Environment, report: Callable[[Progress], None]) -> Comparison:
    scratch = order.folder / "source.f32"
    asked = {
        "source": str(order.source),
        "result": str(order.target),
        "texts": order.texts.held_back,
        "window_tokens": WINDOW_TOKENS,
        "most_tokens": compared_tokens(order.vocabulary),
        "scratch": str(scratch),
        "threads": order.threads,
    }
    said = run_program(
        environment, "compare", asked, folder=order.folder, programs=PROGRAMS, hear=_hearing(report, "texts")
    )
    scratch.unlink(missing_ok=True)
    if said["tokens"] == 0:
        said = {"tokens": 0, **dict.fromkeys(_FIGURES, 0.0)}
    return Comparison(limit_nats=order.scheme.largest_nats, **said)


_FIGURES = ("same_top", "mean_nats", "largest_nats", "noise_nats", "source_nats", "result_nats")
_NOTES = {"layers": "quantizing", "texts": "comparing with the source"}


def _hearing(report: Callable[[Progress], None], unit: str) -> Callable[[dict[str, Any]], None]:
    return lambda event: report(Progress(event["done"], event["total"], unit, _NOTES[unit]))


def modules_of(matrices: Sequence[str]) -> frozenset[str]:
    """Names of the modules whose weights have these names."""
    return frozenset(name.removesuffix(".weight") for name in matrices)

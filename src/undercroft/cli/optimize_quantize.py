"""``undercroft optimize quantize``: fewer bits a weight, for llama.cpp or for vLLM."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from undercroft.cli.optimize_job import (
    AllowRequantize,
    Detach,
    DryRun,
    ImportanceFile,
    NewName,
    do_recipe,
    given,
    importance_of,
    suggested_name,
)
from undercroft.cli.output import AsJson, Reason
from undercroft.core.errors import InvalidError
from undercroft.optimize.compression.schemes import COMPRESSED
from undercroft.optimize.recipes import make_recipe
from undercroft.optimize.scheme_names import find_scheme

_TO = f"A GGUF: Q8_0, Q6_K, Q5_K_M, Q4_K_M, IQ4_XS …; safetensors: {', '.join(COMPRESSED)}; ONNX: INT8, INT8-STATIC."


def quantize(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A registered GGUF or published model, best in F16 or BF16.")
    ],
    to: Annotated[str, typer.Option("--to", metavar="SCHEME", help=_TO)],
    name: NewName = None,
    importance_texts: Annotated[
        Path | None,
        typer.Option("--importance-texts", metavar="FILE", help="GGUF: keep what matters to texts of your own, UTF-8."),
    ] = None,
    importance: ImportanceFile = None,
    allow_requantize: AllowRequantize = False,
    calibration_texts: Annotated[
        Path | None,
        typer.Option(
            "--calibration-texts",
            metavar="FILE",
            help="safetensors, INT8-STATIC: round by texts of your own, UTF-8; compare by some.",
        ),
    ] = None,
    samples: Annotated[
        int | None, typer.Option("--samples", help="Pieces of these texts that are read, at most; 128.")
    ] = None,
    sample_tokens: Annotated[int | None, typer.Option("--sample-tokens", help="Tokens of a piece; 512.")] = None,
    group_size: Annotated[
        int | None,
        typer.Option(
            "--group-size", help="W4A16: weights that share a scale, 128, 64 or 32; the largest that divides."
        ),
    ] = None,
    smoothing: Annotated[
        bool | None, typer.Option("--smoothing/--no-smoothing", help="w8a8: move outliers into the weights; yes.")
    ] = None,
    dry_run: DryRun = False,
    detach: Detach = False,
    because: Reason = None,
    as_json: AsJson = False,
) -> None:
    """Make a model smaller, by fewer bits a weight: a GGUF for llama.cpp, a published model (safetensors) for vLLM, an
    encoder (ONNX) for onnxruntime."""
    scheme = find_scheme(to).name
    settings = given(
        scheme=scheme,
        importance=importance_of(importance_texts, importance),
        allow_requantize=allow_requantize or None,
        calibration=_calibration(calibration_texts, samples, sample_tokens),
        group_size=group_size,
        smoothing=smoothing,
    )
    values = {"from": model, "to": name or suggested_name(model, scheme), "steps": [{"quantize": settings}]}
    do_recipe(make_recipe(values), dry_run, detach, because, as_json)


def _calibration(texts: Path | None, samples: int | None, sample_tokens: int | None) -> dict[str, Any] | None:
    chosen = given(samples=samples, sample_tokens=sample_tokens)
    if texts is not None:
        return {"texts": texts, **chosen}
    if chosen:
        raise InvalidError(
            "bad-recipe",
            f"--{next(iter(chosen)).replace('_', '-')} says how much of your texts is read: expected them beside it",
            hint="--calibration-texts FILE",
        )
    return None

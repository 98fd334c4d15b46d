"""``undercroft optimize``: make a new model of one that is there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from undercroft.cli.optimize_distill import distill
from undercroft.cli.optimize_evaluate import evaluate
from undercroft.cli.optimize_finetune import finetune
from undercroft.cli.optimize_job import Detach, DryRun, NewName, do_recipe, given, suggested_name
from undercroft.cli.optimize_prune import prune
from undercroft.cli.optimize_quantize import quantize
from undercroft.cli.optimize_rightsize import rightsize
from undercroft.cli.output import AsJson, Reason
from undercroft.optimize.recipes import load_recipe, make_recipe

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)

app.command()(quantize)


@app.command()
def convert(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A registered model as it was published, or PEFT's adapter.")
    ],
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="FORMAT",
            help="gguf, onnx, executorch, litert; of an encoder in ONNX triton, tensorrt.",
        ),
    ] = "gguf",
    kept: Annotated[
        str | None,
        typer.Option(
            "--type", help="gguf: f32, f16, bf16, q8_0; onnx: f32, int8, int4; devices: f32, int8; Triton: f32, f16."
        ),
    ] = None,
    version: Annotated[
        int | None, typer.Option("--version", min=1, help="triton, tensorrt: number of the version's folder; 1.")
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(
            "--base", metavar="NAME", help="Of an adapter: its base as a GGUF; one converted here if left out."
        ),
    ] = None,
    name: NewName = None,
    dry_run: DryRun = False,
    detach: Detach = False,
    because: Reason = None,
    as_json: AsJson = False,
) -> None:
    """Bring a published model into a form that an engine here runs, and prove that it says the same."""
    values = {
        "from": model,
        "to": name or suggested_name(model, f"{to}-{kept}" if kept in ("int8", "int4") else to),
        "steps": [{"convert": given(to=to, type=kept, version=version, base=base)}],
    }
    do_recipe(make_recipe(values), dry_run, detach, because, as_json)


@app.command()
def run(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="A YAML file; its form is in the guide.")],
    dry_run: DryRun = False,
    detach: Detach = False,
    because: Reason = None,
    as_json: AsJson = False,
) -> None:
    """Do what a recipe says: of which model, by which steps, under which name."""
    do_recipe(load_recipe(recipe), dry_run, detach, because, as_json)


app.command()(finetune)
app.command()(evaluate)
app.command()(rightsize)
app.command()(prune)
app.command()(distill)

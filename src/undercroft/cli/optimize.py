"""``undercroft optimize``: make a new model of one that is there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from undercroft.cli.optimize_distill import distill
from undercroft.cli.optimize_evaluate import evaluate
from undercroft.cli.optimize_finetune import finetune
from undercroft.cli.optimize_job import AllowRequantize, Detach, DryRun, do_recipe, suggested_name
from undercroft.cli.optimize_prune import prune
from undercroft.cli.optimize_rightsize import rightsize
from undercroft.cli.output import AsJson, Reason
from undercroft.optimize.quantization.schemes import scheme_named
from undercroft.optimize.recipes import load_recipe, make_recipe

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)


@app.command()
def quantize(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A registered GGUF, best in F16 or BF16.")],
    to: Annotated[str, typer.Option("--to", metavar="SCHEME", help="Q8_0, Q6_K, Q5_K_M, Q4_K_M, IQ4_XS, Q3_K_M …")],
    name: Annotated[str | None, typer.Option(help="Of the new model; else made of MODEL and SCHEME.")] = None,
    importance_texts: Annotated[
        Path | None,
        typer.Option("--importance-texts", metavar="FILE", help="Keep what matters to texts of your own, in UTF-8."),
    ] = None,
    allow_requantize: AllowRequantize = False,
    dry_run: DryRun = False,
    detach: Detach = False,
    because: Reason = None,
    as_json: AsJson = False,
) -> None:
    """Make a model smaller: fewer bits a weight, as llama.cpp's own quantizer chooses them."""
    scheme = scheme_named(to).name
    settings: dict[str, Any] = {"scheme": scheme}
    if importance_texts is not None:
        settings["importance"] = {"texts": importance_texts}
    if allow_requantize:
        settings["allow_requantize"] = True
    values = {"from": model, "to": name or suggested_name(model, scheme), "steps": [{"quantize": settings}]}
    do_recipe(make_recipe(values), dry_run, detach, because, as_json)


@app.command()
def convert(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A registered model as it was published: safetensors.")],
    to: Annotated[str, typer.Option("--to", metavar="FORMAT", help="gguf, for llama.cpp.")] = "gguf",
    kept: Annotated[
        str | None, typer.Option("--type", help="f32, f16, bf16 or q8_0; else bf16 where it is published so, else f16.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Of the new model; else made of MODEL and the format.")] = None,
    dry_run: DryRun = False,
    detach: Detach = False,
    because: Reason = None,
    as_json: AsJson = False,
) -> None:
    """Bring a published model into a form that an engine here runs, and prove that it says the same."""
    settings = {"to": to, **({"type": kept} if kept is not None else {})}
    values = {"from": model, "to": name or suggested_name(model, to), "steps": [{"convert": settings}]}
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

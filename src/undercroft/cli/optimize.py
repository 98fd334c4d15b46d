"""``undercroft optimize``: make a new model of one that is there."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Annotated, Any

import typer

from undercroft.cli.actor import current_actor
from undercroft.cli.job_text import forecast_rows
from undercroft.cli.job_waiting import say_begun, wait
from undercroft.cli.lineage_text import step_texts
from undercroft.cli.opening import open_database
from undercroft.cli.optimize_evaluate import evaluate
from undercroft.cli.output import AsJson, Reason, print_json, print_wrapped
from undercroft.core.errors import UnavailableError
from undercroft.core.home import Home
from undercroft.core.ids import check_name, name_from
from undercroft.hardware.main_memory import read_memory
from undercroft.optimize.jobs import asking
from undercroft.optimize.jobs.running import ensure_room
from undercroft.optimize.prepared import Prepared
from undercroft.optimize.quantization.schemes import scheme_named
from undercroft.optimize.recipes import Recipe, load_recipe, make_recipe

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)

_UNQUANTIZED_END = re.compile(r"[-._](f32|f16|bf16|q8_0)$")

DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what it would take: size, memory, time.")]
Detach = Annotated[
    bool, typer.Option("--detach/--wait", help="Come back at once; else show how it goes. Ctrl-C detaches, too.")
]


@app.command()
def quantize(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A registered GGUF, best in F16 or BF16.")],
    to: Annotated[str, typer.Option("--to", metavar="SCHEME", help="Q8_0, Q6_K, Q5_K_M, Q4_K_M, IQ4_XS, Q3_K_M …")],
    name: Annotated[str | None, typer.Option(help="Of the new model; else made of MODEL and SCHEME.")] = None,
    importance_texts: Annotated[
        Path | None,
        typer.Option("--importance-texts", metavar="FILE", help="Keep what matters to texts of your own, in UTF-8."),
    ] = None,
    allow_requantize: Annotated[
        bool, typer.Option("--allow-requantize", help="Also where MODEL is quantized already, which loses more.")
    ] = False,
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
    _do(make_recipe(values), dry_run, detach, because, as_json)


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
    _do(make_recipe(values), dry_run, detach, because, as_json)


@app.command()
def run(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="A YAML file; its form is in the guide.")],
    dry_run: DryRun = False,
    detach: Detach = False,
    because: Reason = None,
    as_json: AsJson = False,
) -> None:
    """Do what a recipe says: of which model, by which steps, under which name."""
    _do(load_recipe(recipe), dry_run, detach, because, as_json)


def suggested_name(model: str, scheme: str) -> str:
    """The name of a quantized model: ``support-7b-q4_k_m`` of ``support-7b-f16``.

    Raises:
        InvalidError: ``bad-name``: none can be made.
    """
    end = name_from(scheme)
    stem = _UNQUANTIZED_END.sub("", model) or model
    return check_name(f"{stem[: 62 - len(end)]}-{end}" if end else stem, what="model")


def _do(recipe: Recipe, dry_run: bool, detach: bool, because: str | None, as_json: bool) -> None:
    home, database = open_database()
    prepared = asking.look_at(home, database, recipe)
    for step in prepared.steps:
        if step.warning:
            print_wrapped(f"warning: {step.warning}", indent="  ", to_errors=True)
    if dry_run:
        _say_forecast(home, prepared, as_json)
        return
    job = asking.begin(home, database, prepared, actor=current_actor(), reason=because)
    if detach:
        say_begun(job, as_json=as_json)
        return
    if not as_json:
        typer.echo(f"Job {job.id} makes model {job.result}.", err=True)
    wait(home, database, job, as_json=as_json)


def _say_forecast(home: Home, prepared: Prepared, as_json: bool) -> None:
    """What would be done and what it takes; an error where there is no room for it."""
    recipe, forecast = prepared.recipe, prepared.forecast
    free, available = shutil.disk_usage(home.jobs).free, read_memory().available_bytes
    seconds = prepared.measured_seconds()
    try:
        ensure_room(home, prepared)
        problem = None
    except UnavailableError as error:
        problem = error
    if as_json:
        needs = {
            "result_bytes": forecast.result_bytes,
            "disk_bytes": forecast.wanted_disk_bytes,
            "memory_bytes": forecast.memory_bytes,
            "seconds": seconds,
        }
        has = {"disk_bytes": free, "memory_bytes": available}
        print_json({"recipe": recipe.to_dict(), "needs": needs, "has": has, "fits": problem is None})
    else:
        parents = ", ".join(source.model.name for source in prepared.sources)
        rows = [("from", parents), ("to", recipe.to), *(("step", text) for text in step_texts(_steps(recipe)))]
        for label, value in [*rows, *forecast_rows(forecast, seconds, free_bytes=free, available_bytes=available)]:
            print_wrapped(f"{label:8} {value}", indent=" " * 9)
    if problem is not None:
        raise problem


def _steps(recipe: Recipe) -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = recipe.to_dict()["steps"]
    return steps


app.command()(evaluate)

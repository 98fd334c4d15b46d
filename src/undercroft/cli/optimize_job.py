"""A recipe of any command of ``optimize``: forecast, begun, waited for."""

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
from undercroft.cli.output import print_json, print_wrapped
from undercroft.cli.rightsize_text import print_candidates, print_report
from undercroft.core.errors import UnavailableError
from undercroft.core.home import Home
from undercroft.core.ids import check_name, name_from
from undercroft.hardware.main_memory import read_memory
from undercroft.optimize.jobs import asking
from undercroft.optimize.jobs.running import ensure_room
from undercroft.optimize.prepared import Prepared
from undercroft.optimize.recipes import Recipe

_UNQUANTIZED_END = re.compile(r"[-._](f32|f16|bf16|q8_0)$")

AllowRequantize = Annotated[
    bool, typer.Option("--allow-requantize", help="Also where MODEL is quantized already, which loses more.")
]
ImportanceFile = Annotated[
    Path | None,
    typer.Option("--importance", metavar="FILE", help="A matrix that was collected before: llama-imatrix's GGUF."),
]
Epochs = Annotated[float | None, typer.Option("--epochs", help="How often all is read; 3.")]
NewName = Annotated[str | None, typer.Option("--name", help="Of the new model; else made of its source's.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what it would take: size, memory, time.")]
Detach = Annotated[
    bool, typer.Option("--detach/--wait", help="Come back at once; else show how it goes. Ctrl-C detaches, too.")
]


def suggested_name(model: str, scheme: str) -> str:
    """The name of a quantized model: ``support-7b-q4_k_m`` of ``support-7b-f16``.

    Raises:
        InvalidError: ``bad-name``: none can be made.
    """
    end = name_from(scheme)
    stem = _UNQUANTIZED_END.sub("", model) or model
    return check_name(f"{stem[: 62 - len(end)]}-{end}" if end else stem, what="model")


def given(**options: Any) -> dict[str, Any]:
    """What a recipe gets of options: those that were given; the rest is the recipe's own default.

    Args:
        options: Field → value; None was not given.
    """
    return {field: value for field, value in options.items() if value is not None}


def importance_of(texts: Path | None, file: Path | None) -> dict[str, Any] | None:
    """What a recipe says of the importance matrix, by the options; None where nothing was given."""
    return given(texts=texts, file=file) or None


def do_recipe(recipe: Recipe, dry_run: bool, detach: bool, because: str | None, as_json: bool) -> None:
    """Looks at a recipe as a whole, then does it as a job, or says what it would take.

    Args:
        recipe: What is wanted.
        dry_run: Only say what it would take.
        detach: Come back at once.
        because: Why, in the caller's words.
        as_json: For programs.

    Raises:
        UndercroftError: It cannot be done, or the job failed.
    """
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
    try:
        wait(home, database, job, as_json=as_json)
    finally:  # a search that finds nothing has something to show, too
        if recipe.kind == "rightsize" and not as_json:
            print_report(home, job.id)


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
        if recipe.kind == "rightsize":
            typer.echo()
            print_candidates(prepared)
    if problem is not None:
        raise problem


def _steps(recipe: Recipe) -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = recipe.to_dict()["steps"]
    return steps

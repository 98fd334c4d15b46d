"""``undercroft model export``: a model's files as others expect them, out of the registry."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from undercroft.cli.opening import open_database
from undercroft.cli.output import AsJson, print_json, print_wrapped
from undercroft.core.new_folders import filling
from undercroft.optimize.triton.exporting import PLAN_SCRIPT, export_repository
from undercroft.registry import models


def export(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="As `undercroft model list` shows it.")],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="To write to; not there yet, or empty.")],
    as_json: AsJson = False,
) -> None:
    """Write a model's files into a folder; of a Triton repository also the programs that run in Triton."""
    home, database = open_database()
    with database.read() as connection:
        found = models.get(connection, model)
        files = models.model_files(home, connection, found)
    if found.format != "triton":
        _copy(files, folder)
        if as_json:
            print_json({"folder": str(folder), "files": sorted(files)})
        else:
            typer.echo(f"{folder}: {len(files)} files.")
        return
    commands = export_repository(files, folder)
    if as_json:
        written = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
        print_json({"folder": str(folder), "files": written, "plans_to_build": commands})
        return
    typer.echo(f"{folder}: a Triton model repository. Where Triton is:")
    for name, command in commands.items():
        print_wrapped(f"The plan of {name} is not built. Where its GPU and TensorRT are: sh {name}/{PLAN_SCRIPT}")
        print_wrapped(f"which runs: {command}")
    typer.echo("  pip install numpy tokenizers\n  tritonserver --model-repository=FOLDER")


def _copy(files: Mapping[str, Path], folder: Path) -> None:
    with filling(folder) as inside:
        for name, path in files.items():
            (inside / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, inside / name)

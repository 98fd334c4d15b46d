"""``undercroft bench``: how fast a model is here, in the runtime that it is made for; what to copy to a device."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from undercroft.catalog.engines import engine_of
from undercroft.cli.opening import open_database, settings_of
from undercroft.cli.output import AsJson, print_json
from undercroft.core.errors import InvalidError
from undercroft.core.home import Home
from undercroft.environments.installed import needed
from undercroft.environments.recipes import find
from undercroft.optimize.benching.device import RUNNER, bench_program, export_folder
from undercroft.optimize.benching.served import Served, bench_encoder, bench_generator
from undercroft.optimize.edge.programs.run_edge import describe
from undercroft.optimize.evaluation.records import Subject
from undercroft.optimize.evaluation.subjects import Found
from undercroft.registry import models
from undercroft.registry.entries import Model
from undercroft.registry.inspection.edge import MANIFEST
from undercroft.registry.model_paths import model_path
from undercroft.storage.database import Database

_FOR_DEVICES = frozenset({"executorch", "litert"})


def bench(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A model of the registry, or a folder made with --export.")
    ],
    rounds: Annotated[
        int, typer.Option(min=1, max=100_000, help="Texts of each length; of answers a tenth. Half a minute at most.")
    ] = 100,
    threads: Annotated[int, typer.Option(min=0, max=1024, help="Processors; 0 leaves it to the runtime.")] = 0,
    export: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Time nothing; write there all that a device needs.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Load a model, time it one text after the other, and show latency, speed, memory and size."""
    home, database = open_database()
    if "/" in model or (Path(model) / MANIFEST).is_file():
        files = {path.name: path for path in Path(model).glob("*") if path.is_file()}
        with tempfile.TemporaryDirectory() as folder:
            _show(bench_program(home, files, Path(folder), rounds=rounds, threads=threads), model, as_json)
        return
    with database.read() as connection:
        found = models.get(connection, model)
    if export is not None:
        _export(home, database, found, export, as_json)
        return
    _show(_timed(home, database, found, rounds, threads), model, as_json)


def _timed(home: Home, database: Database, model: Model, rounds: int, threads: int) -> dict[str, Any]:
    if model.format in _FOR_DEVICES:
        with database.read() as connection:
            files = models.model_files(home, connection, model)
        with tempfile.TemporaryDirectory() as folder:
            return bench_program(home, files, Path(folder), rounds=rounds, threads=threads)
    engine, facts = engine_of(model.name, model.format), model.facts
    if engine not in ("llama.cpp", "onnxruntime") or facts.task not in (None, "generate", "embed"):
        raise InvalidError(
            "not-benched",
            f"model {model.name!r} is {model.format} for {facts.task}: expected one that makes text or embeds, in "
            "GGUF, ONNX, ExecuTorch's or LiteRT's form",
            hint="undercroft optimize convert makes such forms of a published model",
        )
    environment = needed(home, find(engine)) if engine == "onnxruntime" else None
    with database.read() as connection:
        path = model_path(home, connection, model)
    subject = Subject(model.name, model.digest, model.size_bytes, facts.quantization, facts.parameters)
    served = Served(Found(subject, path, facts.context_tokens, facts), engine, environment)
    work = bench_encoder if facts.task == "embed" else bench_generator
    return work(served, settings_of(home).engines, rounds=rounds, threads=threads)


def _export(home: Home, database: Database, model: Model, target: Path, as_json: bool) -> None:
    if model.format not in _FOR_DEVICES:
        raise InvalidError(
            "not-for-devices",
            f"model {model.name!r} is {model.format}: expected a program for a device",
            hint=f"undercroft optimize convert {model.name} --to executorch",
        )
    with database.read() as connection:
        files = models.model_files(home, connection, model)
    written = export_folder(home, files, target)
    if as_json:
        print_json({"folder": str(target), "files": [path.name for path in written]})
        return
    typer.echo(f"{target}: {len(written)} files. On the device, in a copy of it:")
    typer.echo(f"  pip install -r requirements.txt\n  python {RUNNER}")


def _show(found: dict[str, Any], model: str, as_json: bool) -> None:
    if as_json:
        print_json({"model": model, **found})
        return
    typer.echo("\n".join([model, *describe(found)]))

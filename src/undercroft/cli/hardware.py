"""``undercroft hardware``: what this machine is, what it measures, and the devices one could buy."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from undercroft.cli.actor import current_actor
from undercroft.cli.devices import devices
from undercroft.cli.hardware_text import describe_machine, describe_measurements
from undercroft.cli.opening import open_database
from undercroft.cli.output import AsJson, print_json
from undercroft.core.environment import clean_environment, home_path
from undercroft.core.home import Home
from undercroft.engines.openmp import with_library
from undercroft.hardware.detection import detect
from undercroft.hardware.machine import Machine
from undercroft.hardware.measurements import Measurement, newest, store
from undercroft.hardware.measuring.everything import FULL, QUICK
from undercroft.hardware.measuring.everything import measure as measure_steps
from undercroft.storage.database import Database

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def hardware(context: typer.Context, as_json: AsJson = False) -> None:
    """Show this machine: processor, memory, disks, accelerators, and what was measured here."""
    if context.invoked_subcommand is not None:
        return
    root = home_path()
    machine = detect(root)
    measured = _stored(root)
    if as_json:
        print_json({**machine_as_dict(machine), "measurements": [one.to_dict() for one in measured]})
        return
    typer.echo("\n".join(describe_machine(machine)))
    typer.echo("\n".join(["", *describe_measurements(measured)]))


@app.command()
def measure(
    quick: Annotated[bool, typer.Option("--quick", help="A rough answer in seconds instead of a minute.")] = False,
    as_json: AsJson = False,
) -> None:
    """Measure memory, disk, matrix products and copies to GPUs; keep the figures with their date."""
    home, database = open_database()
    machine = detect(home.root)
    found: list[Measurement] = []
    notes: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        environment = with_library(clean_environment(), Path(folder))
        for step in measure_steps(machine, folder=home.root, effort=QUICK if quick else FULL, environment=environment):
            found += step.measurements
            notes += [step.note] if step.note else []
            if not as_json:
                typer.echo(f"{step.name}: {len(step.measurements)} figures{': ' + step.note if step.note else ''}")
    store(database, found, actor=current_actor())
    with database.read() as connection:
        kept = newest(connection)
    if as_json:
        print_json({"measurements": [one.to_dict() for one in kept], "notes": notes})
        return
    typer.echo("\n".join(["", *describe_measurements(kept)]))


app.command()(devices)


def machine_as_dict(machine: Machine) -> dict[str, Any]:
    """For JSON: instruction sets sorted."""
    data = asdict(machine)
    data["processor"]["features"] = sorted(machine.processor.features)
    return data


def _stored(root: Path) -> tuple[Measurement, ...]:
    """What was measured before; nothing where there is no home yet, because looking makes none."""
    file = Home(root).database_file
    if not file.exists():
        return ()
    with Database(file).read() as connection:
        return newest(connection)

"""The catalogue of devices on the command line: ``undercroft hardware devices`` and ``undercroft plan devices``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from undercroft.cli.hardware_text import describe_device, devices_table
from undercroft.cli.output import AsJson, print_json, print_table
from undercroft.core.environment import home_path
from undercroft.hardware.catalogue import find_device, load_devices, machine_classes


def devices(
    name: Annotated[str | None, typer.Argument(help="One of them, with every figure and its source.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show the catalogue of devices that one could buy; devices.yaml in the home completes it."""
    known = load_devices(home_path())
    if name is None:
        if as_json:
            print_json([asdict(device) for device in known.values()])
            return
        print_table(
            ["=device", ">memory", ">GB/s", ">fp16 TFLOP/s", ">watts", ">price"], devices_table(known), empty=""
        )
        typer.echo("\nFigures of the makers, dense. One with its sources: undercroft plan devices NAME")
        typer.echo(f"Classes to plan for: {', '.join(machine_classes())}")
        return
    device = find_device(known, name)
    print_json(asdict(device)) if as_json else typer.echo("\n".join(describe_device(device)))

"""What a search for the right size would try, and what it has found, on a terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from undercroft.cli.output import harmless, print_table, print_wrapped
from undercroft.core.home import Home
from undercroft.core.units import format_bytes
from undercroft.optimize.jobs.folders import JobFolder
from undercroft.optimize.prepared import Prepared
from undercroft.optimize.rightsize_step import RightsizeStep
from undercroft.optimize.rightsizing.report import JSON_FILE, PAGE_FILE
from undercroft.planning.report.words import significant


def print_candidates(prepared: Prepared) -> None:
    """What would be tried, with its forecast, and what would not."""
    step = prepared.steps[0].step
    assert isinstance(step, RightsizeStep)  # of its own command
    order = step.order
    print_table(
        ("=model", ">size", ">memory there", ">tokens/s there"),
        [
            (
                candidate.name,
                format_bytes(candidate.size_bytes),
                format_bytes(outlook.needed_bytes),
                "-" if outlook.speed is None else f"about {significant(outlook.speed.value)}",
            )
            for candidate, outlook in order.candidates
        ],
        empty="",
    )
    if order.left_out:
        typer.echo("\nNot tried:")
    for out, _ in order.left_out:
        print_wrapped(f"- {out.name}: {out.sentence}", indent="  ")


def print_report(home: Home, job: str) -> None:
    """The table of a search that has ended; nothing where it left none."""
    folder = JobFolder(home, job).report
    report = read_report(folder)
    if report is None:
        return
    shown = report["shown"]
    print_wrapped(harmless(shown["sentence"]))
    typer.echo()
    rows = [[harmless(cell) for cell in row] for row in shown["rows"]]
    print_table(shown["columns"], rows, empty="")
    typer.echo("\n* on the front: nothing else is smaller, surer, faster and leaner.")
    typer.echo(f"Picture: {folder / PAGE_FILE}")


def read_report(folder: Path) -> Mapping[str, Any] | None:
    """The report of a search as data; None where there is none.

    Args:
        folder: That it was kept in.
    """
    try:
        found: Mapping[str, Any] = json.loads((folder / JSON_FILE).read_bytes())
    except (OSError, ValueError):
        return None
    return found

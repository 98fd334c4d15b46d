"""``undercroft doctor``: what goes wrong most, checked."""

from __future__ import annotations

import typer

from undercroft.cli.opening import open_home, settings_of
from undercroft.cli.output import AsJson, print_json
from undercroft.serving.doctor import examine

_MARKS = {"ok": "ok     ", "warning": "WARNING", "problem": "PROBLEM"}


def doctor(as_json: AsJson = False) -> None:
    """Check this machine and this home. Exit status 1 where something is a problem."""
    home = open_home()
    findings = examine(home, settings_of(home))
    if as_json:
        print_json([finding.to_dict() for finding in findings])
    else:
        for finding in findings:
            typer.echo(f"{_MARKS[finding.level]}  {finding.subject}: {finding.text}")
            if finding.hint:
                typer.echo(f"         Try: {finding.hint}")
    if any(finding.level == "problem" for finding in findings):
        raise typer.Exit(1)

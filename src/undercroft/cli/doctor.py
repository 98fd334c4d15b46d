"""``undercroft doctor``: what goes wrong most, checked."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import Annotated

import typer

from undercroft.cli.opening import settings_of
from undercroft.cli.output import AsJson, print_json
from undercroft.core.environment import home_path
from undercroft.core.errors import UndercroftError
from undercroft.core.home import Home
from undercroft.core.settings import Settings
from undercroft.serving.doctor.examination import examine
from undercroft.serving.doctor.findings import Finding
from undercroft.serving.doctor.scene import Scene
from undercroft.serving.doctor.table import CHECKS

_MARKS = {"ok": "ok     ", "warning": "WARNING", "problem": "PROBLEM"}
_COLUMNS = 80
_INDENT = " " * 9


def doctor(
    show_all: Annotated[bool, typer.Option("--all", "-a", help="Show what is fine, too.")] = False,
    is_strict: Annotated[
        bool, typer.Option("--strict", help="Exit status 1 where something is a warning, too.")
    ] = False,
    patience: Annotated[float, typer.Option(min=0.1, max=600, help="Seconds after which a check is given up.")] = 2.0,
    as_json: AsJson = False,
) -> None:
    """Check this machine and this home; change nothing. Exit status 1 where something is a problem."""
    findings = examine(_scene(Home(home_path()), patience), CHECKS)
    if as_json:
        print_json([finding.to_dict() for finding in findings])
    else:
        typer.echo("\n".join(describe(findings, show_all=show_all)))
    failing = {"problem", "warning"} if is_strict else {"problem"}
    if any(finding.level in failing for finding in findings):
        raise typer.Exit(1)


def describe(findings: Sequence[Finding], *, show_all: bool) -> Iterator[str]:
    """Lines of at most 80 columns: what is wrong with its reason and its remedy, then how much is fine."""
    for finding in findings:
        if finding.level == "ok" and not show_all:
            continue
        yield from _wrapped(f"{_MARKS[finding.level]}  {finding.name}: {finding.saw}")
        if finding.why:
            yield from _wrapped(f"{_INDENT}Why: {finding.why}")
        if finding.mend:
            yield from _wrapped(f"{_INDENT}Try: {finding.mend}")
    good = sum(finding.level == "ok" for finding in findings)
    more = "" if show_all else " All of them: undercroft doctor --all"
    yield f"{good} {'check is' if good == 1 else 'checks are'} fine.{more}"


def _wrapped(line: str) -> list[str]:
    """Broken at blanks only: a path or a command stays in one piece, however long."""
    return textwrap.wrap(
        line, _COLUMNS, subsequent_indent=_INDENT, break_long_words=False, break_on_hyphens=False, drop_whitespace=True
    )


def _scene(home: Home, patience_seconds: float) -> Scene:
    """With the default settings where the real ones cannot be read, so that all else is looked at."""
    try:
        return Scene(home, settings_of(home), patience_seconds=patience_seconds)
    except UndercroftError as error:
        return Scene(home, Settings(), settings_error=error, patience_seconds=patience_seconds)

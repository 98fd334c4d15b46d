"""``undercroft down``: finish and stop."""

from __future__ import annotations

from typing import Annotated

import typer

from undercroft.cli.output import AsJson, print_json
from undercroft.core.environment import home_path
from undercroft.core.errors import UnavailableError
from undercroft.core.home import Home
from undercroft.serving.keeper_client import ask, wait_until_gone
from undercroft.serving.sweep import sweep


def down(
    timeout: Annotated[float, typer.Option(help="Seconds to wait for it.")] = 120.0,
    as_json: AsJson = False,
) -> None:
    """Finish running requests and stop everything: doors, control, engines."""
    home = Home(home_path())
    answer = ask(home, "down")
    if answer is None:
        # Nothing keeps this home, but a crash may have left engines.
        left = sweep(home) if home.engines.is_dir() else 0
        text = f"Nothing runs on {home.root}" + (f"; stopped {left} engine(s) that a crash had left." if left else ".")
        print_json({"was_running": False, "engines_stopped": left}) if as_json else typer.echo(text)
        return
    if not as_json:
        typer.echo("Finishing running requests and stopping ...")
    if not wait_until_gone(home, timeout_seconds=timeout):
        raise UnavailableError(
            "still-stopping", f"process {answer['pid']} has not ended after {timeout:.0f} s", hint="undercroft status"
        )
    print_json({"was_running": True}) if as_json else typer.echo("Undercroft has stopped.")

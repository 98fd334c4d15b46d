"""``undercroft restart``: new control and doors; the engines stay."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from undercroft.cli.opening import running_home
from undercroft.cli.output import AsJson, print_json
from undercroft.core.errors import UnavailableError
from undercroft.serving.keeper_client import ask, ask_control

_POLL_SECONDS = 0.1


def restart(
    timeout: Annotated[float, typer.Option(help="Seconds to wait for it.")] = 60.0,
    as_json: AsJson = False,
) -> None:
    """Restart control and door with the code that is installed now; engines stay loaded, no request is lost."""
    home = running_home()
    began = time.monotonic()
    answer = ask(home, "restart")
    wanted = answer["generation"] if answer else 0
    while time.monotonic() - began < timeout:
        keeper = ask(home, "status")
        status = ask_control(home, "GET", "/internal/status")
        if keeper and status and keeper["generation"] >= wanted:
            pids = {door["pid"] for door in keeper["doors"]}
            connected = {door["pid"] for door in status["doors"]}
            if pids <= connected and all(d["state"] != "loading" for d in status["deployments"]):
                break
        time.sleep(_POLL_SECONDS)
    else:
        raise UnavailableError(
            "slow-restart", f"not everything was back after {timeout:.0f} s", hint=f"look at {home.logs}"
        )
    replicas = [replica for deployment in status["deployments"] for replica in deployment["replicas"]]
    kept = sum(bool(replica["was_adopted"]) for replica in replicas)
    seconds = round(time.monotonic() - began, 2)
    if as_json:
        print_json({"seconds": seconds, "engines_kept": kept, "generation": wanted})
    else:
        typer.echo(f"Restarted in {seconds:.1f} s; {kept} of {len(replicas)} engine(s) stayed loaded.")

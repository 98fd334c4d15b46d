"""``undercroft up``: from an empty machine to a model that answers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import Annotated, Any

import typer
from rich.console import Console

from undercroft.cli.actor import current_actor
from undercroft.cli.first_run import FirstRun, prepare_first_run
from undercroft.cli.opening import open_database, settings_of
from undercroft.cli.output import AsJson, print_json
from undercroft.core.errors import ConflictError, UnavailableError
from undercroft.core.home import Home
from undercroft.core.settings import Settings
from undercroft.core.units import format_bytes, format_duration
from undercroft.serving.follow import FOLLOWED_SIGNALS
from undercroft.serving.keeper_client import ask, ask_control, is_reachable, is_running, refresh, wait_until_gone
from undercroft.serving.listening import check_listening, url_of

_POLL_SECONDS = 0.03
_KEEPER_SECONDS = 15.0


def up(
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return when everything runs.")] = False,
    as_json: AsJson = False,
) -> None:
    """Start everything: control, door, engines. Ctrl-C stops it again."""
    home, database = open_database()
    settings = settings_of(home)
    check_listening(settings.gateway)
    out = Console(stderr=as_json, highlight=False)
    first = FirstRun(database, current_actor())
    was_running = is_running(home)
    if was_running and first.is_over():
        _say_who_runs(home, as_json)
        return
    prepare_first_run(home, first, say=lambda text: out.print(f"  {text}"))
    if was_running:
        # An earlier first 'up' was cut off: what it had not done yet is done now.
        _finish(home, settings, first, out, as_json)
        return
    out.print(f"Starting Undercroft on {url_of(settings.gateway)}  (home {home.root})", soft_wrap=True)
    _start_keeper(home, settings)
    try:
        can_serve = _finish(home, settings, first, out, as_json)
    except KeyboardInterrupt:
        out.print("\nStopping.")
        ask(home, "down")
        wait_until_gone(home)
        raise
    database.close()
    if not can_serve and detach:
        raise UnavailableError(
            "nothing-ready",
            "no deployment is ready; the server runs and goes on trying",
            hint="undercroft doctor, undercroft status",
        )
    if not detach:
        # From here on a small process waits: this one has a table printer and a database library in memory.
        # A Ctrl-C that comes between the two is kept by the kernel until the other listens.
        signal.pthread_sigmask(signal.SIG_BLOCK, FOLLOWED_SIGNALS)
        typer.echo("\nRunning. Press Ctrl-C to stop." if not as_json else "", err=as_json)
        sys.stdout.flush()
        os.execv(sys.executable, [sys.executable, "-P", "-m", "undercroft.serving.follow", "--home", str(home.root)])


def _finish(home: Home, settings: Settings, first: FirstRun, out: Console, as_json: bool) -> bool:
    """Waits, makes the first key where there is none, says what to do next. Whether any deployment can answer."""
    status = _wait_until_ready(home, settings, out)
    secret = first.create_key()
    refresh(home)
    can_serve = any(d["state"] in {"ready", "unloaded"} for d in status["deployments"])
    if as_json:
        print_json({"url": url_of(settings.gateway), "key": secret, "status": status})
    else:
        _say_what_next(out, settings, status, secret, first)
    return can_serve or not status["deployments"]


def _say_who_runs(home: Home, as_json: bool) -> None:
    answer = ask(home, "status")
    if answer is None:
        raise UnavailableError("keeper-gone", f"the keeper of {home.root} ended just now", hint="undercroft up")
    if as_json:
        print_json({"is_running": True, "keeper": answer})
        return
    since = format_duration(time.time() - answer["started"])
    typer.echo(
        f"Undercroft is already running on this home: process {answer['pid']}, for {since}, "
        f"on http://{answer['host']}:{answer['port']}\nTry: undercroft status"
    )


def _start_keeper(home: Home, settings: Settings) -> None:
    """Starts the keeper in a session of its own and waits until it holds the port."""
    gateway = settings.gateway
    command = [
        *(sys.executable, "-P", "-m", "undercroft.serving.keeper", "--home", str(home.root)),
        *("--host", gateway.host, "--port", str(gateway.port), "--doors", str(gateway.processes)),
        *("--drain-seconds", str(gateway.drain_seconds)),
        *("--log-bytes", str(settings.logging.file_bytes), "--log-files", str(settings.logging.files)),
    ]
    log = home.logs / "keeper.log"
    with log.open("ab", buffering=0) as output:
        begin = output.tell()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, cwd="/"
        )
    deadline = time.monotonic() + _KEEPER_SECONDS
    while not is_reachable(home):
        if process.poll() is not None:
            if is_running(home):
                raise ConflictError("already-starting", f"another 'undercroft up' starts {home.root} just now")
            raise _keeper_failed(log.read_bytes()[begin:].decode(errors="replace").strip(), settings)
        if time.monotonic() > deadline:
            raise UnavailableError(
                "keeper-slow", f"the keeper did not open the port in {_KEEPER_SECONDS:.0f} s", hint=f"look at {log}"
            )
        time.sleep(_POLL_SECONDS)
    process.returncode = 0  # it goes on without us; Popen must not complain that nobody waited for it


def _keeper_failed(reason: str, settings: Settings) -> UnavailableError:
    free_port = settings.gateway.port + 1
    hint = f"undercroft up with UNDERCROFT_GATEWAY__PORT={free_port}" if "cannot listen" in reason else None
    last_line = reason.splitlines()[-1] if reason else "it ended without a word"
    return UnavailableError("cannot-start", f"the keeper did not start: {last_line}", hint=hint)


def _wait_until_ready(home: Home, settings: Settings, out: Console) -> dict[str, Any]:
    """Shows what happens until every deployment is ready, waits for a first request, or has failed."""
    told: dict[str, str] = {}
    deadline = time.monotonic() + settings.engines.start_timeout_seconds
    while time.monotonic() < deadline:
        if not is_running(home):
            raise UnavailableError("stopped", "the server was stopped while it started", hint="undercroft up")
        status = ask_control(home, "GET", "/internal/status")
        if status is not None:
            for deployment in status["deployments"]:
                _tell_progress(deployment, told, out)
            if status["doors"] and all(d["state"] != "loading" for d in status["deployments"]):
                return status
        time.sleep(_POLL_SECONDS)
    raise UnavailableError(
        "slow-start",
        f"not everything was ready after {settings.engines.start_timeout_seconds:.0f} s; it goes on in the background",
        hint="undercroft status",
    )


def _tell_progress(deployment: dict[str, Any], told: dict[str, str], out: Console) -> None:
    replicas = deployment["replicas"]
    state = deployment["state"]
    if state == "loading" and replicas:
        state = replicas[-1]["state"]
    if told.get(deployment["name"]) == state:
        return
    told[deployment["name"]] = state
    name = deployment["name"]
    if state == "ready" and replicas:
        replica = replicas[0]
        load = f"loaded in {format_duration(replica['load_seconds'])}" if replica["load_seconds"] else "adopted"
        seal = (
            "sealed from the network"
            if replica["is_sealed"]
            else replica["seal_note"].replace("not sealed", "NOT SEALED", 1)
        )
        memory = (
            f", {format_bytes(replica['private_bytes'] + replica['file_bytes'])}" if replica["private_bytes"] else ""
        )
        out.print(f"  {name}: ready, {load}{memory}, {seal}", soft_wrap=True)
    elif state == "failed":
        out.print(f"  {name}: FAILED: {deployment['note']}", soft_wrap=True)
    else:
        words = {
            "starting": "loading the model",
            "warming": "warming up with a first request",
            "unloaded": "loads with its first request",
            "stopped": "stopped",
        }
        if state in words:
            out.print(f"  {name}: {words[state]}")


def _say_what_next(
    out: Console, settings: Settings, status: dict[str, Any], secret: str | None, first: FirstRun
) -> None:
    url = url_of(settings.gateway)
    names = [d["name"] for d in status["deployments"] if d["state"] in {"ready", "unloaded"}]
    key = secret or "$UNDERCROFT_KEY"
    if secret:
        out.print(f"\nYour API key (shown once, keep it):\n  {secret}", soft_wrap=True)
    else:
        out.print("\nAn API key was made before; a new one: undercroft key create NAME", soft_wrap=True)
    if not names:
        out.print("\nNothing answers yet. Try: undercroft status   undercroft deployment create MODEL", soft_wrap=True)
        return
    model = names[0]
    ticket = first.example_request if model == first.starter_name else "Hello"
    out.print("\nTry it:", soft_wrap=True)
    # Straight to stdout, unwrapped and without markup: these lines are for copying.
    lines = [
        f"  curl {url}/v1/chat/completions \\",
        f"    -H 'Authorization: Bearer {key}' \\" if secret else f'    -H "Authorization: Bearer {key}" \\',
        "    -H 'Content-Type: application/json' \\",
        f"""    -d '{{"model": "{model}", "messages": [{{"role": "user",""",
        f"""         "content": "{ticket}"}}]}}'""",
        "",
        "From Python (pip install openai):",
        "  from openai import OpenAI",
        f'  client = OpenAI(base_url="{url}/v1",',
        f'                  api_key="{key}")',
        "  answer = client.chat.completions.create(",
        f'      model="{model}",',
        """      messages=[{"role": "user", "content":""",
        f"""                 "{ticket}"}}])""",
        "  print(answer.choices[0].message.content)",
        "",
        "In a second terminal: undercroft chat   undercroft status   undercroft down",
    ]
    typer.echo("\n".join(lines))

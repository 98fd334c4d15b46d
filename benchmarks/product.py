"""Our own server, started as a user starts it: the command ``undercroft`` with a home of its own."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.processes import MissingError, free_port, wait_until

COMMAND = Path(sys.executable).with_name("undercroft")
_COMMAND_SECONDS = 180.0
_READY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Server:
    """A running server.

    Args:
        home: Its home.
        port: Of its door.
        key: Opens it.
        keeper: Process id.
        control: Process id.
        doors: Process ids.
    """

    home: Path
    port: int
    key: str
    keeper: int
    control: int
    doors: Sequence[int]

    @property
    def pids(self) -> list[int]:
        """All but the engines."""
        return [self.keeper, self.control, *self.doors]


def environment(home: Path, port: int) -> dict[str, str]:
    """What a command of ours is given: a home, a port, and no setting from outside."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("UNDERCROFT_")}
    return {**kept, "UNDERCROFT_HOME": str(home), "UNDERCROFT_GATEWAY__PORT": str(port)}


def command(*words: str, variables: Mapping[str, str], seconds: float = _COMMAND_SECONDS) -> Any:
    """Runs ``undercroft … --json`` and returns what it printed.

    Args:
        words: Of the command.
        variables: Its environment.
        seconds: That it may take.

    Raises:
        MissingError: It failed, or is not installed beside this Python.
    """
    if not COMMAND.exists():
        raise MissingError(f"{COMMAND} is not there; install the package into this environment: pip install .")
    called = [str(COMMAND), *words, "--json"]
    done = subprocess.run(called, env=dict(variables), capture_output=True, text=True, check=False, timeout=seconds)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["it said nothing"]
        raise MissingError(f"'undercroft {' '.join(words)}' failed with status {done.returncode}: {said[-1]}")
    return json.loads(done.stdout)


@contextlib.contextmanager
def server(*preparations: Sequence[str], ready: Sequence[str] = (), without: Sequence[str] = ()) -> Iterator[Server]:
    """A server with a fresh home, as long as the block.

    Args:
        preparations: Commands that are run before it is started, such as ``("deployment", "create", …)``.
        ready: Deployments that must be ready before the block begins.
        without: Deployments that are stopped before it begins, such as the starter's.

    Raises:
        MissingError: A command failed, or a deployment did not become ready.
    """
    with tempfile.TemporaryDirectory(prefix="undercroft-benchmark-") as folder:
        home, port = Path(folder, "home"), free_port()
        variables = environment(home, port)
        for words in preparations:
            command(*words, variables=variables)
        try:
            up = command("up", "--detach", variables=variables)
            for name in without:
                command("deployment", "stop", name, variables=variables)
            keeper = command("status", variables=variables)["keeper"]
            _wait_until_ready(ready, variables)
            yield Server(
                home=home,
                port=port,
                key=up["key"],
                keeper=keeper["pid"],
                control=keeper["control"]["pid"],
                doors=[door["pid"] for door in keeper["doors"]],
            )
        finally:
            with contextlib.suppress(MissingError, subprocess.TimeoutExpired):
                command("down", variables=variables)


def _wait_until_ready(names: Sequence[str], variables: Mapping[str, str]) -> None:
    """Raises `MissingError` with the server's own words on what is not ready."""
    notes: dict[str, str] = {}

    def are_ready() -> bool:
        status = command("status", variables=variables)
        notes.clear()
        notes.update({d["name"]: d["note"] or d["state"] for d in status["deployments"] if d["state"] != "ready"})
        return all(name not in notes for name in names)

    if names:
        try:
            wait_until(are_ready, f"{', '.join(names)} is not ready", seconds=_READY_SECONDS)
        except MissingError as error:
            raise MissingError(f"{error}: {notes}") from error

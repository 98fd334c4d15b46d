"""A real server in a home of its own: started by the installed command, on a free port, ended with the test."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import psutil
import requests

from undercroft.core.home import Home

COMMAND = Path(sys.executable).with_name("undercroft")
_PATIENCE_SECONDS = 120.0


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(condition: Callable[[], Any], what: str, *, seconds: float = _PATIENCE_SECONDS) -> Any:
    """Polls until ``condition`` gives something true, and returns that; fails with ``what`` when the time is up."""
    deadline = time.monotonic() + seconds
    while True:
        if found := condition():
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:.0f} s for {what}")
        time.sleep(0.02)


class Server:
    """One installation.

    Args:
        home: Its home; need not exist.
        settings: More environment variables.
    """

    def __init__(self, home: Path, **settings: str) -> None:
        self.home = home
        self.port = free_port()
        self.key = ""
        self.prefix: tuple[str, ...] = ()  # words before every command
        self.environment = {
            "PATH": os.environ["PATH"],
            "TMPDIR": os.environ["TMPDIR"],
            "HOME": str(home.parent),
            "UNDERCROFT_HOME": str(home),
            "UNDERCROFT_GATEWAY__PORT": str(self.port),
            "UNDERCROFT_ENGINES__THREADS": "1",
            "COLUMNS": "80",
            **settings,
        }

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def run(self, *arguments: str, check: bool = True, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """One command to its end."""
        result = subprocess.run(
            [*self.prefix, COMMAND, *arguments],
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=_PATIENCE_SECONDS,
        )
        if check and result.returncode != 0:
            raise AssertionError(f"{arguments} ended with {result.returncode}:\n{result.stdout}\n{result.stderr}")
        return result

    def json(self, *arguments: str) -> Any:
        """One command with ``--json``, read."""
        return json.loads(self.run(*arguments, "--json").stdout)

    def up(self, *, may_fail: bool = False) -> dict[str, Any]:
        """Starts it in the background; keeps the first key. Where no model gets ready, ``up`` says so by its exit code,
        and the server goes on."""
        result = self.run("up", "--detach", "--json", check=not may_fail)
        answer: dict[str, Any] = json.loads(result.stdout)
        self.key = answer.get("key") or self.key
        return answer

    def down(self) -> None:
        """Stops it and makes sure that nothing of it is left."""
        self.run("down", check=False)
        for process in self.processes():
            process.kill()
            process.wait(10)
        if not self.run_folder.is_relative_to(self.home):
            shutil.rmtree(self.run_folder, ignore_errors=True)

    def status(self) -> dict[str, Any]:
        answer: dict[str, Any] = self.json("status")
        return answer

    def deployment(self, name: str = "ticket-pilot") -> dict[str, Any]:
        """Its entry in the status."""
        found: dict[str, Any] = next(d for d in self.status()["deployments"] if d["name"] == name)
        return found

    def wait_ready(self, name: str = "ticket-pilot") -> dict[str, Any]:
        """Waits until a deployment has a ready replica; its entry in the status."""

        def look() -> dict[str, Any] | None:
            status = self.status()
            found = [d for d in status.get("deployments", []) if d["name"] == name]
            return found[0] if found and found[0]["state"] == "ready" else None

        entry: dict[str, Any] = wait_for(look, f"{name} to be ready")
        return entry

    def say(self, text: str, *, model: str = "bot", **options: Any) -> tuple[int, dict[str, Any]]:
        """One chat request, never sent twice by the client: status and body."""
        response = requests.post(
            f"{self.url}/v1/chat/completions",
            headers={"Authorization": f"Bearer {self.key}"},
            json={"model": model, "messages": [{"role": "user", "content": text}], **options},
            timeout=_PATIENCE_SECONDS,
        )
        return response.status_code, response.json()

    def client(self, **options: Any) -> openai.OpenAI:
        """The real client, for a ``with``: one that is only let go of keeps its connection until it is collected."""
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=self.key, **options)

    def processes(self) -> list[psutil.Process]:
        """Every process of this home; one that was just killed may be among them and gone when it is asked."""
        return [process for process, _ in self._looked_at()]

    def command_lines(self) -> list[str]:
        """Of every process of this home."""
        return [line for _, line in self._looked_at()]

    def _looked_at(self) -> list[tuple[psutil.Process, str]]:
        found = []
        for process in psutil.process_iter():
            try:
                line = process.cmdline()
                folders = (str(self.home), str(self.run_folder))
                if process.pid != os.getpid() and any(f in word for word in line for f in folders):
                    found.append((process, " ".join(line)))
            except psutil.Error:
                continue
        return found

    @property
    def run_folder(self) -> Path:
        """Where its sockets lie."""
        return Home(self.home).run


def kill(pid: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Ends a process the hard way; one that just ended by itself is fine too."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)

"""What goes wrong most, looked at: this machine, this home, this server."""

from __future__ import annotations

import contextlib
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import psutil

from undercroft.core.environment import clean_environment
from undercroft.core.errors import UndercroftError
from undercroft.core.home import Home
from undercroft.core.settings import Settings
from undercroft.core.units import format_bytes
from undercroft.engines.openmp import LIBRARY, with_library
from undercroft.serving.keeper_client import ask, ask_control
from undercroft.storage import journal
from undercroft.storage.database import Database

_FEW_BYTES = 2 * 1024**3
_FEW_FILES = 4096
_TRY_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Args:
        subject: What, in a word or two.
        level: ``ok``, ``warning`` (works, not as well as it could), ``problem`` (does not work).
        text: What was seen.
        hint: One thing to do; empty where all is well.
    """

    subject: str
    level: Literal["ok", "warning", "problem"]
    text: str
    hint: str = ""

    def to_dict(self) -> dict[str, str]:
        return asdict(self)


def examine(home: Home, settings: Settings) -> list[Finding]:
    """Looks at everything; no check changes anything."""
    checks: list[Callable[[], Finding]] = [
        _python,
        lambda: _sealing(settings),
        lambda: _engine(settings),
        lambda: _memory(),
        lambda: _disk(home),
        _open_files,
        lambda: _database(home),
        lambda: _server(home, settings),
    ]
    of_server = _open_files_of_server(home)
    return [check() for check in checks] + ([of_server] if of_server else []) + list(_replicas(home))


def _python() -> Finding:
    return Finding("system", "ok", f"Python {platform.python_version()} on {platform.system()} {platform.release()}")


def _sealing(settings: Settings) -> Finding:
    """Tries it, in a process of its own: the only proof that the kernel allows it."""
    code = "from undercroft.engines.sealing.namespaces import enter_empty_network; enter_empty_network()"
    result = _try([sys.executable, "-P", "-c", code])
    if result is None:
        return Finding("sealing", "ok", "engines get an empty network of their own: prompts cannot leave")
    is_needed = settings.engines.seal == "required"
    return Finding(
        "sealing",
        "problem" if is_needed else "warning",
        f"engines are NOT SEALED here: {result}; they still listen on a Unix socket with a key",
        "allow user namespaces (sysctl kernel.unprivileged_userns_clone=1, user.max_user_namespaces above 0)",
    )


def _engine(settings: Settings) -> Finding:
    binary = settings.engines.llama_server
    if binary is not None:
        result = _try([str(binary), "--version"])
        if result is None:
            return Finding("engine", "ok", f"llama-server at {binary} runs")
        return Finding("engine", "problem", f"{binary} does not run: {result}", "correct engines.llama_server")
    with tempfile.TemporaryDirectory() as folder:
        found = with_library(clean_environment(), Path(folder))
        result = _try([sys.executable, "-P", "-c", "import xllamacpp"], found)
    if result is None:
        return Finding("engine", "ok", "llama.cpp (xllamacpp, for CPUs) can be loaded")
    hint = "apt-get install libgomp1" if LIBRARY in result else "pip install --force-reinstall xllamacpp"
    return Finding("engine", "problem", f"xllamacpp cannot be loaded: {result}", hint)


def _try(command: list[str], environment: dict[str, str] | None = None) -> str | None:
    """None where it ended well, else its last line."""
    try:
        result = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=_TRY_SECONDS,
            stdin=subprocess.DEVNULL,
            env=environment,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if result.returncode == 0:
        return None
    lines = (result.stderr or result.stdout).strip().splitlines()
    return lines[-1] if lines else f"it ended with {result.returncode}"


def _memory() -> Finding:
    memory = psutil.virtual_memory()
    text = f"{format_bytes(memory.available)} free of {format_bytes(memory.total)}"
    limit = _cgroup_limit()
    if limit is not None and limit < memory.total:
        text += f", but this process may use {format_bytes(limit)} only (control group)"
    if memory.available < _FEW_BYTES:
        return Finding("memory", "warning", text, "stop other programs, or choose a smaller model or context")
    return Finding("memory", "ok", text)


def _cgroup_limit() -> int | None:
    """A control group's limit, which /proc/meminfo does not show; None where there is none."""
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text = Path(path).read_text(encoding="ascii").strip()
        except OSError:
            continue
        if text.isdigit() and int(text) < 2**60:
            return int(text)
    return None


def _disk(home: Home) -> Finding:
    usage = shutil.disk_usage(home.root)
    text = f"{format_bytes(usage.free)} free where the home {home.root} lies"
    if usage.free < _FEW_BYTES:
        return Finding("disk", "warning", text, "undercroft model gc, or move the home to a larger disk")
    return Finding("disk", "ok", text)


def _open_files() -> Finding:

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < _FEW_FILES:
        return Finding(
            "open files",
            "warning",
            f"at most {hard}: many clients at once will be refused",
            "raise it: ulimit -n 65536",
        )
    return Finding("open files", "ok", f"{soft} now, up to {hard}")


def _database(home: Home) -> Finding:
    if not home.database_file.exists():
        return Finding("database", "ok", "none yet; undercroft up makes it")
    try:
        database = Database(home.database_file)
        with database.read() as connection:
            damage = journal.find_damage(connection)
        database.close()
    except UndercroftError as error:
        return Finding("database", "problem", error.message, error.hint or "")
    except ValueError as error:
        return Finding("database", "problem", f"the journal cannot be read: {error}", "replace it from a backup")
    if damage:
        return Finding(
            "database", "problem", f"the journal does not hold together: {damage}", "undercroft journal verify"
        )
    return Finding("database", "ok", "opens, and the journal is whole")


def _server(home: Home, settings: Settings) -> Finding:
    keeper = ask(home, "status")
    if keeper is None:
        return Finding("server", "ok", f"not running; undercroft up would use port {settings.gateway.port}")
    if keeper["control"]["pid"] == 0 or ask_control(home, "GET", "/internal/status") is None:
        return Finding("server", "warning", "runs, but control is away", f"look at {home.logs / 'control.log'}")
    return Finding("server", "ok", f"runs as process {keeper['pid']} on port {keeper['port']}")


def _open_files_of_server(home: Home) -> Finding | None:
    keeper = ask(home, "status")
    doors = [door["pid"] for door in keeper["doors"] if door["pid"]] if keeper else []
    for pid in doors:
        with contextlib.suppress(psutil.Error):
            soft, _ = psutil.Process(pid).rlimit(psutil.RLIMIT_NOFILE)
            if soft < _FEW_FILES:
                text = f"the door may open {soft} files only: many clients at once will be refused"
                return Finding("open files", "warning", text, "raise it (ulimit -n 65536), then: undercroft down, up")
    return None


def _replicas(home: Home) -> Iterator[Finding]:
    status = ask_control(home, "GET", "/internal/status") if home.control_socket.exists() else None
    for deployment in (status or {}).get("deployments", []):
        name = f"deployment {deployment['name']}"
        if deployment["state"] == "failed":
            yield Finding(name, "problem", deployment["note"], f"look at {home.logs}/engine-{deployment['name']}.log")
        for replica in deployment["replicas"]:
            if replica["is_sealed"] is False and deployment["engine"] != "external":
                yield Finding(
                    name,
                    "warning",
                    replica["seal_note"].replace("not sealed", "NOT SEALED", 1),
                    "undercroft doctor, line 'sealing'",
                )

"""How long a user waits at the beginning, and what an idle server takes.

    python -m benchmarks.startup [--json] [--quick]

Wall time of ``undercroft --help`` beside a bare Python; from ``undercroft up`` to the first token of the starter
model, in a new home and in one that was used before; memory of all our processes but the engine; time and size of
``pip install .`` in an empty environment. See ``docs/benchmarks.md``.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import machine, product
from benchmarks.processes import ROOT, MissingError, free_port
from benchmarks.reporting import Report, arguments, divided, median
from benchmarks.token_load import Place, StreamError, generate
from undercroft.core.home import Home
from undercroft.engines import records

TITLE = "startup: what a user waits for, and what an idle server takes"

_STARTER = "ticket-pilot"
_IDLE_SECONDS = 3.0
_STOP_SECONDS = 60.0
_INSTALL_SECONDS = 240.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How often.

    Args:
        helps: Times that ``--help`` and a bare Python run.
        ups: Times that a used home is started.
    """

    helps: int
    ups: int


QUICK = Plan(helps=15, ups=3)
FULL = Plan(helps=60, ups=12)


def main() -> int:
    """Measures and reports; the exit status is 0 where all aims hold."""
    given = arguments(TITLE)
    plan = QUICK if given.quick else FULL
    report = Report(TITLE)
    for what, measure in (("help", _measure_help), ("up", _measure_up), ("install", _measure_install)):
        try:
            measure(report, plan)
        except (MissingError, StreamError, OSError, subprocess.SubprocessError) as error:
            report.missing(what, str(error))

    def own(name: str) -> float | None:
        value = report.figures.get(name)
        return None if isinstance(value, str) else value

    report.at_most("help_seconds", own("help_seconds"), 0.1)
    report.at_most("up_to_first_token_seconds", own("up_to_first_token_seconds"), 3)
    report.at_most("first_up_to_first_token_seconds", own("first_up_to_first_token_seconds"), 3)
    report.at_most("idle_server_bytes", own("idle_server_bytes"), 200 * 1024 * 1024)
    report.at_most("install_seconds", own("install_seconds"), 60)
    return report.finish(as_json=given.json)


def _measure_help(report: Report, plan: Plan) -> None:
    """Both programs by turns, so that a busy moment hits both."""
    if not product.COMMAND.exists():
        raise MissingError(f"{product.COMMAND} is not there; install the package into this environment: pip install .")
    ours, bare = [], []
    for _ in range(plan.helps):
        ours.append(_seconds(str(product.COMMAND), "--help"))
        bare.append(_seconds(sys.executable, "-c", "pass"))
    report.figures["help_seconds"] = median(ours[1:])
    report.peers["python -c pass"] = {"help_seconds": median(bare[1:])}
    report.ratios["help_to_bare_python"] = divided(median(ours[1:]), median(bare[1:]))


def _seconds(*command: str) -> float:
    begin = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    return time.perf_counter() - begin


def _measure_up(report: Report, plan: Plan) -> None:
    """A new home once, then the same home again and again."""
    with tempfile.TemporaryDirectory(prefix="undercroft-benchmark-") as folder:
        home, port = Path(folder, "home"), free_port()
        variables = product.environment(home, port)
        with _up(variables) as (_, said, begin):
            key = said["key"]
            report.figures["first_up_to_first_token_seconds"] = _first_token(port, key, begin)
        taken = []
        for number in range(plan.ups):
            with _up(variables) as (process, _, begin):
                taken.append(_first_token(port, key, begin))
                if number == 0:
                    time.sleep(_IDLE_SECONDS)
                    _note_memory(report, Home(home), process.pid, variables)
        report.figures["up_to_first_token_seconds"] = median(taken)
        report.figures["up_to_first_token_worst_seconds"] = max(taken)


@contextlib.contextmanager
def _up(variables: Mapping[str, str]) -> Iterator[tuple[subprocess.Popen[str], Any, float]]:
    """``undercroft up`` in the foreground, as long as the block; gives it, what it said, and when it was called."""
    begin = time.perf_counter()
    process = subprocess.Popen(
        [str(product.COMMAND), "up", "--json"],
        env=dict(variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        said = _read_json(process)
        if "key" not in said:
            raise MissingError("'undercroft up' found a server that should have ended")
        yield process, said, begin
    finally:
        product.command("down", variables=variables)
        try:
            process.communicate(timeout=_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def _read_json(process: subprocess.Popen[str]) -> Any:
    """The JSON document that a program prints before it goes on running."""
    assert process.stdout is not None
    text = ""
    for line in process.stdout:
        text += line
        if line == "}\n":
            return json.loads(text)
    assert process.stderr is not None
    said = process.stderr.read().strip().splitlines() or ["it said nothing"]
    raise MissingError(f"'undercroft up' ended: {said[-1]}")


def _first_token(port: int, key: str, begin: float) -> float:
    """Seconds from ``begin`` to the first token of an answer."""
    sent = time.perf_counter()
    done = generate(Place("door", port, key, _STARTER), clients=1, tokens=8, mark="Hello")
    return sent - begin + done.first_token_ms[0] / 1e3


def _note_memory(report: Report, home: Home, follower: int, variables: Mapping[str, str]) -> None:
    """Memory of every process of ours; of the engine's own beside it."""
    keeper = product.command("status", variables=variables)["keeper"]["pid"]
    engines = {record.pid for record in records.list_all(home.engines) if record.pid is not None}
    ours = [machine.memory_bytes(pid) for pid in {follower, *machine.tree(keeper)} - engines]
    report.figures["idle_server_bytes"] = sum(ours)
    report.figures["idle_server_processes"] = sum(taken > 0 for taken in ours)
    report.figures["engine_bytes"] = sum(machine.memory_bytes(pid) for pid in engines)


def _measure_install(report: Report, plan: Plan) -> None:
    """``pip install .`` as a newcomer's: an empty environment and no cache."""
    with tempfile.TemporaryDirectory(prefix="undercroft-install-") as folder:
        environment = Path(folder, "environment")
        subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True, capture_output=True)
        before = _bytes_below(environment)
        begin = time.perf_counter()
        pip = [str(environment / "bin" / "python"), "-m", "pip", "install", "-q", "--no-cache-dir"]
        done = subprocess.run(
            [*pip, "--disable-pip-version-check", str(ROOT)],
            capture_output=True,
            text=True,
            check=False,
            timeout=_INSTALL_SECONDS,
        )
        if done.returncode:
            raise MissingError(f"pip install failed: {done.stderr.strip()[-300:]}")
        report.figures["install_seconds"] = time.perf_counter() - begin
        report.figures["installed_bytes"] = _bytes_below(environment) - before
        packages = [path for path in environment.glob("lib/python*/site-packages/*") if path.suffix == ".dist-info"]
        report.figures["installed_distributions"] = len(packages)


def _bytes_below(folder: Path) -> int:
    return sum(os.lstat(os.path.join(where, name)).st_size for where, _, names in os.walk(folder) for name in names)


if __name__ == "__main__":
    sys.exit(main())

"""What 500 slow clients do to an honest one, and to the memory of our door.

    python -m benchmarks.slow_clients [--json] [--quick]

An honest client asks for short answers, one after the other, alone and then beside the slow ones of
`benchmarks.slow_load`; all ask the same deployment. See ``docs/benchmarks.md``.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks import machine, peers, product
from benchmarks.answers import http_request, request_body
from benchmarks.processes import ROOT, MissingError
from benchmarks.product import Server
from benchmarks.reporting import Report, arguments, divided, percentile
from benchmarks.request_load import latencies

TITLE = "slow clients: what 500 of them do to an honest one"

_CLIENTS = 500
_SLOTS = 256
_SAMPLE_SECONDS = 0.5
_RAMP_SECONDS = 3.0
_FULL_SECONDS, _QUICK_SECONDS = 60.0, 20.0
_MEMORY_LIMIT_BYTES = 200 * 1024 * 1024


@dataclass(slots=True)
class Peak:
    """The most memory that processes took together while somebody looked.

    Args:
        highest_bytes: So far.
    """

    highest_bytes: int = 0


def main() -> int:
    """Measures and reports; the exit status is 0 where all aims hold."""
    given = arguments(TITLE)
    seconds = _QUICK_SECONDS if given.quick else _FULL_SECONDS
    report = Report(TITLE)
    try:
        peers.need_programs("nginx")
        near, core = machine.apart()
        with peers.upstreams(near) as to:
            upstream = ("--upstream-model", "memory", "--url", f"http://127.0.0.1:{to.streamed}")
            create = ("deployment", "create", "--engine", "external", "--name", "memory", "--slots", str(_SLOTS))
            with product.server((*create, *upstream), ready=("memory",)) as server:
                machine.pin(server.doors, core)
                _measure(report, server, seconds, near)
    except MissingError as error:
        report.missing("everything", str(error))
    ratio, growth = report.ratios.get("honest_p99_with_to_without"), report.figures.get("memory_growth_bytes")
    report.at_most("honest_p99_with_to_without", None if isinstance(ratio, str) else ratio, 2)
    report.at_most("memory_growth_bytes", None if isinstance(growth, str) else growth, _MEMORY_LIMIT_BYTES)
    return report.finish(as_json=given.json)


def _measure(report: Report, server: Server, seconds: float, near: set[int]) -> None:
    request = http_request(server.port, server.key, request_body("memory"))

    def honest(how_long: float) -> list[float]:
        return [taken * 1e3 for taken in latencies(server.port, request, seconds=how_long, cores=near, most=10**6)]

    honest(2.0)
    memory_before = _memory(server)
    print(f"alone for {seconds:.0f} s", file=sys.stderr, flush=True)
    alone = honest(seconds)
    with _slow_clients(report, server, near):
        honest(_RAMP_SECONDS)
        print(f"beside {_CLIENTS} slow clients for {seconds:.0f} s", file=sys.stderr, flush=True)
        with _watched_memory(server) as peak:
            beside = honest(seconds)
    report.peers["alone"] = _latency_figures(alone)
    report.figures.update(_latency_figures(beside))
    report.figures["slow_clients"] = _CLIENTS
    report.figures["memory_before_bytes"] = memory_before
    report.figures["memory_peak_bytes"] = peak.highest_bytes
    report.figures["memory_growth_bytes"] = peak.highest_bytes - memory_before
    report.ratios["honest_p99_with_to_without"] = divided(percentile(beside, 0.99), percentile(alone, 0.99))
    report.ratios["honest_p50_with_to_without"] = divided(percentile(beside, 0.5), percentile(alone, 0.5))


def _latency_figures(taken: list[float]) -> dict[str, float | int | str | None]:
    return {
        "honest_requests": len(taken),
        "honest_p50_ms": percentile(taken, 0.5),
        "honest_p99_ms": percentile(taken, 0.99),
        "honest_worst_ms": max(taken, default=None),
    }


@contextlib.contextmanager
def _slow_clients(report: Report, server: Server, cores: set[int]) -> Iterator[None]:
    """They hold the server up as long as the block."""
    command = [sys.executable, "-m", "benchmarks.slow_load", "--port", str(server.port), "--key", server.key]
    with subprocess.Popen(
        [*command, "--model", "memory", "--clients", str(_CLIENTS)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        machine.pin([process.pid], cores)
        try:
            if process.stdout.readline() != "ready\n":
                raise MissingError("the slow clients did not start")
            yield
        finally:
            process.terminate()
            said, _ = process.communicate(timeout=60)
    seen = json.loads(said)
    for kind, count in seen["held_at_end"].items():
        report.figures[f"held_at_end_{kind}"] = count
    for kind, count in seen["connections"].items():
        report.figures[f"connections_{kind}"] = count


@contextlib.contextmanager
def _watched_memory(server: Server) -> Iterator[Peak]:
    """Looks at the memory of all our processes now and then, as long as the block."""
    peak, ending = Peak(), threading.Event()

    def watch() -> None:
        while not ending.wait(_SAMPLE_SECONDS):
            peak.highest_bytes = max(peak.highest_bytes, _memory(server))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        ending.set()
        watcher.join()
        peak.highest_bytes = max(peak.highest_bytes, _memory(server))


def _memory(server: Server) -> int:
    return sum(machine.memory_bytes(pid) for pid in server.pids)


if __name__ == "__main__":
    sys.exit(main())

"""Load of requests that are answered in one piece: one client for latency, wrk for throughput."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks import machine
from benchmarks.processes import MissingError

_SCRIPT = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
%(authorization)s
wrk.body = %(body)s
done = function(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format('{"requests":%%d,"seconds":%%f,"p50_ms":%%f,"p99_ms":%%f,"errors":%%d}\\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
"""


@dataclass(frozen=True, slots=True)
class Throughput:
    """What wrk counted.

    Args:
        errors: Connections that broke, and answers that were not 2xx or 3xx.
    """

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    errors: int


def has_wrk() -> bool:
    """Whether wrk is installed."""
    return shutil.which("wrk") is not None


def throughput(port: int, body: bytes, *, key: str | None, clients: int, seconds: float, cores: set[int]) -> Throughput:
    """Many clients, each with its next request as soon as it has its answer.

    Raises:
        MissingError: wrk failed.
    """
    authorization = f'wrk.headers["Authorization"] = "Bearer {key}"' if key else ""
    script = _SCRIPT % {"authorization": authorization, "body": json.dumps(body.decode())}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "load.lua"
        path.write_text(script, encoding="utf-8")
        path.chmod(0o600)
        url = f"http://127.0.0.1:{port}/v1/chat/completions"
        command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds:.0f}s", "--timeout", "30s", "-s", str(path), url]
        done = subprocess.run(
            ["taskset", "-c", ",".join(map(str, sorted(cores))), *command], capture_output=True, text=True, check=False
        )
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines or not lines[-1].startswith("{"):
        raise MissingError(f"wrk failed with status {done.returncode}: {(done.stderr or done.stdout).strip()[-200:]}")
    return Throughput(**json.loads(lines[-1]))


def latencies(port: int, request: bytes, *, seconds: float, cores: set[int], most: int = 20_000) -> list[float]:
    """One client that sends a request after each answer, over one connection.

    Args:
        port: Of the server, on loopback.
        request: The whole of it.
        seconds: How long.
        cores: Where this process runs meanwhile.
        most: Requests, at most.

    Returns:
        Seconds of each request, without the first ten.

    Raises:
        MissingError: An answer was not 200 or had no length.
    """
    before = os.sched_getaffinity(0)
    machine.pin([os.getpid()], cores)
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=30.0) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            taken: list[float] = []
            end = time.perf_counter() + seconds
            while (now := time.perf_counter()) < end and len(taken) < most:
                connection.sendall(request)
                _read_answer(connection)
                taken.append(time.perf_counter() - now)
    finally:
        machine.pin([os.getpid()], before)
    return taken[10:]


def _read_answer(connection: socket.socket) -> None:
    received = connection.recv(65536)
    while b"\r\n\r\n" not in received:
        received += _more(connection)
    head, _, rest = received.partition(b"\r\n\r\n")
    if not head.startswith((b"HTTP/1.1 200", b"HTTP/1.0 200")):
        raise MissingError(f"expected status 200, got {received[:300].decode(errors='replace')!r}")
    length = next((line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), None)
    if length is None:
        while not rest.endswith(b"0\r\n\r\n"):
            rest += _more(connection)
        return
    wanted = int(length.partition(b":")[2])
    while len(rest) < wanted:
        rest += _more(connection)


def _more(connection: socket.socket) -> bytes:
    data = connection.recv(65536)
    if not data:
        raise MissingError("the server closed the connection in the middle of an answer")
    return data

"""What our door costs a request, beside HAProxy, LiteLLM's proxy and the straight line, all to the same upstream.

    python -m benchmarks.gateway [--json] [--quick]

Our door runs as a user runs it (``undercroft up``), with keys, limits, metrics and metering on. See
``docs/benchmarks.md`` for what each figure is and how to read it.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks import machine, peers, product
from benchmarks.answers import http_request, request_body
from benchmarks.peers import Proxy, Upstreams
from benchmarks.processes import ROOT, MissingError
from benchmarks.reporting import Report, Value, arguments, divided, median, percentile, subtracted
from benchmarks.request_load import latencies, throughput
from benchmarks.stream_load import Seen

TITLE = "gateway: what the door costs, beside HAProxy, LiteLLM and the straight line"

_MANY = 32
_CROWD = 256
# Streams as (frames, milliseconds between them): short ones for the time to the first frame, dense ones for the cost of
# a frame, slow ones (50 tokens a second, as an engine gives a reader) for stalls.
_ALONE, _SHORT, _DENSE, _SLOW = (2, 1), (5, 20), (200, 5), (100, 20)
_STALL_MS = 100.0
# Control counts and writes what the door reports a moment later; its share of the cost ends with it.
_AFTERMATH_SECONDS = 1.5

# What is added up over the rounds; of everything else the median counts.
_SUMS = frozenset({"failed_requests", "broken_streams", "crowd_stalled_streams"})
_ADDED = (
    *("one_client_p50_ms", "one_client_p99_ms", "p50_ms", "p99_ms"),
    *("one_client_ttft_p50_ms", "one_client_ttft_p99_ms", "ttft_p50_ms", "ttft_p99_ms"),
)

Samples = dict[str, list[float]]


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how often.

    Args:
        rounds: Each of all proxies, in another order.
        seconds: Of one measurement.
        crowd_seconds: Of the measurement with many streams.
    """

    rounds: int
    seconds: float
    crowd_seconds: float


QUICK = Plan(rounds=5, seconds=1.0, crowd_seconds=4.0)
FULL = Plan(rounds=9, seconds=4.0, crowd_seconds=20.0)


def main() -> int:
    """Measures and reports; the exit status is 0 where all aims hold."""
    given = arguments(TITLE)
    report = Report(TITLE)
    plan = QUICK if given.quick else FULL
    near, proxy_core = machine.apart()
    try:
        peers.need_programs("nginx", "wrk")
        with peers.upstreams(near) as to, contextlib.ExitStack() as stack:
            proxies = [Proxy("straight", to.plain, to.streamed)]
            for name, start in (("haproxy", _haproxy), ("litellm", peers.litellm), ("undercroft", _undercroft)):
                try:
                    proxies.append(stack.enter_context(start(to, proxy_core)))
                except MissingError as error:
                    report.missing(name, str(error))
            _say_versions(report, proxies)
            _fill(report, _measure(proxies, plan, near))
    except MissingError as error:
        report.missing("everything", str(error))
    _state_aims(report)
    return report.finish(as_json=given.json)


def _haproxy(to: Upstreams, cores: set[int]) -> contextlib.AbstractContextManager[Proxy]:
    peers.need_programs("haproxy")
    return peers.haproxy(to, cores)


@contextlib.contextmanager
def _undercroft(to: Upstreams, cores: set[int]) -> Iterator[Proxy]:
    """Our server with one door process, and both upstreams as external engines."""
    create = ("deployment", "create", "--engine", "external", "--slots", str(_CROWD), "--name")
    upstream = ("--upstream-model", "memory", "--url")
    plain = (*create, "plain", *upstream, f"http://127.0.0.1:{to.plain}")
    streamed = (*create, "streamed", *upstream, f"http://127.0.0.1:{to.streamed}")
    with product.server(plain, streamed, ready=("plain", "streamed")) as server:
        machine.pin(server.doors, cores)
        others = [server.keeper, server.control]
        machine.pin(others, machine.apart()[0])
        port, doors = server.port, server.doors
        yield Proxy("undercroft", port, port, doors, server.key, "plain", "streamed", other_pids=others)


def _say_versions(report: Report, proxies: Sequence[Proxy]) -> None:
    names = {proxy.name for proxy in proxies}
    report.peers.setdefault("straight", {})
    if "haproxy" in names:
        report.peers.setdefault("haproxy", {})["version"] = peers.version("haproxy", "-v")
    if "litellm" in names:
        report.peers.setdefault("litellm", {})["version"] = peers.LITELLM


def _measure(proxies: Sequence[Proxy], plan: Plan, near: set[int]) -> dict[str, Samples]:
    """Rounds of everything; the order turns by one each round, so that no proxy is always first."""
    found: dict[str, Samples] = {proxy.name: defaultdict(list) for proxy in proxies}
    for proxy in proxies:
        latencies(proxy.port, _request(proxy), seconds=0.5, cores=near)  # connections, caches, lazy imports
    for number in range(plan.rounds):
        turn = number % len(proxies)
        for proxy in (*proxies[turn:], *proxies[:turn]):
            print(f"round {number + 1} of {plan.rounds}: {proxy.name}", file=sys.stderr, flush=True)
            _round(proxy, plan, near, found[proxy.name])
    for proxy in proxies:
        if proxy.name != "litellm":  # it takes minutes for what the others do in seconds
            _crowd(proxy, plan, near, found[proxy.name])
    return found


def _round(proxy: Proxy, plan: Plan, near: set[int], into: Samples) -> None:
    cpu = machine.cpu_seconds(proxy.pids)
    taken = latencies(proxy.port, _request(proxy), seconds=plan.seconds, cores=near)
    into["one_client_cpu_us_per_request"].append(_microseconds(proxy, cpu, len(taken) + 10))
    into["one_client_p50_ms"].append((percentile(taken, 0.5) or 0.0) * 1e3)
    into["one_client_p99_ms"].append((percentile(taken, 0.99) or 0.0) * 1e3)
    into["one_client_requests_per_second"].append(len(taken) / plan.seconds)
    _many_requests(proxy, plan, near, into)
    _many_streams(proxy, plan, near, into)


def _many_streams(proxy: Proxy, plan: Plan, near: set[int], into: Samples) -> None:
    one = _stream(proxy, near, clients=1, shape=_ALONE, seconds=plan.seconds)
    short = _stream(proxy, near, clients=_MANY, shape=_SHORT, seconds=plan.seconds)
    cpu = machine.cpu_seconds(proxy.pids)
    dense = _stream(proxy, near, clients=_MANY, shape=_DENSE, seconds=plan.seconds)
    into["cpu_us_per_frame"].append(_microseconds(proxy, cpu, dense.frames))
    for name, seen in (("one_client_ttft", one), ("ttft", short)):
        into[f"{name}_p50_ms"].append(percentile(seen.first_frames_ms, 0.5) or 0.0)
        into[f"{name}_p99_ms"].append(percentile(seen.first_frames_ms, 0.99) or 0.0)
    into["frame_delay_p50_ms"].append(percentile(dense.delays_ms, 0.5) or 0.0)
    into["frame_delay_p99_ms"].append(percentile(dense.delays_ms, 0.99) or 0.0)
    into["broken_streams"].append(one.broken + short.broken + dense.broken)


def _many_requests(proxy: Proxy, plan: Plan, near: set[int], into: Samples) -> None:
    body = request_body(proxy.model)
    cpu, beside = machine.cpu_seconds(proxy.pids), machine.cpu_seconds(proxy.other_pids)
    seen = throughput(proxy.port, body, key=proxy.key, clients=_MANY, seconds=plan.seconds, cores=near)
    own = _microseconds(proxy, cpu, seen.requests)
    into["cpu_us_per_request"].append(own)
    into["requests_per_second"].append(seen.requests / seen.seconds)
    into["p50_ms"].append(seen.p50_ms)
    into["p99_ms"].append(seen.p99_ms)
    into["failed_requests"].append(seen.errors)
    if proxy.other_pids:
        time.sleep(_AFTERMATH_SECONDS)
        other = (machine.cpu_seconds(proxy.other_pids) - beside) / max(1, seen.requests) * 1e6
        into["cpu_us_per_request_with_control"].append(own + other)


def _crowd(proxy: Proxy, plan: Plan, near: set[int], into: Samples) -> None:
    """Many streams at once; what matters is the latest frame of all."""
    print(f"{_CROWD} streams: {proxy.name}", file=sys.stderr, flush=True)
    cpu = machine.cpu_seconds(proxy.pids)
    seen = _stream(proxy, near, clients=_CROWD, shape=_SLOW, seconds=plan.crowd_seconds, stagger=2.0)
    into["crowd_cpu_us_per_frame"].append(_microseconds(proxy, cpu, seen.frames))
    into["crowd_worst_frame_delay_ms"].append(max(seen.worst_ms, default=0.0))
    into["crowd_stalled_streams"].append(sum(worst > _STALL_MS for worst in seen.worst_ms))
    into["crowd_frame_delay_p99_ms"].append(percentile(seen.delays_ms, 0.99) or 0.0)
    into["crowd_streams"].append(seen.streams)
    into["broken_streams"].append(seen.broken)


def _stream(
    proxy: Proxy, cores: set[int], *, clients: int, shape: tuple[int, int], seconds: float, stagger: float = 0.2
) -> Seen:
    """Runs `benchmarks.stream_load` in a process of its own."""
    key = ("--key", proxy.key) if proxy.key else ()
    command = [
        *(sys.executable, "-m", "benchmarks.stream_load", "--port", str(proxy.stream_port), *key),
        *(
            "--model",
            proxy.stream_model,
            "--frames",
            str(shape[0]),
            "--pace-ms",
            str(shape[1]),
            "--clients",
            str(clients),
        ),
        *("--seconds", str(seconds), "--stagger", str(stagger)),
    ]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        machine.pin([process.pid], cores)
        output, _ = process.communicate(timeout=300)
    if process.returncode:
        raise MissingError(f"the clients of {proxy.name} ended with status {process.returncode}")
    return Seen(**json.loads(output))


def _microseconds(proxy: Proxy, cpu_before: float, pieces: int) -> float:
    return (machine.cpu_seconds(proxy.pids) - cpu_before) / max(1, pieces) * 1e6


def _request(proxy: Proxy) -> bytes:
    return http_request(proxy.port, proxy.key, request_body(proxy.model))


def _fill(report: Report, found: dict[str, Samples]) -> None:
    """Medians of the rounds; what a proxy adds is its own median less that of the straight line."""
    straight = {name: median(values) for name, values in found["straight"].items()}
    for proxy, samples in found.items():
        into = report.figures if proxy == "undercroft" else report.peers.setdefault(proxy, {})
        for name, values in samples.items():
            if proxy == "straight" and "_cpu_" in f"_{name}":
                continue
            into[name] = sum(values) if name in _SUMS else median(values)
        if proxy != "straight":
            for name in _ADDED:
                own = into.get(name)
                assert not isinstance(own, str)
                into[f"added_{name}"] = subtracted(own, straight.get(name))
    for name in ("cpu_us_per_request", "cpu_us_per_frame", "requests_per_second"):
        own = _number(report.figures.get(name))
        for peer in ("haproxy", "litellm"):
            other = _number(report.peers.get(peer, {}).get(name))
            report.ratios[f"{peer}_{name}_to_ours"] = divided(other, own)


def _state_aims(report: Report) -> None:
    def own(name: str) -> float | None:
        return _number(report.figures.get(name))

    litellm = _number(report.ratios.get("litellm_cpu_us_per_request_to_ours"))
    haproxy = _number(report.ratios.get("haproxy_cpu_us_per_request_to_ours"))
    report.at_most("cpu_us_per_request", own("cpu_us_per_request"), 120)
    report.at_least("litellm_cpu_us_per_request_to_ours", litellm, 75)
    report.at_most("ours_to_haproxy_cpu_us_per_request", divided(1.0, haproxy), 9)
    report.at_most("one_client_p50_ms", own("one_client_p50_ms"), 0.35)
    report.at_most("cpu_us_per_frame", own("cpu_us_per_frame"), 35)
    report.at_most("added_one_client_ttft_p99_ms", own("added_one_client_ttft_p99_ms"), 1)
    report.at_most("added_ttft_p99_ms", own("added_ttft_p99_ms"), 1)
    report.at_least("crowd_streams", own("crowd_streams"), _CROWD)
    report.at_most("crowd_stalled_streams", own("crowd_stalled_streams"), 0)
    report.at_most("failed_requests", own("failed_requests"), 0)
    report.at_most("broken_streams", own("broken_streams"), 0)


def _number(value: Value) -> float | None:
    return None if isinstance(value, str) else value


if __name__ == "__main__":
    sys.exit(main())

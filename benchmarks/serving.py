"""Tokens a second through our door ÷ tokens a second of the bare engine: the same process, asked by turns.

    python -m benchmarks.serving [--json] [--quick]

The server runs as a user runs it. The bare figure is the very same engine process, asked over its own Unix socket with
its own key, so model, settings, threads and memory are the same. See ``docs/benchmarks.md``.
"""

from __future__ import annotations

import math
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from benchmarks import product, random_model
from benchmarks.processes import KEPT, MissingError
from benchmarks.reporting import Report, arguments, divided, median
from benchmarks.token_load import Place, StreamError, generate
from undercroft.core.home import Home
from undercroft.engines import records

TITLE = "serving: tokens a second through the door, beside the bare engine"

_STREAMS = (1, 4, 8)
_CONTEXT_TOKENS = 512
_LEAST_RATIO = 0.98
_LEAST_ROUNDS = 2
# A busy machine gives shorter answers, not a run without end.
_ANSWER_SECONDS, _LEAST_TOKENS = 4.0, 24
_STARTER = "ticket-pilot"


@dataclass(frozen=True, slots=True)
class Plan:
    """How much.

    Args:
        rounds: Of door and engine, each first in every other round; at most.
        seconds: Of one number of streams; no round is begun later, but two there are always.
        tokens: Of one answer of the random model; fewer where it would take long.
        starter_tokens: The same of the starter model.
    """

    rounds: int
    seconds: float
    tokens: int
    starter_tokens: int


QUICK = Plan(rounds=12, seconds=60.0, tokens=96, starter_tokens=64)
FULL = Plan(rounds=30, seconds=300.0, tokens=192, starter_tokens=64)


def main() -> int:
    """Measures and reports; the exit status is 0 where all aims hold."""
    given = arguments(TITLE)
    plan = QUICK if given.quick else FULL
    report = Report(TITLE)
    shape = random_model.Shape()
    report.figures["model_parameters"] = shape.parameters
    try:
        path = random_model_file(shape)
        _measure(report, "random", path, plan, plan.tokens)
        starter = Path(str(files("undercroft.starter") / "ticket-pilot.gguf"))
        if starter.exists():
            _measure(report, "starter", starter, plan, plan.starter_tokens)
        else:
            report.missing("starter", f"{starter} is not there")
    except (MissingError, StreamError, OSError) as error:
        report.missing("engine", str(error))
    for streams in _STREAMS:
        name = f"random_{streams}_streams_door_to_engine"
        ratio = report.ratios.get(name)
        report.at_least(name, ratio if isinstance(ratio, float) else None, _LEAST_RATIO)
    return report.finish(as_json=given.json)


def random_model_file(shape: random_model.Shape) -> Path:
    """The random model, written at the first call and kept."""
    path = KEPT / f"random-llama-{shape.parameters // 1_000_000}m-q8_0.gguf"
    if not path.exists():
        print(f"writing {path} (once) ...", file=sys.stderr, flush=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        random_model.write(path, shape)
    return path


def _measure(report: Report, kind: str, path: Path, plan: Plan, tokens: int) -> None:
    pull = ("model", "pull", str(path), "--name", "benchmark")
    slots = ("--slots", str(max(_STREAMS)), "--context", str(_CONTEXT_TOKENS))
    create = ("deployment", "create", "benchmark", *slots)
    with product.server(pull, create, ready=("benchmark",), without=(_STARTER,)) as server:
        door = Place("door", server.port, server.key, "benchmark")
        engine = _engine(server.home)
        for place in (door, engine):
            generate(place, clients=1, tokens=_LEAST_TOKENS, mark="warm")
        for streams in _STREAMS:
            _alternate(report, kind, door, engine, streams=streams, plan=plan, tokens=tokens)


def _engine(home: Path) -> Place:
    """The engine's own socket and key, out of its record in the home."""
    for record in records.list_all(Home(home).engines):
        if record.deployment == "benchmark" and record.socket_path and record.key_file:
            return Place(
                "engine", Path(record.socket_path), Path(record.key_file).read_text("utf-8").strip(), "benchmark"
            )
    raise MissingError("the engine's record is not in the home, or it does not listen on a Unix socket")


def _alternate(report: Report, kind: str, door: Place, engine: Place, *, streams: int, plan: Plan, tokens: int) -> None:
    """Rounds of both, the first of a round in turn; the ratio is of the faster half of each.

    Every request has a prompt of its own, so that neither place finds what the other left in the engine's cache.
    """
    speeds: dict[str, list[float]] = defaultdict(list)
    firsts: dict[str, list[float]] = defaultdict(list)
    tried = generate(engine, clients=streams, tokens=_LEAST_TOKENS, mark=f"{streams}-try")
    tokens = max(_LEAST_TOKENS, min(tokens, int(tried.tokens_per_second / streams * _ANSWER_SECONDS)))
    end = time.monotonic() + plan.seconds
    for number in range(plan.rounds):
        if number >= _LEAST_ROUNDS and time.monotonic() > end:
            break
        print(f"{kind}, {streams} streams, round {number + 1} of {plan.rounds}", file=sys.stderr, flush=True)
        for turn, place in enumerate((door, engine) if number % 2 else (engine, door)):
            done = generate(place, clients=streams, tokens=tokens, mark=f"{streams}-{2 * number + turn}")
            speeds[place.name].append(done.tokens_per_second)
            firsts[place.name].extend(done.first_token_ms)
    name = f"{kind}_{streams}_streams"
    for place, into in ((door, report.figures), (engine, report.peers.setdefault("engine", {}))):
        into[f"{name}_tokens_per_second"] = undisturbed(speeds[place.name])
        into[f"{name}_first_token_p50_ms"] = median(firsts[place.name])
    ratio = divided(undisturbed(speeds["door"]), undisturbed(speeds["engine"]))
    report.ratios[f"{name}_door_to_engine"] = ratio
    report.figures[f"{name}_rounds"] = len(speeds["door"])
    report.figures[f"{name}_tokens_each"] = tokens


def undisturbed(speeds: Sequence[float]) -> float:
    """The mean of the faster half.

    Whatever else runs on the machine only ever slows an engine down, and by far more than a door can; what the door
    costs is in every round, the fast ones too.
    """
    fast = sorted(speeds, reverse=True)[: math.ceil(len(speeds) / 2)]
    return statistics.fmean(fast)


if __name__ == "__main__":
    sys.exit(main())

"""Memory as forecast beside memory as measured, for random models of real shapes in the real engine.

    python -m benchmarks.sizing [--json] [--quick] [--keep FILE]

The whole list takes an hour or more, so what was measured can be kept: a run with the same FILE goes on where the one
before ended, and compares all of it with the forecast of today.

The forecast is made from the shape alone: nothing is learnt from earlier loads. Beside it stand two other ways to
know: the estimator of the ``xllamacpp`` package (Ollama's, for GPUs), and the file's size with the cache of keys and
values added. See ``docs/benchmarks.md``.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import sizing_files
from benchmarks.processes import ROOT, MissingError
from benchmarks.reporting import Report, Value, arguments
from benchmarks.sizing_engine import THREADS, Measured, measure
from benchmarks.sizing_models import FULL, HELD_BACK, QUICK, Load, shape_of
from undercroft.catalog.shapes import ModelShape
from undercroft.engines.openmp import with_library
from undercroft.hardware.processors import compute_threads
from undercroft.planning.forecasts import MemoryForecast, Workload
from undercroft.planning.memory import forecast_memory
from undercroft.planning.targets import Pool, Rate, Target

TITLE = "sizing: memory as forecast, beside memory as measured"

_MOST_MEDIAN, _MOST_WORST, _SMALL_BYTES = 0.03, 0.06, 200 * 1024**2
_NOT_NEEDED = Rate(1.0, 1.0, 1.0, "not needed for memory")
_LARGE_BYTES = 1024**4
_OLLAMA, _SIMPLE = "xllamacpp.memory (Ollama's estimate)", "file and cache"


@dataclass(frozen=True, slots=True)
class Pair:
    """One load.

    Args:
        load: How.
        private: Forecast and measured; bytes.
        file: The same of mapped pages.
        total: The same of both together.
        peers: Peer → its forecast of the total, bytes.
        measured: All that was seen.
    """

    load: Load
    private: tuple[int, int]
    file: tuple[int, int]
    total: tuple[int, int]
    peers: dict[str, int]
    measured: Measured


def main() -> int:
    """Measures and reports; the exit status is 0 where all aims hold."""
    given = arguments(TITLE, keeps=True)
    report = Report(TITLE)
    summarize(report, measured(QUICK if given.quick else FULL, report, given.keep))
    if not given.quick:
        summarize_held_back(report, measured(HELD_BACK, report, given.keep))
    return report.finish(as_json=given.json)


def measured(loads: Sequence[Load], report: Report, keep: Path | None = None) -> list[Pair]:
    """All loads that came about, one after the other; each is a row of the report.

    Args:
        loads: To make.
        report: Gets the rows.
        keep: Lines of JSON, one a load; those that it has are not made again. None keeps nothing.
    """
    pairs = []
    known = _kept(keep) if keep is not None and keep.exists() else {}
    for load in loads:
        name = f"{load.model} {load.quantization} {load.context_tokens} x {load.slots} {load.cache_type}"
        try:
            seen, peers = known.get(load) or see(load)
        except (MissingError, OSError) as error:
            report.missing(name, str(error))
            continue
        if keep is not None and load not in known:
            with keep.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"load": asdict(load), "measured": asdict(seen), "peers": peers}) + "\n")
        pair = _pair(load, shape_of(load), seen, peers)
        pairs.append(pair)
        print(f"{name}: {error_of(pair.total):+.1%}", file=sys.stderr, flush=True)
        report.rows.append({**row(pair), "is_held_back": load in HELD_BACK})
    return pairs


def compare(load: Load, model: ModelShape | None = None) -> Pair:
    """Writes the model, loads it, and puts forecast and measurement side by side.

    Args:
        load: What and how.
        model: Its shape where the name is not one of the benchmark's.

    Raises:
        MissingError: The engine did not start or did not answer.
        OSError: The model could not be written.
    """
    seen, peers = see(load, model)
    return _pair(load, model if model is not None else shape_of(load), seen, peers)


def see(load: Load, model: ModelShape | None = None) -> tuple[Measured, dict[str, int]]:
    """What the engine took, and what others say that it takes; see `compare`."""
    shape = model if model is not None else shape_of(load)
    with tempfile.TemporaryDirectory(prefix="undercroft-sizing-") as folder:
        path = Path(folder, "model.gguf")
        file_bytes = sizing_files.write(path, shape, load.quantization)
        return measure(path, shape, load), peer_forecasts(path, file_bytes, shape, load)


def _pair(load: Load, shape: ModelShape, seen: Measured, peers: dict[str, int]) -> Pair:
    forecast = forecast_memory(shape, workload(shape, load), this_host())
    whole = forecast.in_pool("host")
    private = forecast.in_pool("host", with_files=False)
    return Pair(
        load=load,
        private=(private, seen.private_bytes),
        file=(whole - private, seen.file_bytes),
        total=(whole, seen.total_bytes),
        peers=peers,
        measured=seen,
    )


def _kept(file: Path) -> dict[Load, tuple[Measured, dict[str, int]]]:
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return {Load(**line["load"]): (Measured(**line["measured"]), line["peers"]) for line in lines}


def workload(model: ModelShape, load: Load) -> Workload:
    """What the engine is told, as the forecast is asked."""
    return Workload(
        quantization=load.quantization,
        context_tokens=load.context_tokens,
        slots=load.slots,
        cache_type=load.cache_type,
        gpu_layers=0,
        is_embedding=model.is_encoder,
    )


def this_host() -> Target:
    """A host with what the wheel's engine was built for; its size does not matter here."""
    host = Pool("host", "this host", "cpu", _LARGE_BYTES, _LARGE_BYTES, _NOT_NEEDED)
    return Target("this host", host, (), _NOT_NEEDED, threads=THREADS or compute_threads())


def peer_forecasts(path: Path, file_bytes: int, model: ModelShape, load: Load) -> dict[str, int]:
    """What others say that the load takes.

    Ollama's estimate is for a card: it knows weights, cache and graph, not what a CPU repacks nor what a process takes.
    """
    forecast: MemoryForecast = forecast_memory(model, workload(model, load), this_host())
    cache = sum(term.size_bytes for term in forecast.terms if term.name == "kv cache")
    found = {_SIMPLE: file_bytes + cache}
    if not model.is_encoder:
        found[_OLLAMA] = _ollama_forecast(path, load)
    return found


def _ollama_forecast(path: Path, load: Load) -> int:
    """In a process of its own, which finds OpenMP on minimal systems, too."""
    command = [sys.executable, "-m", "benchmarks.sizing_ollama", str(path), str(load.context_tokens), str(load.slots)]
    with tempfile.TemporaryDirectory() as folder:
        environment = with_library(dict(os.environ), Path(folder))
        done = subprocess.run(
            [*command, load.cache_type], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
    if done.returncode:
        raise MissingError(f"the estimator ended: {done.stderr.strip()[-300:]}")
    return int(done.stdout)


def error_of(pair: tuple[int, int]) -> float:
    """Forecast against measured, as a ratio: 0.03 is 3 % too much."""
    forecast, measured = pair
    return forecast / measured - 1


def row(pair: Pair) -> dict[str, Value]:
    """One load as plain data; sizes in bytes, rates a second."""
    load, seen = pair.load, pair.measured
    return {
        "model": load.model,
        "quantization": load.quantization,
        "context_tokens": load.context_tokens,
        "slots": load.slots,
        "cache_type": load.cache_type,
        "prompt_tokens": seen.prompt_tokens,
        "private_forecast_bytes": pair.private[0],
        "private_bytes": pair.private[1],
        "file_forecast_bytes": pair.file[0],
        "file_bytes": pair.file[1],
        "total_forecast_bytes": pair.total[0],
        "total_bytes": pair.total[1],
        "total_error_ratio": error_of(pair.total),
        "private_error_ratio": error_of(pair.private),
        **{f"{name}_bytes": size for name, size in pair.peers.items()},
        "load_seconds": seen.load_seconds,
        "decode_tokens_per_second": seen.decode_tokens,
        "prefill_tokens_per_second": seen.prefill_tokens,
    }


def summarize(report: Report, pairs: Sequence[Pair]) -> None:
    """Median and worst errors, ours and others', and the aims."""
    report.figures["loads"] = len(pairs)
    report.figures["models"] = len({pair.load.model for pair in pairs})
    if not pairs:
        report.at_most("total_error_median", None, _MOST_MEDIAN)
        return
    for part in ("total", "private", "file"):
        errors = [abs(error_of(getattr(pair, part))) for pair in pairs]
        report.figures[f"{part}_error_median"] = statistics.median(errors)
        report.figures[f"{part}_error_worst"] = max(errors)
    report.figures["private_error_worst_bytes"] = max(abs(p.private[0] - p.private[1]) for p in pairs)
    report.figures["total_least_forecast_to_measured"] = min(p.total[0] / p.total[1] for p in pairs)
    for peer in (_OLLAMA, _SIMPLE):
        errors = [abs(error_of((p.peers[peer], p.total[1]))) for p in pairs if peer in p.peers]
        if errors:
            report.peers[peer] = {
                "loads": len(errors),
                "total_error_median": statistics.median(errors),
                "total_error_worst": max(errors),
            }
    worst = max((abs(error_of(p.total)) for p in pairs if _counts(p.total)), default=0.0)
    report.at_most("total_error_median", statistics.median(abs(error_of(p.total)) for p in pairs), _MOST_MEDIAN)
    report.at_most("total_error_worst_or_200_mib", worst, _MOST_WORST)


def summarize_held_back(report: Report, pairs: Sequence[Pair]) -> None:
    """The same of models that the formulas were not made with, apart."""
    if not pairs:
        report.at_most("held_back_total_error_median", None, _MOST_MEDIAN)
        return
    report.figures["held_back_loads"] = len(pairs)
    for part in ("total", "private", "file"):
        errors = [abs(error_of(getattr(pair, part))) for pair in pairs]
        report.figures[f"held_back_{part}_error_median"] = statistics.median(errors)
        report.figures[f"held_back_{part}_error_worst"] = max(errors)
    for peer in (_OLLAMA, _SIMPLE):
        errors = [abs(error_of((p.peers[peer], p.total[1]))) for p in pairs if peer in p.peers]
        report.peers.setdefault(peer, {})["held_back_total_error_median"] = statistics.median(errors)
    worst = max((abs(error_of(p.total)) for p in pairs if _counts(p.total)), default=0.0)
    median = statistics.median(abs(error_of(p.total)) for p in pairs)
    report.at_most("held_back_total_error_median", median, _MOST_MEDIAN)
    report.at_most("held_back_total_error_worst_or_200_mib", worst, _MOST_WORST)


def _counts(pair: tuple[int, int]) -> bool:
    """An error of fewer bytes than that is small whatever its share."""
    return abs(pair[0] - pair[1]) > _SMALL_BYTES


if __name__ == "__main__":
    sys.exit(main())

"""Speed as forecast beside speed as measured, for random models of real shapes in the real engine.

    python -m benchmarks.sizing_speed [--json] [--quick]

First ``undercroft hardware measure`` runs, as a user would run it; the forecast knows what that stored and the shape of
the model. Then it learns from **one** other model, with the arithmetic by which a server learns from its own requests,
and is asked again. Beside it stands what one hears most: bandwidth ÷ size of the file. See ``docs/benchmarks.md``.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import sizing_files
from benchmarks.processes import MissingError
from benchmarks.reporting import Report, Value, arguments
from benchmarks.sizing_models import Load, shape_of
from benchmarks.sizing_speed_engine import CONTEXT_TOKENS, Effort, measure
from benchmarks.sizing_speed_pairs import Compared, Seen, compare, error, is_in_range, summary
from undercroft.core.environment import clean_environment
from undercroft.engines.openmp import with_library
from undercroft.hardware import detection
from undercroft.hardware.measurements import store
from undercroft.hardware.measuring import everything
from undercroft.planning.calibration import Quantity
from undercroft.planning.targets import Target
from undercroft.planning.this_machine import target_here
from undercroft.storage.database import Database

TITLE = "sizing_speed: speed as forecast, beside speed as measured"

# An ordinary model in the ordinary quantization: its width is a multiple of 256, so that all of it is stored as the mix
# says. That of Qwen 2.5 0.5B is not, and most of it falls back to Q5_0 and Q8_0.
CALIBRATING = Load("qwen3-0.6b", "Q4_K_M", CONTEXT_TOKENS)
_MOST_MEDIAN, _LEAST_IN_RANGE = 0.10, 0.90
_PEER = "bandwidth / file"
_QUICK_EFFORT, _FULL_EFFORT = Effort(6.0, 2, 8), Effort(15.0, 2, 8)
_QUICK = {
    "qwen2.5-0.5b": ("Q4_K_M",),
    "smollm2-135m": ("Q8_0",),
    "smollm2-360m": ("Q4_K_M",),
    "qwen3-0.6b": ("Q4_K_M", "IQ4_XS"),
    "llama-3.2-1b": ("Q4_0",),
    "gemma-3-1b": ("Q4_K_M",),
}
_FULL = {
    "qwen2.5-0.5b": ("Q4_K_M", "Q8_0"),
    "smollm2-135m": ("F16", "Q8_0"),
    "smollm2-360m": ("Q8_0", "Q4_K_M"),
    "qwen3-0.6b": ("F16", "Q8_0", "Q6_K", "Q4_K_M", "Q4_0", "IQ4_XS", "Q2_K"),
    "llama-3.2-1b": ("Q8_0", "Q4_K_M", "Q4_0"),
    "tinyllama-1.1b": ("Q4_K_M", "Q6_K"),
    "gemma-3-1b": ("Q8_0", "Q4_K_M"),
    "qwen2.5-1.5b": ("Q4_0", "IQ4_XS"),
    "granite-3.0-1b-a400m": ("Q8_0", "Q4_K_M"),
    "olmoe-1b-7b": ("Q4_K_M",),
}


def main() -> int:
    """Measures and reports; the exit status is 0 where all aims hold."""
    given = arguments(TITLE)
    report = Report(TITLE)
    target = measured_machine(everything.QUICK if given.quick else everything.FULL, report)
    seen: list[Seen] = []
    for model, quantizations in (_QUICK if given.quick else _FULL).items():
        for quantization in quantizations:
            load = Load(model, quantization, CONTEXT_TOKENS)
            try:
                found = take(load, _QUICK_EFFORT if given.quick else _FULL_EFFORT)
            except (MissingError, OSError) as problem:
                report.missing(f"{model} {quantization}", str(problem))
                continue
            seen += found
            print(f"{model} {quantization}: {_in_words(found)}", file=sys.stderr, flush=True)
    summarize(report, seen, target)
    return report.finish(as_json=given.json)


def measured_machine(effort: everything.Effort, report: Report) -> Target:
    """This machine as a plan takes it, after ``undercroft hardware measure``.

    Args:
        effort: Of that.
        report: Products with one token are noted there, by type: they are not in the forecast, and may come to be.
    """
    with tempfile.TemporaryDirectory(prefix="undercroft-sizing-") as folder:
        home = Path(folder)
        machine = detection.detect(home)
        environment = with_library(clean_environment(), home)
        database = Database(home / "state.db")
        for step in everything.measure(machine, folder=home, effort=effort, environment=environment):
            store(database, step.measurements, actor="benchmark")
            for one in step.measurements:
                if one.kind == "matrix-vector":
                    report.figures[f"product with one token, {one.variant}: gb_per_second"] = one.value / 1e9
            if step.note:
                print(step.note, file=sys.stderr, flush=True)
        with database.read() as connection:
            return target_here(machine, connection, home)


def take(load: Load, effort: Effort) -> list[Seen]:
    """Writes a model, loads it, and takes its rates.

    Args:
        load: Which.
        effort: How long it is asked.

    Raises:
        MissingError: The engine did not start or did not answer.
        OSError: The model could not be written.
    """
    shape = shape_of(load)
    with tempfile.TemporaryDirectory(prefix="undercroft-sizing-") as folder:
        path = Path(folder, "model.gguf")
        size = sizing_files.write(path, shape, load.quantization)
        rates = measure(path, shape, effort)
    found = [Seen(load, shape, size, case, rates.rate(case), rates.spread(case)) for case in rates.samples]
    return [*found, Seen(load, shape, size, None, rates.load_seconds)]


def _in_words(found: Sequence[Seen]) -> str:
    parts = [f"{one.case.name} {one.measured:.1f}" for one in found if one.case is not None]
    return ", ".join([*parts, f"load {found[-1].measured:.1f} s", f"1-minute load {os.getloadavg()[0]:.1f}"])


def summarize(report: Report, seen: Sequence[Seen], target: Target) -> None:
    """Errors and ranges by quantity, the peer's, and how much depends on which model is the calibrating one."""
    report.figures["bandwidth_gb_per_second"] = target.host.bandwidth.value / 1e9
    report.figures["fp32_gflops"] = target.host.compute["fp32"].value / 1e9
    report.figures["disk_gb_per_second"] = target.disk_bandwidth.value / 1e9
    report.figures["models"] = len({one.load.model for one in seen})
    report.figures["files"] = len({one.load for one in seen})
    spreads = [one.spread for one in seen if one.case is not None]
    report.figures["repeated_measurements_apart_median"] = statistics.median(spreads) if spreads else None
    found = compare(seen, target, CALIBRATING)
    report.rows += [row(one) for one in found]
    for quantity, name in _NAMES.items():
        _summarize_quantity(report, name, [one for one in found if one.seen.quantity is quantity])
    for case in dict.fromkeys(one.seen.case for one in found if one.seen.case is not None):
        own = summary([one for one in found if one.seen.case == case])
        report.figures[f"{case.name}: error_median_after"] = own.median_after
    _compare_peer(report, found)
    _other_choices(report, seen, target)


_NAMES = {Quantity.DECODE_TOKENS: "decode", Quantity.PREFILL_TOKENS: "prefill", Quantity.LOAD_SECONDS: "load"}


def _summarize_quantity(report: Report, name: str, found: Sequence[Compared]) -> None:
    own = summary(found) if found else None
    if own is not None:
        report.figures[f"{name}_measurements"] = own.count
        report.figures[f"{name}_error_median_before"] = own.median_before
        report.figures[f"{name}_error_worst_before"] = own.worst_before
        report.figures[f"{name}_in_range_before"] = own.in_range_before
        report.figures[f"{name}_error_median_after"] = own.median_after
        report.figures[f"{name}_error_worst_after"] = own.worst_after
        report.figures[f"{name}_in_range_after"] = own.in_range_after
    if name != "load":  # no aim was set for it: the disk's cache belongs to the host of a virtual machine
        report.at_most(f"{name}_error_median_after", own.median_after if own else None, _MOST_MEDIAN)
        report.at_least(f"{name}_in_range_before", own.in_range_before if own else None, _LEAST_IN_RANGE)


def _compare_peer(report: Report, found: Sequence[Compared]) -> None:
    """The naive forecast on what it is made for: one stream, a short context."""
    own = [one for one in found if one.naive is not None and one.seen.case is not None and one.seen.case.streams == 1]
    before = [error(one.naive, one.seen.measured) for one in own if one.naive is not None]
    after = [error(one.naive_after, one.seen.measured) for one in own if one.naive_after is not None]
    if own:
        report.peers[_PEER] = {
            "decode_measurements": len(own),
            "decode_error_median_before": statistics.median(before),
            "decode_error_worst_before": max(before),
            "decode_error_median_after": statistics.median(after),
            "decode_error_worst_after": max(after),
        }


def _other_choices(report: Report, seen: Sequence[Seen], target: Target) -> None:
    """The median error after learning from each file in turn: whether it mattered which one was first."""
    for quantity, name in _NAMES.items():
        medians = []
        for load in dict.fromkeys(one.load for one in seen):
            own = [one for one in compare(seen, target, load) if one.seen.quantity is quantity]
            if own:
                medians.append(summary(own).median_after)
        if medians:
            report.figures[f"{name}_error_median_after_any_other_file_best"] = min(medians)
            report.figures[f"{name}_error_median_after_any_other_file_median"] = statistics.median(medians)
            report.figures[f"{name}_error_median_after_any_other_file_worst"] = max(medians)


def row(one: Compared) -> dict[str, Value]:
    """One comparison as plain data; rates in tokens a second of one stream, loading in seconds."""
    return {
        "model": one.seen.load.model,
        "quantization": one.seen.load.quantization,
        "case": one.seen.case.name if one.seen.case else "load",
        "measured": one.seen.measured,
        "spread": one.seen.spread,
        "before": one.before.value,
        "before_low": one.before.low,
        "before_high": one.before.high,
        "in_range_before": int(is_in_range(one.before, one.seen.measured)),
        "after": one.after.value,
        "after_low": one.after.low,
        "after_high": one.after.high,
        "in_range_after": int(is_in_range(one.after, one.seen.measured)),
        "naive": one.naive,
        "naive_after": one.naive_after,
    }


if __name__ == "__main__":
    sys.exit(main())

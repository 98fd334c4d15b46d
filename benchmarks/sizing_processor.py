"""Speed as forecast beside processor time as measured, on one core: for machines that are never quiet.

    python -m benchmarks.sizing_processor [--json] [--quick]

As `benchmarks.sizing_speed`, with one thread, in tokens a second of that thread's own processor time. That survives
other programs, but for what they do to the caches; two threads that wait for each other, and memory that several of
them share, are not in it. Before learning the forecast guesses the core, as it does where nothing was measured.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks import sizing_files
from benchmarks.processes import MissingError
from benchmarks.reporting import Report, arguments
from benchmarks.sizing_models import Load, shape_of
from benchmarks.sizing_speed import row
from benchmarks.sizing_speed_engine import CONTEXT_TOKENS, measure_processor_time
from benchmarks.sizing_speed_pairs import Compared, Seen, compare, error, summary
from undercroft.hardware import detection
from undercroft.hardware.machine import Machine
from undercroft.planning.targets import Target
from undercroft.planning.targets_of import Measured, target_of_machine

TITLE = "sizing_processor: speed as forecast, beside processor time of one thread"

CALIBRATING = Load("qwen2.5-0.5b", "Q4_K_M", CONTEXT_TOKENS)
_MOST_MEDIAN, _LEAST_IN_RANGE = 0.10, 0.90
_ROUNDS = 2
_QUICK = (
    ("qwen2.5-0.5b", "Q4_K_M"),
    ("smollm2-135m", "F16"),
    ("smollm2-135m", "Q8_0"),
    ("smollm2-360m", "Q4_0"),
    ("qwen3-0.6b", "Q6_K"),
)
_FULL = (
    *_QUICK,
    ("qwen3-0.6b", "Q8_0"),
    ("granite-3.0-1b-a400m", "Q4_K_M"),
    ("qwen3-0.6b", "IQ4_XS"),
    ("gemma-3-1b", "Q4_K_M"),
    ("tinyllama-1.1b", "Q4_K_M"),
    ("qwen3-0.6b", "Q2_K"),
    ("llama-3.2-1b", "Q4_0"),
)


def main() -> int:
    """Measures and reports; the exit status is 0 where all aims hold."""
    given = arguments(TITLE)
    report, seen = Report(TITLE), list[Seen]()
    for model, quantization in _QUICK if given.quick else _FULL:
        try:
            seen += take(Load(model, quantization, CONTEXT_TOKENS))
        except (MissingError, OSError) as problem:
            report.missing(f"{model} {quantization}", str(problem))
            continue
        print(f"{model} {quantization} was measured", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix="undercroft-sizing-") as folder:
        summarize(report, seen, one_core(detection.detect(Path(folder))))
    return report.finish(as_json=given.json)


def one_core(machine: Machine) -> Target:
    """One core of this machine, of which nothing was measured."""
    processor = replace(machine.processor, physical_cores=1, logical_cores=1)
    return target_of_machine(replace(machine, processor=processor, accelerators=()), Measured(), {})


def take(load: Load) -> list[Seen]:
    """Writes a model, loads it, and takes its rates.

    Args:
        load: Which.

    Raises:
        MissingError: The engine did not start or did not answer.
        OSError: The model could not be written.
    """
    shape = shape_of(load)
    with tempfile.TemporaryDirectory(prefix="undercroft-sizing-") as folder:
        path = Path(folder, "model.gguf")
        size = sizing_files.write(path, shape, load.quantization)
        rates = measure_processor_time(path, shape, rounds=_ROUNDS)
    return [Seen(load, shape, size, case, rates.rate(case), rates.spread(case)) for case in rates.samples]


def summarize(report: Report, seen: Sequence[Seen], target: Target) -> None:
    """Errors and ranges before and after learning, the peer's, and those with any other file to learn from."""
    report.figures["files"] = len({one.load for one in seen})
    report.figures["repeated_measurements_apart_median"] = (
        statistics.median(one.spread for one in seen) if seen else None
    )
    found = compare(seen, target, CALIBRATING)
    report.rows += [row(one) for one in found]
    for name, is_decode in (("decode", True), ("prefill", False)):
        own = _of(found, is_decode=is_decode)
        told = summary(own) if own else None
        if told is not None:
            report.figures[f"{name}_measurements"] = told.count
            report.figures[f"{name}_error_median_before"] = told.median_before
            report.figures[f"{name}_error_worst_before"] = told.worst_before
            report.figures[f"{name}_in_range_before"] = told.in_range_before
            report.figures[f"{name}_error_median_after"] = told.median_after
            report.figures[f"{name}_error_worst_after"] = told.worst_after
            report.figures[f"{name}_in_range_after"] = told.in_range_after
        others = [
            summary(_of(compare(seen, target, load), is_decode=is_decode)).median_after
            for load in dict.fromkeys(one.load for one in seen)
            if _of(compare(seen, target, load), is_decode=is_decode)
        ]
        if others:
            report.figures[f"{name}_error_median_after_any_other_file_worst"] = max(others)
        report.at_most(f"{name}_error_median_after", told.median_after if told else None, _MOST_MEDIAN)
        report.at_least(f"{name}_in_range_before", told.in_range_before if told else None, _LEAST_IN_RANGE)
    alone = [one for one in found if one.naive_after is not None and one.seen.case and one.seen.case.streams == 1]
    if alone:
        report.peers["bandwidth / file"] = {
            "decode_error_median_after": statistics.median(
                error(one.naive_after, one.seen.measured) for one in alone if one.naive_after is not None
            )
        }


def _of(found: Sequence[Compared], *, is_decode: bool) -> list[Compared]:
    return [one for one in found if one.seen.case is not None and one.seen.case.is_decode is is_decode]


if __name__ == "__main__":
    sys.exit(main())

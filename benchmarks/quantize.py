"""Quantizing a model to Q4_K_M: time and memory beside llama.cpp's own quantizer, and whether the bytes are the same.

    python -m benchmarks.quantize [--json] [--quick]

Both are processes of their own with the same number of threads, read the same random model in F16 and write to the same
disk, in turns. Ours also compares every tensor with its source afterwards, which llama.cpp's does not. See
``docs/benchmarks.md``.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.llama_quantize import need_library, version
from benchmarks.processes import ROOT, MissingError
from benchmarks.quantize_source import write_source
from benchmarks.random_model import Shape
from benchmarks.reporting import Report, arguments, divided, median
from undercroft.engines.openmp import with_library
from undercroft.optimize.quantization.headers import DEFAULT_ALIGNMENT, take_apart
from undercroft.registry.inspection.gguf import read_gguf

TITLE = "quantize: Q4_K_M of a random Llama, beside llama.cpp's own quantizer"

SCHEME = "Q4_K_M"
PEER = "llama-quantize"
LARGE = Shape(width=2048, blocks=16, heads=32, kv_heads=8, feed_forward=8192, vocabulary=128_256)
SMALL = Shape(width=1024, blocks=4, heads=16, kv_heads=4, feed_forward=2816, vocabulary=32_000)
_ROUNDS, _QUICK_ROUNDS = 3, 2
_PIECE_BYTES = 2**22
_OURS = (
    "import sys; from pathlib import Path\n"
    "from undercroft.optimize.quantization.quantizing import quantize_file\n"
    "from undercroft.optimize.quantization.schemes import SCHEMES\n"
    "quantize_file(Path(sys.argv[1]), Path(sys.argv[2]), SCHEMES[sys.argv[3]], importance=None,\n"
    "              threads=int(sys.argv[4]), report=lambda done, total: None)\n"
    "from benchmarks.machine import own_peak_memory_bytes\n"
    "print(own_peak_memory_bytes())\n"
)


@dataclass(slots=True)
class _Side:
    """One program, and what its rounds took.

    Args:
        command: What comes before source, result, scheme and threads.
    """

    command: tuple[str, ...]
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    peak_memory_bytes: list[float] = field(default_factory=list)

    def run(self, source: Path, target: Path, threads: int, environment: dict[str, str]) -> None:
        """One round.

        Raises:
            MissingError: The program failed.
        """
        command = [*self.command, str(source), str(target), SCHEME, str(threads)]
        begun = time.perf_counter()
        with tempfile.TemporaryFile() as output:
            process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            output.seek(0)
            told = output.read().decode(errors="replace").strip()
            if process.returncode:
                raise MissingError(f"{command[1:3]} failed with status {process.returncode}: {told[-300:]}")
        self.seconds.append(time.perf_counter() - begun)
        self.cpu_seconds.append(usage.ru_utime + usage.ru_stime)
        self.peak_memory_bytes.append(float(told.splitlines()[-1]))

    def figures(self) -> dict[str, float | int | str | None]:
        """Middle of the rounds; of memory the most."""
        return {
            "seconds": median(self.seconds),
            "cpu_seconds": median(self.cpu_seconds),
            "peak_memory_bytes": max(self.peak_memory_bytes, default=0.0),
        }


def differing_tensors(one: Path, other: Path) -> int:
    """Tensors that are not in both files with the same shape, type and bytes; count."""
    first, second = _tensors(one), _tensors(other)
    return sum(first.get(name) != second.get(name) for name in first.keys() | second.keys())


def _tensors(path: Path) -> dict[str, tuple[tuple[int, ...], str, str]]:
    header = read_gguf(path, path.name, with_tokens=False)
    _, data = take_apart(path, DEFAULT_ALIGNMENT)
    found = {}
    with path.open("rb") as file:
        for tensor in header.tensors:
            file.seek(data + tensor.offset)
            state, left = hashlib.sha256(), tensor.size_bytes
            while left and (piece := file.read(min(left, _PIECE_BYTES))):
                state.update(piece)
                left -= len(piece)
            found[tensor.name] = (tensor.shape, tensor.kind.name, state.hexdigest())
    return found


def measure(folder: Path, shape: Shape, rounds: int) -> Report:
    """Takes turns, and compares what the rounds took and made."""
    source, ours_at, theirs_at = folder / "source.gguf", folder / "ours.gguf", folder / "theirs.gguf"
    write_source(source, shape)
    os.sync()
    threads = len(os.sched_getaffinity(0))
    environment = with_library(dict(os.environ), folder)
    ours = _Side((sys.executable, "-c", _OURS))
    theirs = _Side((sys.executable, "-m", "benchmarks.llama_quantize"))
    report = Report(TITLE)
    report.figures |= {"parameters": shape.parameters, "source_bytes": source.stat().st_size, "threads": threads}
    different: int | None = None
    try:
        need_library()
        report.figures["engine"] = version()
        for number in range(rounds):
            for side, target in ((ours, ours_at), (theirs, theirs_at))[:: 1 if number % 2 else -1]:
                target.unlink(missing_ok=True)
                side.run(source, target, threads, environment)
        different = differing_tensors(ours_at, theirs_at)
    except MissingError as error:
        report.missing(PEER, str(error))
    if not ours.seconds:
        ours.run(source, ours_at, threads, environment)
    report.figures |= {"result_bytes": ours_at.stat().st_size, **ours.figures()}
    if theirs.seconds:
        report.peers[PEER] = theirs.figures()
    for name in ("seconds", "cpu_seconds"):
        report.ratios[f"{name}_vs_llama_quantize"] = divided(median(getattr(ours, name)), median(getattr(theirs, name)))
    report.at_most("seconds_vs_llama_quantize", divided(median(ours.seconds), median(theirs.seconds)), 1.1)
    report.at_most("peak_memory_bytes", max(ours.peak_memory_bytes), 2e9)
    report.at_most("tensors_different", different, 0)
    return report


def main() -> None:
    """Reads the command line, measures, reports."""
    given = arguments(TITLE)
    shape, rounds = (SMALL, _QUICK_ROUNDS) if given.quick else (LARGE, _ROUNDS)
    with tempfile.TemporaryDirectory(prefix="undercroft-quantize-", dir=os.environ.get("TMPDIR")) as folder:
        report = measure(Path(folder), shape, rounds)
    sys.exit(report.finish(as_json=given.json))


if __name__ == "__main__":
    main()

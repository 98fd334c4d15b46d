"""Measures everything that can be measured here, one after the other, and says what could not be."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from undercroft.hardware.disks import read_disk
from undercroft.hardware.machine import Machine
from undercroft.hardware.measurements import Measurement
from undercroft.hardware.measuring import matrix
from undercroft.hardware.measuring.cuda import CudaProblemError, measure_copies
from undercroft.hardware.measuring.disk import measure_disk
from undercroft.hardware.measuring.memory import measure_memory

MIB = 1024**2
_MATRIX_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Effort:
    """How much work to spend.

    Args:
        buffer_bytes: Of memory to read and copy.
        file_bytes: Of the file that is read from the disk.
        round_seconds: Of one round of memory, and of one matrix product.
        types: Of weights.
        batch_tokens: Of a matrix product.
        copy_bytes: Of a copy to a GPU.
    """

    buffer_bytes: int
    file_bytes: int
    round_seconds: float
    types: tuple[str, ...]
    batch_tokens: int
    copy_bytes: int


FULL = Effort(1024 * MIB, 2048 * MIB, 0.5, tuple(matrix.TYPES), 512, 512 * MIB)
QUICK = Effort(256 * MIB, 256 * MIB, 0.1, ("f32", "f16", "q8_0", "q4_K"), 128, 128 * MIB)


@dataclass(frozen=True, slots=True)
class Step:
    """One part of the work: figures, or why there are none.

    Args:
        name: ``memory``, ``disk``, ``matrix products``, ``copies to GPUs``.
        measurements: What came out.
        note: Why something is missing; empty where nothing is.
    """

    name: str
    measurements: tuple[Measurement, ...] = ()
    note: str = ""


def fit_to(effort: Effort, *, available_bytes: int, free_disk_bytes: int) -> Effort:
    """An effort that takes at most a quarter of the memory and a tenth of the disk that are free. Pure."""
    block = 8 * MIB
    return Effort(
        buffer_bytes=min(effort.buffer_bytes, max(64 * MIB, available_bytes // 4)),
        file_bytes=min(effort.file_bytes, max(block, free_disk_bytes // 10 // block * block)),
        round_seconds=effort.round_seconds,
        types=effort.types,
        batch_tokens=effort.batch_tokens,
        copy_bytes=effort.copy_bytes,
    )


def measure(machine: Machine, *, folder: Path, effort: Effort, environment: Mapping[str, str]) -> Iterator[Step]:
    """The steps in order; each may find nothing and says why.

    Args:
        machine: As detected just now.
        folder: Of the home; a file is written there for a while.
        effort: `FULL` or `QUICK`.
        environment: Of the process that loads the engine's library.
    """
    disk = read_disk(folder)
    fitting = fit_to(effort, available_bytes=machine.memory.available_bytes, free_disk_bytes=disk.free_bytes)
    processor = machine.processor
    yield Step(
        "memory",
        note=busy_note(os.getloadavg()[0], processor.logical_cores),
        measurements=tuple(
            measure_memory(
                device=processor.name,
                threads=processor.logical_cores,
                total_bytes=fitting.buffer_bytes,
                seconds=fitting.round_seconds,
            )
        ),
    )
    yield _measure_disk(folder, disk.mount or str(folder), fitting.file_bytes)
    yield _measure_matrices(processor.name, processor.physical_cores, fitting, environment)
    if any(accelerator.vendor == "nvidia" for accelerator in machine.accelerators):
        yield _measure_copies(fitting.copy_bytes)


def busy_note(load: float, cores: int) -> str:
    """A warning where other programs keep the processor busy; empty where it is idle enough. Pure.

    Args:
        load: Average of runnable processes over the last minute.
        cores: That this process may use; count.
    """
    if load < 0.3 * cores:
        return ""
    return (
        f"other programs were busy (load {load:.1f} on {cores} cores): figures may be too low; measure again when idle"
    )


def _measure_disk(folder: Path, mount: str, size: int) -> Step:
    try:
        result = measure_disk(folder=folder, device=mount, size_bytes=size)
    except OSError as error:
        return Step("disk", note=f"the disk was not measured: {error.strerror or error}")
    return Step("disk", result.measurements, result.note)


def _measure_copies(size: int) -> Step:
    try:
        return Step("copies to GPUs", tuple(measure_copies(size_bytes=size)))
    except CudaProblemError as error:
        return Step("copies to GPUs", note=f"copies to GPUs were not measured: {error}")


def _measure_matrices(device: str, threads: int, effort: Effort, environment: Mapping[str, str]) -> Step:
    task = matrix.Task(threads, effort.types, effort.batch_tokens, effort.buffer_bytes // 2, effort.round_seconds)
    try:
        result = subprocess.run(
            [sys.executable, "-P", "-m", matrix.__name__, json.dumps(asdict(task))],
            capture_output=True,
            text=True,
            check=False,
            timeout=_MATRIX_SECONDS,
            stdin=subprocess.DEVNULL,
            env=dict(environment),
        )
        if result.returncode != 0:
            lines = result.stderr.strip().splitlines()
            raise OSError(lines[-1] if lines else f"it ended with {result.returncode}")
        figures = json.loads(result.stdout)
        found = tuple(as_measurement(device, threads, matrix.Figure(**figure)) for figure in figures)
    except (OSError, subprocess.TimeoutExpired, ValueError, TypeError) as error:
        return Step("matrix products", note=f"matrix products were not measured: {error}")
    left_out = sorted(set(effort.types) - {one.variant for one in found})
    note = f"no right result for weights of {', '.join(left_out)}" if left_out else ""
    return Step("matrix products", found, note)


def as_measurement(device: str, threads: int, figure: matrix.Figure) -> Measurement:
    """A product with many tokens as operations a second, with one as bytes of weights a second; the best counts."""
    best, middle = figure.seconds[0], figure.seconds[len(figure.seconds) // 2]
    amount = figure.operations if figure.columns > 1 else figure.weights_bytes
    detail = {
        "library": "ggml",
        "threads": threads,
        "rows": figure.rows,
        "columns": figure.columns,
        "rounds": len(figure.seconds),
        "median": amount / middle,
    }
    return Measurement("matrix" if figure.columns > 1 else "matrix-vector", device, amount / best, figure.type, detail)

"""Measuring: each figure is there and honest about what it is; nothing is left behind. Its size is not tested."""

from __future__ import annotations

import array
import ctypes
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from undercroft.hardware.detection import detect
from undercroft.hardware.measuring import matrix
from undercroft.hardware.measuring.cuda import CudaProblemError, measure_copies
from undercroft.hardware.measuring.disk import measure_disk, resident_ratio
from undercroft.hardware.measuring.everything import FULL, Effort, as_measurement, busy_note, fit_to, measure
from undercroft.hardware.measuring.memory import measure_memory

MIB = 1024**2
GIB = 1024**3
COMPILER = shutil.which("cc") or shutil.which("gcc")
TINY = Effort(32 * MIB, 8 * MIB, 0.001, ("f16", "q4_K"), 8, MIB)


def test_memory_is_read_and_copied_by_one_and_by_all() -> None:
    """Four figures for several threads; on one core, one thread is all of them."""
    many = measure_memory(device="cpu", threads=2, total_bytes=32 * MIB, seconds=0.001, rounds=2)
    one = measure_memory(device="cpu", threads=1, total_bytes=32 * MIB, seconds=0.001, rounds=1)
    expected = {"read, 1 thread", "copy, 1 thread", "read, all threads", "copy, all threads"}
    assert {m.variant for m in many} == {m.variant for m in one} == expected
    assert all(m.value >= m.detail["slowest"] > 0 for m in many)
    assert {m.detail["threads"] for m in one} == {1}


def test_a_file_is_read_cold_and_warm_and_is_gone_afterwards(tmp_path: Path) -> None:
    """Where the disk cannot be read cold there is a sentence instead of a figure."""
    result = measure_disk(folder=tmp_path, device="/", size_bytes=8 * MIB)
    variants = [m.variant for m in result.measurements]
    assert variants == (["warm"] if result.note else ["cold", "warm"])
    assert all(m.value > 0 and m.detail["size_bytes"] == 8 * MIB for m in result.measurements)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    """The caller is told; nothing is left."""
    with pytest.raises(OSError):
        measure_disk(folder=tmp_path / "not there", device="/", size_bytes=8 * MIB)


def test_the_kernel_says_what_lies_in_its_cache(tmp_path: Path) -> None:
    """A file that was just read is there."""
    path = tmp_path / "file"
    path.write_bytes(os.urandom(MIB))
    path.read_bytes()
    with path.open("rb") as file:
        ratio = resident_ratio(file.fileno())
    assert ratio is None or ratio > 0.9


def test_everything_is_measured_in_order_with_the_real_engine(tmp_path: Path) -> None:
    """Memory, disk and the engine's own matrix products; types that were asked for are there with both shapes."""
    steps = list(measure(detect(tmp_path), folder=tmp_path, effort=TINY, environment=dict(os.environ)))
    assert [step.name for step in steps][:3] == ["memory", "disk", "matrix products"]
    products = {(m.kind, m.variant) for m in steps[2].measurements}
    assert products == {(kind, kind_of) for kind in ("matrix", "matrix-vector") for kind_of in ("f16", "q4_K")}
    assert all(m.value > 0 for step in steps for m in step.measurements)


def test_an_engine_that_cannot_be_loaded_is_a_note(tmp_path: Path) -> None:
    """The other figures are there all the same."""
    (tmp_path / "xllamacpp.py").write_text("")  # a module of that name that carries no library
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}
    steps = list(measure(detect(tmp_path), folder=tmp_path, effort=TINY, environment=environment))
    assert steps[0].measurements
    assert steps[2].measurements == ()
    assert "matrix products were not measured" in steps[2].note
    assert "xllamacpp" in steps[2].note


def test_a_library_without_the_functions_is_refused() -> None:
    """Another library of that name is no engine."""
    with pytest.raises(OSError, match="has no ggml_cpu_init"):
        matrix.load(Path("libc.so.6"))


def test_a_wrong_product_is_noticed() -> None:
    """A value that lies outside what a 4-bit type loses is no result."""
    row, token = array.array("f", [1.0, 2.0, 3.0]), array.array("f", [1.0, -1.0, 1.0])
    assert matrix.is_close(2.1, row, token)
    assert not matrix.is_close(-4.0, row, token)
    assert not matrix.is_close(float("nan"), row, token)


def test_a_product_becomes_a_figure() -> None:
    """Many tokens are operations a second, one token is bytes of weights a second; the shortest time counts."""
    many = as_measurement("cpu", 2, matrix.Figure("f16", 8, 1000, 8_192_000, (0.5, 1.0, 2.0)))
    assert (many.kind, many.value) == ("matrix", 2 * 1000 * 4096 * 8 / 0.5)
    one = as_measurement("cpu", 2, matrix.Figure("f16", 1, 1000, 8_192_000, (0.5, 1.0, 2.0)))
    assert (one.kind, one.value, one.detail["median"]) == ("matrix-vector", 16_384_000, 8_192_000)


def test_measuring_takes_a_small_part_of_what_is_free() -> None:
    """A quarter of the memory, a tenth of the disk, whole blocks; a large machine gets the full effort."""
    small = fit_to(FULL, available_bytes=GIB, free_disk_bytes=GIB)
    assert small.buffer_bytes == 256 * MIB
    assert small.file_bytes == 96 * MIB
    assert fit_to(FULL, available_bytes=1000 * GIB, free_disk_bytes=1000 * GIB) == FULL


def test_a_busy_machine_is_said_to_be_busy() -> None:
    """Figures that other programs spoil are not given without a word."""
    assert busy_note(0.1, 2) == ""
    assert "load 1.9 on 2 cores" in busy_note(1.9, 2)


def build_cuda(folder: Path, *options: str) -> str:
    """The library, compiled."""
    library, source = folder / "libcuda.so.1", Path(__file__).parent / "recordings" / "cuda.c"
    subprocess.run([str(COMPILER), "-shared", "-fPIC", "-w", *options, "-o", library, source], check=True)
    return str(library)


@pytest.mark.skipif(COMPILER is None, reason="needs a C compiler to build the library that is called")
def test_copies_of_a_gpu_are_measured_and_everything_is_given_back(tmp_path: Path) -> None:
    """Three figures a GPU; memory and context are released. No GPU was at hand: a library of the documented form."""
    library = build_cuda(tmp_path)
    found = measure_copies(size_bytes=MIB, library=library)
    assert [m.variant for m in found] == ["host to device", "device to host", "inside the device"]
    assert {m.device for m in found} == {"NVIDIA Test GPU"}
    assert all(m.value > 0 for m in found)
    assert ctypes.CDLL(library).retained_contexts() == 0


@pytest.mark.skipif(COMPILER is None, reason="needs a C compiler to build the library that is called")
def test_a_driver_that_refuses_says_which_call(tmp_path: Path) -> None:
    """The name of the error is the driver's."""
    with pytest.raises(CudaProblemError, match="cuInit failed with CUDA_ERROR_NO_DEVICE"):
        measure_copies(size_bytes=MIB, library=build_cuda(tmp_path, "-DBROKEN"))


def test_no_driver_is_no_measurement(tmp_path: Path) -> None:
    """A machine without a GPU is an ordinary machine."""
    assert measure_copies(size_bytes=MIB, library=str(tmp_path / "libcuda.so.1")) == []

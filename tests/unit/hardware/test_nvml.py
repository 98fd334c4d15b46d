"""NVML through ctypes, against a library of the documented form that is compiled for the test. No GPU was at hand."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from undercroft.hardware.nvml import NvmlProblemError, read_energy, read_gpus

SOURCE = Path(__file__).parent / "recordings" / "nvml.c"
COMPILER = shutil.which("cc") or shutil.which("gcc")
GIB = 1024**3

pytestmark = pytest.mark.skipif(COMPILER is None, reason="needs a C compiler to build the library that is called")


def build(folder: Path, *options: str) -> str:
    """The library, compiled."""
    library = folder / "libnvidia-ml.so.1"
    subprocess.run([str(COMPILER), "-shared", "-fPIC", "-w", *options, "-o", library, SOURCE], check=True)
    return str(library)


def test_everything_that_a_gpu_says_is_read(tmp_path: Path) -> None:
    """Memory, capability, power, heat, error correction, throttling, versions and processes."""
    gpus = read_gpus(build(tmp_path))
    assert gpus is not None
    first = gpus[0]
    assert (first.name, first.memory_bytes, first.free_bytes) == ("NVIDIA A100-SXM4-80GB", 80 * GIB, 70 * GIB)
    assert (first.compute_capability, first.driver_version, first.runtime_version) == ("8.0", "550.54.15", "12.4")
    assert (first.power_limit_watts, first.power_draw_watts, first.temperature_celsius) == (400.0, 61.52, 33)
    assert first.has_ecc is True
    assert first.throttle_reasons == ("sw power cap", "sw thermal slowdown")
    assert first.processes == {4711: 9 * GIB, 4712: 0}
    assert first.facts == {"uuid": "GPU-0", "pcie width": "16x", "mig": "Disabled"}
    assert first.mig_instances == ()
    assert first.bandwidth_bytes == pytest.approx(2039e9, rel=1e-3)


def test_what_a_gpu_does_not_say_is_not_known(tmp_path: Path) -> None:
    """A refused reading is None, an idle clock no throttling; the parts of a divided GPU are counted."""
    gpus = read_gpus(build(tmp_path))
    assert gpus is not None
    assert gpus[1].power_draw_watts is None
    assert gpus[1].bandwidth_bytes is None
    assert gpus[1].throttle_reasons == ()
    assert gpus[1].processes == {}
    assert gpus[1].mig_instances == ("0: 40.0 GiB",)


def test_energy_is_read_where_a_gpu_counts_it(tmp_path: Path) -> None:
    """Joules of the first, more than 32 bits hold; the second counts none; no library is no meter."""
    assert read_energy(build(tmp_path)) == {0: 5_000_000_000.5}
    assert read_energy(str(tmp_path / "none.so")) == {}
    folder = tmp_path / "broken"
    folder.mkdir()
    with pytest.raises(NvmlProblemError, match="Driver Not Loaded"):
        read_energy(build(folder, "-DBROKEN"))


def test_a_library_without_a_driver_says_so(tmp_path: Path) -> None:
    """The reason is the library's own."""
    with pytest.raises(NvmlProblemError, match="NVML cannot be used: Driver Not Loaded"):
        read_gpus(build(tmp_path, "-DBROKEN"))


def test_no_library_is_no_gpu(tmp_path: Path) -> None:
    """A machine without NVIDIA's driver is an ordinary machine."""
    assert read_gpus(str(tmp_path / "libnvidia-ml.so.1")) is None


def test_another_library_of_that_name_is_a_problem(tmp_path: Path) -> None:
    """A library without NVML's functions is said to be unusable."""
    empty = tmp_path / "empty.c"
    empty.write_text("int nothing(void) { return 0; }\n")
    library = tmp_path / "libnvidia-ml.so.1"
    subprocess.run([str(COMPILER), "-shared", "-fPIC", "-o", library, empty], check=True)
    with pytest.raises(NvmlProblemError, match="it has no nvmlInit_v2"):
        read_gpus(str(library))

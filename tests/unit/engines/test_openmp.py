"""The OpenMP library where the system has none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from undercroft.engines import openmp


def test_a_system_that_has_it_is_left_alone(tmp_path: Path) -> None:
    """Nothing is linked, and the environment stays as it was."""
    if not openmp.has_system_library():
        pytest.skip("this system has no libgomp.so.1")
    assert openmp.with_library({"A": "b"}, tmp_path) == {"A": "b"}
    assert list(tmp_path.iterdir()) == []


def test_the_carried_copy_does_in_its_place(tmp_path: Path) -> None:
    """The copy of our dependency, linked under the right name, is found by a new process and has OpenMP's functions."""
    carried = openmp.carried_library()
    if carried is None:
        pytest.skip("no copy is carried for this platform")
    (tmp_path / openmp.LIBRARY).symlink_to(carried)
    code = (
        "import ctypes; ctypes.CDLL('libgomp.so.1').omp_get_max_threads(); "
        "print([l.split()[-1] for l in open('/proc/self/maps') if 'gomp' in l][0])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={"LD_LIBRARY_PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(result.stdout.strip()).resolve() == carried


def test_the_carried_copy_counts_as_the_library_in_a_process_that_runs(tmp_path: Path) -> None:
    """Once it is loaded under the right name, a library that needs it is loaded, and the system's is not looked for."""
    carried = openmp.carried_library()
    if carried is None:
        pytest.skip("no copy is carried for this platform")
    code = (
        "import ctypes, sys; from pathlib import Path; from undercroft.engines import openmp\n"
        "from undercroft.hardware.measuring.matrix import library_path\n"
        "openmp.load_as_system_library(Path(sys.argv[1])); ctypes.CDLL(str(library_path()))\n"
        "print({l.split()[5] for l in open('/proc/self/maps') if 'gomp' in l and 'pykdtree' not in l})"
    )
    result = subprocess.run([sys.executable, "-c", code, str(carried)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("libgomp.so.1") == 1
    assert "/lib/" not in result.stdout

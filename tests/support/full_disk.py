"""A disk of its own for one trial, small and in memory, which nobody else sees."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
_MOUNT = 'mount -t tmpfs -o size=200m tmpfs "$0" && exec "$@"'


def on_a_full_disk(folder: Path, kind: str, environment: Path | None = None) -> None:
    """Tries a kind of job on a disk that becomes full, as `tests.support.job_trials` does; skips where none can be had.

    Args:
        folder: Where the disk is mounted; no link lies above it.
        kind: Of its ``WISHES`` or ``TAUGHT``.
        environment: Folder of the installed ``train``, for what is taught; it lies elsewhere.
    """
    words = [str(folder), kind, *([str(environment)] if environment is not None else [])]
    on_a_small_disk(folder, "tests.support.job_trials", words)


def on_a_small_disk(folder: Path, module: str, words: Sequence[str]) -> None:
    """Runs a program of the tests on such a disk; skips where none can be had.

    Args:
        folder: Where the disk is mounted; no link lies above it.
        module: The program.
        words: What it is given.
    """
    namespace = ["unshare", "--user", "--map-root-user", "--mount"]
    if shutil.which("unshare") is None or subprocess.run([*namespace, "true"], check=False).returncode != 0:
        pytest.skip("no namespace of its own can be had here, in which a small disk could be mounted")
    tried = subprocess.run(
        [*namespace, "sh", "-c", _MOUNT, folder, sys.executable, "-m", module, *words],
        cwd=_ROOT,
        env=os.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert tried.returncode == 0, tried.stderr

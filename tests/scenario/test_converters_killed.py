"""Conversions and compressions whose process is killed at random moments, while a program of an environment works.

The environments are really installed from the package index: one to two gigabytes each.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.cellar import Cellar
from tests.support.job_trials import Trial
from undercroft.core.home import Home
from undercroft.storage.database import Database

_SUPPORT = Path(__file__).parents[1] / "support"
_KILLS = 6
_TO_ONNX = {"convert": {"to": "onnx"}}


@pytest.mark.timeout(14400)
@pytest.mark.usefixtures("temporary_folder")
@pytest.mark.parametrize(
    ("environments", "published", "steps"),
    [
        (["convert"], ["published_models.py", "qwen3"], [{"convert": {"to": "gguf", "type": "f16"}}]),
        (["onnx", "onnxruntime"], ["published_models.py", "bert"], [_TO_ONNX]),
        (["executorch"], ["published_models.py", "bert"], [{"convert": {"to": "executorch"}}]),
        (["litert"], ["published_models.py", "bert"], [{"convert": {"to": "litert", "type": "int8"}}]),
        (["compress"], ["published_wide.py"], [{"quantize": {"scheme": "fp8"}}]),
    ],
    ids=lambda given: given[0] if isinstance(given, list) and isinstance(given[0], str) else "steps",
)
def test_killed_at_any_moment_it_loses_nothing_but_time(
    tmp_path: Path, is_full: bool, environments: list[str], published: list[str], steps: list[dict[str, Any]]
) -> None:
    """Programs of an environment end with the job that has started them, leave no temporary file, and the model is made
    in the end that is made undisturbed, to the digest."""
    if not is_full:
        pytest.skip("environments are installed for it: pytest -m long --full")
    cellar = Cellar(tmp_path)
    for name in environments:
        cellar.run("engine", "install", name)
    python = cellar.home / "environments" / environments[0] / "bin" / "python"
    program, *words = published
    made = subprocess.run(
        [python, _SUPPORT / program, *words, tmp_path / "model"],
        env={**os.environ, "TMPDIR": str(tmp_path)},  # what is left there is not the job's
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    cellar.run("model", "pull", str(tmp_path / "model"), "--name", "published")
    home = Home(cellar.home)
    database = Database(home.database_file)
    try:
        trial = Trial(home, database, "published", steps)
        _, seconds = trial.undisturbed()
        trial.killed_and_resumed(_KILLS, random.Random(), most_seconds=seconds)
    finally:
        database.close()
        shutil.rmtree(cellar.home, ignore_errors=True)

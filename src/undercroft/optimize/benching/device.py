"""Programs for devices: timed here in the device's own runtime, and laid out to be copied to one."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from undercroft.core.errors import InvalidError
from undercroft.core.home import Home
from undercroft.core.new_folders import filling
from undercroft.environments.installed import Environment, needed
from undercroft.environments.recipes import find
from undercroft.optimize.conversion.programs_run import run_program
from undercroft.optimize.edge.making import PROGRAMS
from undercroft.registry.inspection.edge import MANIFEST, EdgeManifest, read_manifest
from undercroft.registry.inspection.json_files import read_json

RUNNER = "run_edge.py"
_PACKAGES = {"executorch": ("executorch", "torch", "tokenizers"), "litert": ("ai-edge-litert", "numpy", "tokenizers")}


def bench_program(home: Home, files: Mapping[str, Path], folder: Path, *, rounds: int, threads: int) -> dict[str, Any]:
    """Times a program in the installed environment of its runtime, in a process of its own without a network.

    Args:
        home: Where environments lie.
        files: Of the model, by their names.
        folder: For what is in between; the caller removes it.
        rounds: Of each length of text, or of answers.
        threads: Processors; 0 leaves it to the runtime.

    Returns:
        Figures, see ``time_model`` in ``run_edge.py``.

    Raises:
        InvalidError: The manifest is none.
        UnavailableError: ``no-environment``, or the program failed.
    """
    manifest = manifest_in(files)
    environment = needed(home, find(manifest.runtime))
    laid = folder / "model"
    laid.mkdir()
    for name in (MANIFEST, manifest.program, manifest.tokenizer):
        (laid / name).symlink_to(files[name].absolute())
    order = {"folder": str(laid), "task": "time", "rounds": rounds, "threads": threads}
    return run_program(environment, "answer", order, folder=folder, programs=PROGRAMS)


def manifest_in(files: Mapping[str, Path]) -> EdgeManifest:
    """How the program among files is run.

    Args:
        files: Of a model, by their names.

    Raises:
        InvalidError: ``no-manifest``, ``bad-json``, ``bad-edge-manifest``, or a file that it names is not there.
    """
    if MANIFEST not in files:
        raise InvalidError(
            "no-manifest",
            f"there is no {MANIFEST}, which says how a program for a device is run",
            hint="undercroft bench MODEL --export FOLDER writes a folder with one",
        )
    manifest = read_manifest(read_json(files[MANIFEST], MANIFEST), MANIFEST)
    missing = [name for name in (manifest.program, manifest.tokenizer) if name not in files]
    if missing:
        raise InvalidError("no-program", f"{MANIFEST} names {missing[0][:80]!r}, which is not beside it")
    return manifest


def export_folder(home: Home, files: Mapping[str, Path], target: Path) -> list[Path]:
    """Copies all that a device needs: the model, the program that runs and times it, and what to install for that.

    Args:
        home: Where environments lie; versions are those that the model was made and compared with.
        files: Of the model, by their names.
        target: Folder to make.

    Returns:
        What was written.

    Raises:
        ConflictError: ``folder-not-empty``.
        UnavailableError: ``no-environment``, or the folder cannot be written.
    """
    manifest = manifest_in(files)
    environment = needed(home, find(manifest.runtime))
    wanted = [*(name for name in sorted(files) if "/" not in name), RUNNER, "requirements.txt"]
    with filling(target) as inside:
        for name in wanted[:-2]:
            shutil.copyfile(files[name], inside / name)
        shutil.copyfile(PROGRAMS / RUNNER, inside / RUNNER)
        (inside / "requirements.txt").write_text(_requirements(environment, manifest), encoding="utf-8")
    return [target / name for name in wanted]


def _requirements(environment: Environment, manifest: EdgeManifest) -> str:
    record = environment.record()
    assert record is not None  # `needed` has looked
    # A build for processors only has a name of its own, which no index of a device knows.
    return "".join(
        f"{name}=={record.packages[name].partition('+')[0]}\n"
        for name in _PACKAGES[manifest.runtime]
        if name in record.packages
    )

"""A Triton repository as Triton loads it: the files of the registry, and the programs that run inside Triton."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from undercroft.core.new_folders import filling
from undercroft.optimize.triton.plan import command_line
from undercroft.registry.inspection.triton import read_configs, read_options, read_repository
from undercroft.registry.triton.repository import PLAN_OPTIONS

_PROGRAMS = Path(__file__).with_name("programs")
_PROGRAM_OF = {"tokenizer": "tokenizer_model.py", "answer": "answer_model.py"}
PLAN_SCRIPT = "build_plan.sh"


def export_repository(files: Mapping[str, Path], target: Path) -> dict[str, str]:
    """Writes a repository that Triton loads.

    Args:
        files: Of the model, by their paths in the repository.
        target: A folder that is not there, or empty.

    Returns:
        Model → the command that builds its TensorRT plan; empty where none is to be built.

    Raises:
        ConflictError: ``folder-not-empty``.
        InvalidError: The files are no repository.
        UnavailableError: The folder cannot be written.
    """
    found = read_repository(files)
    with filling(target) as inside:
        for name, path in files.items():
            (inside / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, inside / name)
        add_programs(inside, files)
    version = found.versions[-1]
    return {
        model: command_line(read_options(files[name], name))
        for model in found.unbuilt
        if (name := f"{model}/{version}/{PLAN_OPTIONS}") in files
    }


def add_programs(target: Path, files: Mapping[str, Path]) -> None:
    """Puts our programs, and folders for versions without a file, into a repository.

    Args:
        target: The folder of the repository, with its files in it.
        files: Of the model, by their paths in the repository.

    Raises:
        OSError: The disk is full.
    """
    found = read_repository(files)
    for model in read_configs(files):
        which = model.removeprefix(f"{found.ensemble}_")
        for version in found.versions:
            folder = target / model / str(version)
            folder.mkdir(exist_ok=True)
            if which in _PROGRAM_OF:
                shutil.copyfile(_PROGRAMS / _PROGRAM_OF[which], folder / "model.py")
        if any(name.startswith(f"{model}/") and name.endswith(f"/{PLAN_OPTIONS}") for name in files):
            shutil.copyfile(_PROGRAMS / PLAN_SCRIPT, target / model / PLAN_SCRIPT)

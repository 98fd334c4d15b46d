"""What a device needs of a model, and what is asked of a folder before its program is run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from undercroft.core.errors import ConflictError, InvalidError, UnavailableError
from undercroft.core.home import Home
from undercroft.environments.installed import Record, environment_of
from undercroft.environments.recipes import find
from undercroft.optimize.benching.device import bench_program, export_folder, manifest_in

_MANIFEST: dict[str, Any] = {
    "runtime": "litert",
    "program": "model.tflite",
    "tokenizer": "tokenizer.json",
    "task": "embed",
    "weights": "f32",
    "parameters": 1,
    "most_tokens": 32,
    "lengths": [32],
    "is_length_fixed": True,
    "pad_token": 0,
    "width": 4,
    "pooling": "mean",
    "end_tokens": [],
    "inputs": [{"name": "input_ids", "type": "int32", "shape": [1, "length"]}],
    "outputs": [],
}


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """A model for LiteRT, as far as its names go."""
    folder = tmp_path / "model"
    folder.mkdir()
    for name, text in (("edge.json", json.dumps(_MANIFEST)), ("model.tflite", "program"), ("tokenizer.json", "{}")):
        (folder / name).write_text(text)
    return {path.name: path for path in folder.iterdir()}


@pytest.fixture
def equipped(home: Home) -> Home:
    """A home in which LiteRT counts as installed."""
    environment = environment_of(home, "litert")
    (environment.folder / "bin").mkdir(parents=True)
    environment.python.touch()
    packages = {"ai-edge-litert": "2.3.0", "numpy": "2.4.6", "tokenizers": "0.23.3", "torch": "2.13.0+cpu"}
    environment.complete(Record(find("litert").digest(), "3.11.7", packages, 1, "2026-11-22T10:00:00Z"))
    return home


def test_a_folder_for_a_device(equipped: Home, files: dict[str, Path], tmp_path: Path) -> None:
    """The model, the program that runs it, and the versions that it was compared with; nothing that is there is
    written over."""
    target = tmp_path / "device"
    written = export_folder(equipped, files, target)
    assert sorted(path.name for path in written) == sorted(path.name for path in target.iterdir())
    assert (target / "model.tflite").read_text() == "program"
    assert "def time_model" in (target / "run_edge.py").read_text()
    assert (target / "requirements.txt").read_text() == "ai-edge-litert==2.3.0\nnumpy==2.4.6\ntokenizers==0.23.3\n"
    with pytest.raises(ConflictError, match="not an empty folder"):
        export_folder(equipped, files, target)


def test_a_folder_that_cannot_be_written(equipped: Home, files: dict[str, Path], tmp_path: Path) -> None:
    """A place below a file is refused with the system's own reason."""
    (tmp_path / "file").touch()
    with pytest.raises(UnavailableError, match="cannot write"):
        export_folder(equipped, files, tmp_path / "file" / "device")


@pytest.mark.parametrize(("missing", "told"), [("edge.json", "there is no edge.json"), ("model.tflite", "not beside")])
def test_a_folder_with_a_file_missing(files: dict[str, Path], missing: str, told: str) -> None:
    """A folder of which something was not copied is refused with its name."""
    del files[missing]
    with pytest.raises(InvalidError, match=told):
        manifest_in(files)


def test_nothing_is_timed_without_the_runtime(home: Home, files: dict[str, Path], tmp_path: Path) -> None:
    """Where the runtime is not installed, the command that installs it is told."""
    with pytest.raises(UnavailableError) as caught:
        bench_program(home, files, tmp_path, rounds=1, threads=0)
    assert caught.value.hint == "undercroft engine install litert"

"""What programs of environments make of published models, killed at any moment or on a full disk.

``python -m tests.support.converter_trials FOLDER KIND MODEL ENVIRONMENT…`` tries a kind on a full disk, which the
folder is on, home and temporary files in it; the published model, and the folders of the installed environments, lie
elsewhere.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.adapters import write_peft
from tests.support.job_trials import Trial
from undercroft.core.home import Home
from undercroft.registry import models
from undercroft.storage.database import Database

_LATER = 3


@dataclass(frozen=True, slots=True)
class Making:
    """What is made of what.

    Args:
        environments: That have to be installed; the Python of the first writes the published model.
        published: Program of `tests.support` that writes it, and what it is given.
        step: Of the recipe.
        before: The step that makes what is read of what was published; None reads that.
        is_adapter: Whether a LoRA of what was published is read, beside what ``before`` makes.
    """

    environments: tuple[str, ...]
    published: tuple[str, ...]
    step: dict[str, Any]
    before: dict[str, Any] | None = None
    is_adapter: bool = False


_ONNX = ("onnx", "onnxruntime")
_ENCODER, _DECODER = ("published_models", "bert"), ("published_models", "qwen3")
MAKINGS = {
    "gguf": Making(("convert",), _DECODER, {"convert": {"to": "gguf", "type": "f16"}}),
    "adapter": Making(
        ("convert",), _DECODER, {"convert": {"to": "gguf"}}, {"convert": {"to": "gguf"}}, is_adapter=True
    ),
    "onnx": Making(_ONNX, _ENCODER, {"convert": {"to": "onnx"}}),
    "onnx-decoder": Making(_ONNX, _DECODER, {"convert": {"to": "onnx", "type": "int4"}}),
    "triton": Making(_ONNX, _ENCODER, {"convert": {"to": "triton"}}, before={"convert": {"to": "onnx"}}),
    "executorch": Making(("executorch",), _ENCODER, {"convert": {"to": "executorch"}}),
    "executorch-decoder": Making(("executorch",), _DECODER, {"convert": {"to": "executorch", "type": "int8"}}),
    "litert": Making(("litert",), _ENCODER, {"convert": {"to": "litert", "type": "int8"}}),
    "litert-decoder": Making(("litert",), _DECODER, {"convert": {"to": "litert", "type": "int8"}}),
    "compress": Making(("compress",), ("published_wide",), {"quantize": {"scheme": "fp8"}}),
}


@contextmanager
def making(home: Home, kind: str, model: Path) -> Iterator[Trial]:
    """A home with the published model, and what to make of it.

    Args:
        home: With the environments of the kind in it.
        kind: Of `MAKINGS`.
        model: Folder of the published model.
    """
    wanted = MAKINGS[kind]
    home.prepare()
    database = Database(home.database_file)
    try:
        models.add_local(database, home, model, name="published", actor="cli:anna")
        source = "published"
        if wanted.before is not None:
            source = Trial(home, database, source, [wanted.before]).done_as("read")
        if wanted.is_adapter:
            with tempfile.TemporaryDirectory() as folder:
                adapter = write_peft(Path(folder) / "adapter", blocks=3, scale=0.2)
                models.add_local(database, home, adapter, name="adapter", actor="cli:anna", base="published")
            source = "adapter"
        yield Trial(home, database, source, [wanted.step])
    finally:
        database.close()


def main() -> None:
    """On one processor, so that there is a middle of the work."""
    folder, kind, model, *environments = sys.argv[1:]
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    temporary = Path(folder) / "temporary"
    temporary.mkdir()
    os.environ["TMPDIR"] = tempfile.tempdir = str(temporary)
    home = Home(Path(folder) / "home")
    home.environments.mkdir(parents=True)
    for environment in map(Path, environments):
        (home.environments / environment.name).symlink_to(environment)
    with making(home, kind, Path(model)) as trial:
        trial.on_a_full_disk(Path(folder) / "fill", later=_LATER)


if __name__ == "__main__":
    main()

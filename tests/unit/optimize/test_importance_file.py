"""An importance matrix that was collected before, in place of texts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.ggufs import write_chat_model
from undercroft.core.errors import ConflictError, InvalidError, RefusedError
from undercroft.core.home import Home
from undercroft.optimize.jobs import asking
from undercroft.optimize.prepared import Prepared
from undercroft.optimize.quantization.importance import write_importance
from undercroft.optimize.quantization.quantizing import quantize_file
from undercroft.optimize.quantization.schemes import scheme_named
from undercroft.optimize.quantization.source import Source
from undercroft.optimize.recipes import make_recipe
from undercroft.optimize.rightsizing.candidates import any_matrix
from undercroft.optimize.steps import Workspace
from undercroft.registry import models
from undercroft.storage.database import Database


def matrix_of(model: Path, target: Path) -> Path:
    """A matrix for a model, as a file."""
    with Source(model) as source:
        write_importance(target, any_matrix(source, "letters.txt"))
    return target


@pytest.fixture
def file(database: Database, home: Home, tmp_path: Path) -> Path:
    """The file of a registered model."""
    made = write_chat_model(tmp_path / "tiny.gguf", width=256, layers=1)
    models.add_local(database, home, made, actor="cli:anna")
    return made


def prepared(database: Database, home: Home, **importance: object) -> Prepared:
    step = {"quantize": {"scheme": "IQ2_XXS", "importance": importance}}
    return asking.look_at(home, database, make_recipe({"from": "tiny", "to": "new", "steps": [step]}))


def test_a_ready_matrix_makes_what_texts_would(database: Database, home: Home, file: Path, tmp_path: Path) -> None:
    """A scheme that is garbage without one is made with it, of the size that was forecast, the same every time."""
    matrix = matrix_of(file, tmp_path / "imatrix.gguf")
    (step,) = prepared(database, home, file=matrix).steps
    assert (step.is_reproducible, step.told["settings"]["importance"]["file"]) == (True, str(matrix))
    work = Workspace(file, tmp_path, 0, 1)
    step.step.run(work, lambda progress: None)
    assert abs(work.result.stat().st_size - step.forecast.result_bytes) < 1024
    with Source(file) as source:
        known = any_matrix(source, "letters.txt")
    quantize_file(
        file,
        tmp_path / "again.gguf",
        scheme_named("IQ2_XXS"),
        importance=known,
        threads=1,
        report=lambda done, total: None,
    )
    assert (tmp_path / "again.gguf").read_bytes()[-4096:] == work.result.read_bytes()[-4096:]


def test_a_matrix_of_another_model_is_refused(database: Database, home: Home, file: Path, tmp_path: Path) -> None:
    """Before the job begins, with the tensor that does not fit."""
    other = write_chat_model(tmp_path / "other.gguf", width=512, layers=1)
    with pytest.raises(InvalidError, match=r"importance-does-not-fit: .*imatrix.gguf"):
        prepared(database, home, file=matrix_of(other, tmp_path / "imatrix.gguf"))
    with pytest.raises(InvalidError, match="expected a GGUF file of type 'imatrix'"):
        prepared(database, home, file=file)


def test_a_matrix_that_changed_is_refused(database: Database, home: Home, file: Path, tmp_path: Path) -> None:
    """A recipe that names its digest gets that content or nothing."""
    matrix = matrix_of(file, tmp_path / "imatrix.gguf")
    with pytest.raises(ConflictError, match="importance-changed"):
        prepared(database, home, file=matrix, file_digest="sha256:" + "0" * 64)


def test_texts_or_a_file(tmp_path: Path) -> None:
    """One of them; a file that is not there is named with its place."""
    both = {"texts": tmp_path / "a.txt", "file": tmp_path / "b.gguf"}
    for importance, problem in (
        (both, "expected texts: FILE or file: FILE"),
        ({}, "expected texts: FILE or file: FILE"),
        ({"file": tmp_path / "b.gguf"}, r"quantize.importance.file: there is no file"),
    ):
        step = {"quantize": {"scheme": "Q4_0", "importance": importance}}
        with pytest.raises(InvalidError, match=problem):
            make_recipe({"from": "a", "to": "b", "steps": [step]})


def test_without_any_it_is_refused(database: Database, home: Home, file: Path) -> None:
    """As before."""
    with pytest.raises((InvalidError, RefusedError), match="IQ2_XXS is garbage without an importance matrix"):
        make_recipe({"from": "tiny", "to": "new", "steps": [{"quantize": {"scheme": "IQ2_XXS"}}]})

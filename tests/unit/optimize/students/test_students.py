"""A student of a new shape: what it would be, what cannot be, and a file that the engine runs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from tests.support.ggufs import write_chat_model
from tests.support.prunable import write_prunable
from undercroft.cli.optimize_distill import shape_of as shape_of_text
from undercroft.core.errors import InvalidError
from undercroft.core.home import Home
from undercroft.optimize.distill_step import same_tokens, training_forecast
from undercroft.optimize.jobs import asking
from undercroft.optimize.measures.log_probabilities import token_log_probabilities
from undercroft.optimize.measures.reading import Reading
from undercroft.optimize.recipes import make_recipe
from undercroft.optimize.steps import Workspace
from undercroft.optimize.student_step import StudentStep, opened_student, planned_student
from undercroft.optimize.students.settings import Student
from undercroft.optimize.students.shaping import Shape, student_shape
from undercroft.optimize.students.writing import write_student
from undercroft.optimize.training.opening import look_into
from undercroft.registry import models
from undercroft.storage.blobs import digest_file
from undercroft.storage.database import Database

LARGE = Shape(blocks=16, width=2048, channels=8192, heads=32, kv_heads=8, head_width=64)
WORDS = "the third bird sat on a wire, and looked at a cat."


def unheard(done: int, total: int) -> None:
    """Progress that nobody looks at."""


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"blocks": 4}, Shape(4, 2048, 8192, 32, 8, 64)),
        ({"width": 512}, Shape(16, 512, 2048, 8, 2, 64)),
        ({"width": 512, "heads": 16, "channels": 100}, Shape(16, 512, 100, 16, 4, 32)),
        ({"width": 128, "heads": 2, "blocks": 2}, Shape(2, 128, 512, 2, 2, 64)),
        ({"width": 512, "kv_heads": 1}, Shape(16, 512, 2048, 8, 1, 64)),
    ],
)
def test_what_is_not_said_is_in_the_proportions_of_the_source(asked: dict[str, int], found: Shape) -> None:
    """Heads stay as wide, and share as many keys, where that is possible."""
    assert student_shape(Student(**asked), LARGE) == found


@pytest.mark.parametrize(
    ("asked", "problem", "hint"),
    [
        ({"width": 100}, "heads of 64 values, as the source has them, do not divide a width of 100", "128"),
        ({"width": 512, "heads": 7}, "7 heads do not divide a width of 512", "511"),
        ({"width": 96, "heads": 32}, "have 3 values each", "even"),
        ({"width": 512, "kv_heads": 3}, "3 key/value heads do not divide 8 heads", "kv_heads=1"),
        ({"blocks": 16}, "the source's own", "fewer blocks"),
    ],
)
def test_what_cannot_be_is_refused_with_its_reason(asked: dict[str, int], problem: str, hint: str) -> None:
    """And with what could be instead."""
    with pytest.raises(InvalidError, match=problem) as caught:
        student_shape(Student(**asked), LARGE)
    assert (caught.value.code, hint in str(caught.value.hint)) == ("bad-shape", True)


def test_positions_that_are_told_pair_by_pair_keep_their_pairs() -> None:
    """Other heads would have other pairs."""
    with pytest.raises(InvalidError, match="a number for each pair of a head of 64 values"):
        student_shape(Student(width=512, heads=16), LARGE, has_factors=True)


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3"])
def test_a_student_is_a_model_that_the_engine_runs(tmp_path: Path, architecture: str) -> None:
    """Of the shape that was asked for, with its source's words; it expects every token alike, for it knows nothing."""
    source = write_prunable(tmp_path / "large.gguf", architecture)
    shape, size = planned_student(Student(blocks=2, width=32, heads=2, kv_heads=1, channels=48), source)
    target = tmp_path / "student.gguf"
    write_student(source, shape, target, seed=1, report=unheard)
    opened = look_into(target)
    assert (opened.architecture.heads, opened.architecture.kv_heads) == (2, 1)
    config = opened.architecture.config
    assert (config["num_hidden_layers"], config["hidden_size"], config["intermediate_size"]) == (2, 32, 48)
    assert 4 * opened.values == size
    assert same_tokens(source, target)
    (read,) = token_log_probabilities(target, [WORDS], Reading(threads=1))
    alike = -float(read.log_probabilities.mean())
    vocabulary = float(config["vocab_size"])
    assert alike == pytest.approx(math.log(vocabulary), rel=0.02)


def test_the_same_seed_draws_the_same_weights(tmp_path: Path) -> None:
    """And another one others."""
    source = write_chat_model(tmp_path / "large.gguf")
    shape, _ = planned_student(Student(blocks=1, width=32, heads=2), source)
    digests = []
    for number, seed in enumerate((1, 1, 2)):
        target = tmp_path / f"{number}.gguf"
        write_student(source, shape, target, seed=seed, report=unheard)
        digests.append(digest_file(target))
    assert digests[0] == digests[1] != digests[2]


def recipe(steps: list[dict[str, Any]], **more: Any) -> Any:
    return make_recipe({"from": "large", "to": "small", "steps": steps, **more})


def test_what_is_new_has_to_be_taught(tmp_path: Path) -> None:
    """At once, and before anything else; it gets no name of its own."""
    data = tmp_path / "texts.txt"
    data.write_text(WORDS, encoding="utf-8")
    student, distill = {"student": {"blocks": 1}}, {"distill": {"data": data}}
    assert recipe([student, distill], keep="all").kept == {}
    for steps, problem in (
        ([student], "expected a step that distills right after it"),
        ([student, {"quantize": {"scheme": "Q8_0"}}], "expected a step that distills right after it"),
        ([{"prune": {"texts": data, "depth": 1}}, student, distill], "expected it to be the first step"),
        ([{"student": {}}, distill], "expected another shape than the source's"),
        ([{"student": {"block": 1}}, distill], "nearest is 'blocks'"),
    ):
        with pytest.raises(InvalidError, match=problem):
            recipe(steps)


def test_a_student_is_made_as_a_step(database: Database, home: Home, tmp_path: Path) -> None:
    """A shape that cannot be is refused before any work; what was made is told in the lineage."""
    file = write_chat_model(tmp_path / "large.gguf")
    models.add_local(database, home, file, actor="cli:anna")
    data = tmp_path / "texts.txt"
    data.write_text(WORDS, encoding="utf-8")
    with pytest.raises(InvalidError, match="do not divide"):
        asking.look_at(home, database, recipe([{"student": {"heads": 5}}, {"distill": {"data": data}}]))
    work = Workspace(file, tmp_path / "work", seed=0, threads=1)
    work.folder.mkdir()
    StudentStep(planned_student(Student(blocks=1), file)[0]).run(work, lambda progress: None)
    assert '"blocks": 1' in work.findings.read_text(encoding="utf-8")
    assert look_into(work.result).architecture.config["num_hidden_layers"] == 1


def test_a_small_student_of_a_large_teacher_takes_what_it_takes(tmp_path: Path) -> None:
    """Training keeps gradients and moments of the student, and of the teacher its weights alone."""
    source = write_prunable(tmp_path / "large.gguf", layers=8, width=256)
    small = opened_student(Student(blocks=1, width=32, heads=2, channels=64), source)
    whole = look_into(source)
    assert small.values < whole.values / 50
    assert training_forecast(small, whole, 4 * small.values, 4 * small.values).memory_bytes < (
        training_forecast(whole, whole, 4 * whole.values, 4 * whole.values).memory_bytes
    )


def test_a_shape_is_read_as_people_write_it() -> None:
    """Counts by name."""
    assert shape_of_text("blocks=4, width=128") == {"blocks": 4, "width": 128}
    for text in ("blocks", "blocks=x", "blocks=4,blocks=5", ""):
        with pytest.raises(InvalidError, match="expected counts such as"):
            shape_of_text(text)

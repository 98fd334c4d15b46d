"""The step that makes a new student: what it would be, and the writing of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

from undercroft.optimize.jobs.room import Forecast
from undercroft.optimize.prepared import PreparedStep
from undercroft.optimize.quantization.source import Source as OpenFile
from undercroft.optimize.sources import Source
from undercroft.optimize.steps import Progress, Workspace
from undercroft.optimize.students.settings import Student
from undercroft.optimize.students.shaping import Shape, parameters_of, shape_of, student_shape, tensors_of
from undercroft.optimize.students.writing import write_student
from undercroft.optimize.training.architectures import ROPE_FACTORS
from undercroft.optimize.training.opening import Opened, look_into

_BESIDE_BYTES = 64 * 1024**2


class StudentStep:
    """Writes a network of another shape, with weights that nothing has taught.

    Args:
        shape: Of it.
    """

    def __init__(self, shape: Shape) -> None:
        self._shape = shape

    def run(self, work: Workspace, report: Callable[[Progress], None]) -> None:
        """Makes the file, as `undercroft.optimize.steps.Step` says."""

        def told(done: int, total: int) -> None:
            report(Progress(done, total, "bytes", "drawing weights"))

        write_student(work.source, self._shape, work.result, seed=work.seed, report=told)
        with OpenFile(work.result) as opened:
            parameters = parameters_of(opened.tensors)
        work.findings.write_text(json.dumps({"student": {**asdict(self._shape), "parameters": parameters}}), "utf-8")


def prepare_student(settings: Student, source: Source) -> PreparedStep:
    """Looks whether there is a student of that shape, and what it takes.

    Args:
        settings: What the recipe says.
        source: Whose vocabulary and metadata it gets.

    Raises:
        InvalidError: ``bad-shape``, or ``not-trainable``: a network that nothing here can teach.
    """
    shape, size = planned_student(settings, source.path)
    return PreparedStep(
        kind="student",
        step=StudentStep(shape),
        forecast=Forecast(result_bytes=size, disk_bytes=size, memory_bytes=_BESIDE_BYTES + size),
        told={"settings": settings.model_dump(mode="json", exclude_none=True), "shape": asdict(shape)},
        libraries=("gguf", "numpy"),
    )


def opened_student(settings: Student, source: Path) -> Opened:
    """What opening a student would give that is not made yet.

    Args:
        settings: What the recipe says.
        source: GGUF whose vocabulary it gets.

    Raises:
        InvalidError: ``bad-shape`` or ``not-trainable``.
    """
    opened = look_into(source)
    shape, size = planned_student(settings, source)
    config = {
        **opened.architecture.config,
        "num_hidden_layers": shape.blocks,
        "hidden_size": shape.width,
        "intermediate_size": shape.channels,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_width,
    }
    architecture = replace(opened.architecture, heads=shape.heads, kv_heads=shape.kv_heads, config=config)
    return replace(opened, architecture=architecture, values=size // 4)


def planned_student(settings: Student, source: Path) -> tuple[Shape, int]:
    """The shape of a student, and about the bytes of its file.

    Args:
        settings: What the recipe says.
        source: GGUF whose vocabulary it gets.

    Raises:
        InvalidError: ``bad-shape`` or ``not-trainable``.
    """
    opened = look_into(source)
    with OpenFile(source) as file:
        has_factors = any(tensor.name == ROPE_FACTORS for tensor in file.tensors)
        shape = student_shape(settings, shape_of(opened.architecture), has_factors=has_factors)
        return shape, 4 * parameters_of(tensors_of(file.tensors, shape))

"""The step that distils: what it would make and take, and the doing of it."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from undercroft.core.errors import ConflictError, InvalidError
from undercroft.core.home import Home
from undercroft.core.settings import EngineSettings
from undercroft.environments.installed import Environment, needed
from undercroft.environments.recipes import find
from undercroft.optimize.distillation.answering import answered, served_endpoint
from undercroft.optimize.distillation.material import Prepared as PreparedMaterial
from undercroft.optimize.distillation.material import load_data, prepare_material
from undercroft.optimize.distillation.settings import Distill
from undercroft.optimize.evaluation.replica import NAME, Setup, running
from undercroft.optimize.evaluation.texts import TextSet
from undercroft.optimize.jobs.room import Forecast
from undercroft.optimize.measures.divergence import measure_divergence
from undercroft.optimize.measures.perplexity import measure_perplexity
from undercroft.optimize.measures.reading import Reading
from undercroft.optimize.prepared import PreparedStep
from undercroft.optimize.pruning.shapes import BLOCK, SPARSE_PARTS
from undercroft.optimize.quantization.source import Source as OpenFile
from undercroft.optimize.sources import Source
from undercroft.optimize.steps import REPORT, Progress, Workspace
from undercroft.optimize.training.checking import check_result
from undercroft.optimize.training.closing import WeightKind, result_bytes, write_trained
from undercroft.optimize.training.conversations import Conversation
from undercroft.optimize.training.opening import PLAIN, Opened, look_into, open_model, read_values
from undercroft.optimize.training.orders import CrossEntropy, Divergence, Schedule, Trained, TrainingOrder
from undercroft.optimize.training.running import ENVIRONMENT, train
from undercroft.optimize.training.telling import CurveTeller
from undercroft.optimize.training.tensor_files import TensorFile
from undercroft.storage.blobs import digest_file

_TOLD_PACKAGES = ("torch", "transformers", "safetensors")
_BESIDE_BYTES = 1024**3  # torch with its libraries
_LEAST_WINDOW, _ROUND = 512, 64
_STUDENT, _TEACHER, _RESULT = "student", "teacher", "result"
_TOKENIZER = "tokenizer.ggml."
_KINDS: dict[str, WeightKind] = {"f32": "F32", "f16": "F16", "bf16": "BF16"}


@dataclass(frozen=True, slots=True)
class Teacher:
    """Who teaches.

    Args:
        name: As the lineage calls it.
        path: Its GGUF; None for one that is served.
    """

    name: str
    path: Path | None


class DistillStep:
    """Teaches a student what its teacher expects, or answers.

    Args:
        settings: What the recipe says.
        teacher: Who teaches.
        environment: The installed ``train``.
        engines: How engines are run that read the data and answer.
        keeps_zeros: Weights that pruning has made zero stay so.
    """

    def __init__(
        self,
        settings: Distill,
        teacher: Teacher,
        environment: Environment,
        engines: EngineSettings,
        *,
        keeps_zeros: bool,
    ) -> None:
        self._settings, self._teacher = settings, teacher
        self._environment, self._engines, self._keeps_zeros = environment, engines, keeps_zeros

    def run(self, work: Workspace, report: Callable[[Progress], None]) -> None:
        """Makes the model, as `undercroft.optimize.steps.Step` says; goes on where it was ended."""
        folder = work.folder / "training"
        folder.mkdir(exist_ok=True)
        opened = look_into(work.source)
        data = self._data(folder, report)
        material = prepare_material(
            work.source,
            data,
            folder,
            self._engines,
            context_tokens=opened.context_tokens,
            seed=work.seed,
            report=report,
            is_answered=self._settings.method == "answers",
        )
        report(Progress(0, 0, "steps", "opening the models"))
        _open_once(work.source, folder / _STUDENT)
        if self._settings.method == "logits":
            assert self._teacher.path is not None  # the recipe has made sure of it
            _open_once(self._teacher.path, folder / _TEACHER)
        told = CurveTeller(report, work.folder / REPORT, f"Loss, taught by {self._teacher.name}")
        trained = train(self._order(work, folder, material), self._environment, told.tell)
        told.keep(trained.curve)
        _check_learnt(trained, material)
        self._write(work, folder)
        report(Progress(0, 0, "steps", "comparing with torch"))
        agreement = check_result(
            work.result,
            None,
            _with_settings(folder),
            None,
            material.trials,
            self._environment,
            work=folder,
            kind=_kept_in(work.result),
            threads=work.threads,
        )
        found = {
            "agreement": agreement.to_dict(),
            "distillation": {
                **self._measured(work, material, Path(self._settings.data).name, report),
                "has_questions": not isinstance(data, TextSet),  # which are read, too, and were not learnt
            },
            "training": _training(trained, material),
        }
        work.findings.write_text(json.dumps(found), encoding="utf-8")
        shutil.rmtree(folder)

    def _data(self, folder: Path, report: Callable[[Progress], None]) -> TextSet | Sequence[Conversation]:
        settings = self._settings
        data = load_data(settings.data, is_asked=settings.method == "answers")
        if settings.method == "logits" or isinstance(data, TextSet):
            return data
        if settings.served is not None:
            return answered(
                served_endpoint(settings.served),
                settings.served.model,
                data,
                folder,
                answer_tokens=settings.answer_tokens,
                report=report,
            )
        assert self._teacher.path is not None  # one that is not served is here
        context = look_into(self._teacher.path).context_tokens
        with running(self._teacher.path, Setup(context, slots=1), self._engines) as replica:
            return answered(replica.endpoint, NAME, data, folder, answer_tokens=settings.answer_tokens, report=report)

    def _order(self, work: Workspace, folder: Path, material: PreparedMaterial) -> TrainingOrder:
        settings = self._settings
        window = max(_LEAST_WINDOW, math.ceil(material.longest_tokens / _ROUND) * _ROUND)
        share = 1.0 if settings.share is None else settings.share
        is_taught = settings.method == "logits"
        return TrainingOrder(
            model=folder / _STUDENT,
            training=material.training_file(folder),
            validation=material.validation_file(folder),
            target=folder / _RESULT,
            folder=folder,
            method="full",
            loss=Divergence(folder / _TEACHER, settings.temperature or 1.0, share) if is_taught else CrossEntropy(),
            schedule=Schedule(
                rate=settings.rate,
                epochs=settings.epochs,
                window_tokens=window,
                accumulation=max(1, round(settings.batch_tokens / window)),
                weight_decay=settings.weight_decay,
                patience=settings.patience,
            ),
            seed=work.seed,
            threads=work.threads,
            keeps_zeros=self._keeps_zeros,
        )

    def _write(self, work: Workspace, folder: Path) -> None:
        kind = _KINDS[self._settings.type] if self._settings.type is not None else None
        write_trained(work.source, TensorFile(folder / _RESULT / "model.safetensors"), work.result, kind=kind)
        if self._keeps_zeros:
            check_zeros(work.source, work.result)

    def _measured(
        self, work: Workspace, material: PreparedMaterial, name: str, report: Callable[[Progress], None]
    ) -> dict[str, Any]:
        """Student before and after, over the same texts, beside its teacher where that is here."""

        def told(note: str) -> Callable[[int, int], None]:
            return lambda done, total: report(Progress(done, total, "tokens", note))

        reading = Reading(threads=work.threads, has_marks=True)
        texts = list(material.measured)
        found: dict[str, Any] = {"teacher": self._teacher.name, "texts": name, "is_held_out": material.is_held_out}
        if self._teacher.path is None or not same_tokens(work.source, self._teacher.path):
            before = measure_perplexity(work.source, texts, reading, report=told("measuring before"))
            after = measure_perplexity(work.result, texts, reading, report=told("measuring after"))
            perplexities = {"perplexity_before": before.value, "perplexity_after": after.value}
            return {**found, "tokens": after.tokens, **perplexities}
        teacher = self._teacher.path
        first = measure_divergence(work.source, teacher, texts, reading, report=told("measuring before"))
        second = measure_divergence(work.result, teacher, texts, reading, report=told("measuring after"))
        return {
            **found,
            "tokens": second.model.tokens,
            "perplexity_before": first.model.value,
            "perplexity_after": second.model.value,
            "perplexity_of_teacher": second.parent.value,
            "divergence_before_nats": first.mean_nats,
            "divergence_after_nats": second.mean_nats,
            "same_top_before_ratio": first.same_top_ratio,
            "same_top_after_ratio": second.same_top_ratio,
        }


def prepare_distill(
    settings: Distill,
    source: Source,
    teacher: Source | None,
    home: Home,
    engines: EngineSettings,
    *,
    keeps_zeros: bool,
    student: Opened | None = None,
) -> PreparedStep:
    """Looks whether a model can be taught so, and what that takes.

    Args:
        settings: What the recipe says.
        source: The student, or what it is pruned from.
        teacher: A model that is here; None for one that is served.
        home: Where environments lie.
        engines: How engines are run.
        keeps_zeros: Whether the step before made weights zero.
        student: What the step before will have made, where it makes a new one; None where it is of the source's shape.

    Raises:
        InvalidError: The data has bad lines, the student cannot be trained, or it has other tokens than its teacher.
        ConflictError: ``data-changed``.
        UnavailableError: ``no-environment``.
    """
    opened = look_into(source.path, f"model {source.model.name!r}")
    digest = digest_file(settings.data)
    if settings.data_digest is not None and settings.data_digest != digest:
        raise ConflictError(
            "data-changed",
            f"{settings.data} is not what the recipe was made for: expected {settings.data_digest}, got {digest}",
            hint="put it back, or leave its digest out of the recipe and ask anew",
        )
    load_data(settings.data, is_asked=settings.method == "answers")
    taught = None
    if settings.method == "logits":
        assert teacher is not None  # the recipe has made sure of it
        taught = look_into(teacher.path, f"model {teacher.model.name!r}")
        if not same_tokens(source.path, teacher.path):
            raise InvalidError(
                "other-vocabulary",
                f"model {source.model.name!r} has other tokens than its teacher {teacher.model.name!r}, so that it "
                "cannot learn what that expects at each of them",
                hint="method: answers; or take a teacher of the same family",
            )
    environment = needed(home, find(ENVIRONMENT))
    served = settings.served
    name = teacher.model.name if teacher is not None else f"{served.model} at {served.url}" if served else "?"
    step = DistillStep(
        settings,
        Teacher(name, teacher.path if teacher is not None else None),
        environment,
        engines,
        keeps_zeros=keeps_zeros,
    )
    return PreparedStep(
        kind="distill",
        step=step,
        forecast=_forecast(settings, source, opened, taught)
        if student is None
        else _forecast_new(settings, student, taught),
        told={
            "settings": {**settings.model_dump(mode="json", exclude_none=True), "data_digest": digest},
            "teacher": name,
            "environment": _versions(environment),
        },
        libraries=("gguf", "numpy", "xllamacpp"),
        is_reproducible=settings.served is None,
        is_continued=True,
    )


def same_tokens(one: Path, other: Path) -> bool:
    """Whether two models cut texts into the same tokens, as far as their files say.

    Args:
        one: GGUF file.
        other: GGUF file.
    """
    keys = []
    for path in (one, other):
        with OpenFile(path) as opened:
            keys.append({key.name: key.raw for key in opened.keys if key.name.startswith(_TOKENIZER)})
    return keys[0] == keys[1]


def check_zeros(before: Path, after: Path) -> None:
    """Makes sure that what pruning has made zero is zero still.

    Args:
        before: GGUF file that was pruned.
        after: The same, taught.

    Raises:
        InvalidError: ``zeros-lost``.
    """
    with OpenFile(before) as first, OpenFile(after) as second:
        now = {tensor.name: tensor for tensor in second.tensors}
        for tensor in first.tensors:
            match = BLOCK.fullmatch(tensor.name)
            if match is None or match[2] not in SPARSE_PARTS:
                continue
            zeros = read_values(first, tensor) == 0
            if np.any(read_values(second, now[tensor.name])[zeros]):
                raise InvalidError(
                    "zeros-lost", f"tensor {tensor.name!r} has values where pruning had put zeros; it was not kept"
                )


def _check_learnt(trained: Trained, material: PreparedMaterial) -> None:
    """A student that was best before its first step has learnt nothing.

    Raises:
        InvalidError: ``nothing-learnt``.
    """
    if material.validation_sequences and trained.kept_step == 0:
        first, last = trained.curve.validation[0].loss, trained.curve.validation[-1].loss
        raise InvalidError(
            "nothing-learnt",
            f"the student was best before it learnt: on the data kept apart its loss was {first:.3f}, and after "
            f"{trained.steps:,} steps {last:.3f}",
            hint="a lower rate, more epochs or more data",
        )


def _open_once(path: Path, folder: Path) -> None:
    if not (folder / "config.json").exists():  # written last
        shutil.rmtree(folder, ignore_errors=True)
        open_model(path, folder)


def _with_settings(folder: Path) -> Path:
    """The student in torch with what it has learnt, beside its settings."""
    result = folder / _RESULT
    for path in (folder / _STUDENT).iterdir():
        if path.suffix == ".json":
            shutil.copyfile(path, result / path.name)
    return result


def _kept_in(made: Path) -> str:
    """The most rounded type of its weights, as `conversion.comparing.TOLERANCE_NATS` names it."""
    with OpenFile(made) as file:
        kinds = {one.kind for one in file.tensors}
    return "bf16" if "BF16" in kinds else "f16" if "F16" in kinds else "f32"


def _training(trained: Trained, material: PreparedMaterial) -> Mapping[str, Any]:
    curve = trained.curve
    return {
        "steps": trained.steps,
        "kept_step": trained.kept_step,
        "has_stopped_early": trained.has_stopped_early,
        "sequences": material.sequences,
        "judged_tokens": material.judged_tokens,
        "left_out": material.left_out,
        "read_tokens": trained.read_tokens,
        "threads": trained.threads,
        "loss": [curve.training[0].loss, curve.training[-1].loss],
        "validation": [[point.step, point.loss] for point in curve.validation],
    }


def training_forecast(student: Opened, taught: Opened | None, result_bytes: int, opened_bytes: int) -> Forecast:
    """What teaching takes: student and teacher as torch holds them, gradients and moments, and one row with both
    models' logits.

    Args:
        student: Who learns.
        taught: Who teaches beside it; None where its answers do.
        result_bytes: Of the model that it becomes.
        opened_bytes: Of the student laid out for torch.
    """
    config, values = student.architecture.config, student.values
    others = taught.values if taught is not None else 0
    width, layers, inner = config["hidden_size"], config["num_hidden_layers"], config["intermediate_size"]
    row = 4 * _LEAST_WINDOW * (layers * (14 * width + 4 * inner) + 6 * config["vocab_size"])
    disk = result_bytes + opened_bytes + 4 * others + 4 * values + 28 * values  # both laid out, the result, checkpoints
    memory = _BESIDE_BYTES + 16 * values + 4 * others + row
    return Forecast(result_bytes=result_bytes, disk_bytes=disk, memory_bytes=memory)


def _forecast(settings: Distill, source: Source, opened: Opened, taught: Opened | None) -> Forecast:
    with OpenFile(source.path) as file:
        result = result_bytes(file, _KINDS[settings.type] if settings.type is not None else None)
        stored = {one.kind for one in file.tensors} <= set(PLAIN)
        return training_forecast(opened, taught, result, file.size_bytes if stored else 4 * opened.values)


def _forecast_new(settings: Distill, student: Opened, taught: Opened | None) -> Forecast:
    """Of a student that is made in F32, and stays so where the recipe does not say otherwise."""
    kept = student.values * (2 if settings.type in ("f16", "bf16") else 4)
    return training_forecast(student, taught, kept, 4 * student.values)


def _versions(environment: Environment) -> dict[str, Any]:
    record = environment.record()
    assert record is not None  # `needed` has looked
    packages = {name: record.packages[name] for name in _TOLD_PACKAGES if name in record.packages}
    return {"recipe": record.recipe_digest, "versions": packages}

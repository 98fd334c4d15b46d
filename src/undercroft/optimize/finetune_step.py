"""The step that fine-tunes: what it would make and take, and the doing of it."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from undercroft.core.errors import ConflictError
from undercroft.core.files import write_atomically
from undercroft.core.home import Home
from undercroft.core.settings import EngineSettings
from undercroft.environments.installed import Environment, needed
from undercroft.environments.recipes import find
from undercroft.optimize.jobs.room import Forecast
from undercroft.optimize.prepared import PreparedStep
from undercroft.optimize.quantization.source import Source as OpenFile
from undercroft.optimize.sources import Source
from undercroft.optimize.steps import REPORT, Progress, Workspace
from undercroft.optimize.training.adapters import CONFIG, read_pairs, write_adapter
from undercroft.optimize.training.checking import Agreement, check_result
from undercroft.optimize.training.closing import WeightKind, result_bytes, write_merged, write_trained
from undercroft.optimize.training.conversations import (
    Lesson,
    load_conversations,
    load_preferences,
    load_questions,
    split_off,
)
from undercroft.optimize.training.lessons import (
    Lessons,
    Material,
    draw,
    prepare_lessons,
    training_file,
    validation_file,
)
from undercroft.optimize.training.opening import PLAIN, Opened, look_into, open_model
from undercroft.optimize.training.orders import (
    CrossEntropy,
    Holding,
    Lora,
    Loss,
    Preference,
    Schedule,
    Trained,
    TrainingOrder,
)
from undercroft.optimize.training.running import ENVIRONMENT, train
from undercroft.optimize.training.settings import Finetune
from undercroft.optimize.training.telling import CurveTeller
from undercroft.optimize.training.tensor_files import TensorFile
from undercroft.storage.blobs import digest_file

_TOLD_PACKAGES = ("torch", "transformers", "peft", "bitsandbytes", "safetensors")
_BESIDE_BYTES = 1024**3  # torch with its libraries
_LEAST_WINDOW, _ROUND = 512, 64
_BASE, _RESULT = "base", "result"


class FinetuneStep:
    """Teaches a model.

    Args:
        settings: What the recipe says.
        material: What there is to learn from.
        opened: What the model is.
        base: Its name.
        name: Of what is made.
        environment: The installed ``train``.
        engines: How the engine is run that reads conversations.
    """

    def __init__(
        self,
        settings: Finetune,
        material: Material,
        opened: Opened,
        *,
        base: str,
        name: str,
        environment: Environment,
        engines: EngineSettings,
    ) -> None:
        self._settings, self._material, self._opened = settings, material, opened
        self._base, self._name = base, name
        self._environment, self._engines = environment, engines

    def run(self, work: Workspace, report: Callable[[Progress], None]) -> None:
        """Makes the model or the adapter, as `undercroft.optimize.steps.Step` says; goes on where it was ended."""
        folder = work.folder / "training"
        if work.findings.exists():  # written last: the run before was ended while it cleared up
            shutil.rmtree(folder, ignore_errors=True)
            return
        folder.mkdir(exist_ok=True)
        lessons = prepare_lessons(
            work.source,
            self._material,
            folder,
            self._engines,
            context_tokens=self._opened.context_tokens,
            seed=work.seed,
            report=report,
        )
        if not (folder / _BASE / "config.json").exists():
            report(Progress(0, 0, "steps", "opening the model"))
            open_model(work.source, folder / _BASE)
        order = self._order(work, folder, lessons)
        told = CurveTeller(report, work.folder / REPORT, f"Loss of {self._name}")
        trained = train(order, self._environment, told.tell)
        told.keep(trained.curve)
        report(Progress(0, 0, "steps", "comparing with torch"))
        agreement = self._make(work, folder, lessons)
        found = _found(trained, lessons, agreement, self._opened)
        write_atomically(work.findings, json.dumps(found).encode())
        shutil.rmtree(folder)

    def _order(self, work: Workspace, folder: Path, lessons: Lessons) -> TrainingOrder:
        settings = self._settings
        window = _window(lessons.longest_tokens)
        lora = Lora(settings.true_rank, settings.true_alpha, settings.dropout or 0.0)
        return TrainingOrder(
            model=folder / _BASE,
            training=training_file(folder),
            validation=validation_file(folder),
            target=folder / _RESULT,
            folder=folder,
            method="lora" if settings.method == "dpo" else settings.method,
            loss=_loss(settings, folder / _BASE),
            schedule=Schedule(
                rate=settings.true_rate,
                epochs=settings.epochs,
                window_tokens=window,
                accumulation=max(1, round(settings.batch_tokens / window)),
                weight_decay=settings.weight_decay,
                patience=settings.patience,
            ),
            lora=None if settings.method == "full" else lora,
            seed=work.seed,
            threads=work.threads,
        )

    def _make(self, work: Workspace, folder: Path, lessons: Lessons) -> Agreement:
        """Writes what came of it, and holds it in llama.cpp against torch."""
        settings, result = self._settings, folder / _RESULT
        wanted = _KINDS[settings.type] if settings.type is not None else None
        adapter = peft = None
        made, base, kind = work.result, folder / _BASE, _kept_in(work.source, wanted, is_whole=settings.makes_model)
        if settings.method == "full":
            write_trained(work.source, TensorFile(result / "model.safetensors"), made, kind=wanted)
            base = _with_weights(folder, result)
        else:
            peft = result
            _name_base(result, self._base)
            shutil.copytree(result, work.folder / REPORT / "peft", dirs_exist_ok=True)
            pairs = read_pairs(result, self._opened.architecture)
            if settings.merge:
                write_merged(work.source, pairs, made, kind=wanted)
            else:
                architecture = self._opened.architecture
                write_adapter(pairs, architecture, made, name=self._name, base=self._base, kind="F32")
                made, adapter = work.source, made
        return check_result(
            made,
            adapter,
            base,
            peft,
            lessons.trials,
            self._environment,
            work=folder,
            kind=kind,
            threads=work.threads,
        )


_KINDS: dict[str, WeightKind] = {"f32": "F32", "f16": "F16", "bf16": "BF16"}


def prepare_finetune(
    settings: Finetune, source: Source, home: Home, engines: EngineSettings, *, name: str, seed: int
) -> PreparedStep:
    """Looks whether a model can be taught so, and what that takes.

    Args:
        settings: What the recipe says.
        source: The model.
        home: Where environments lie.
        engines: How the engine is run that reads conversations.
        name: Of what is made.
        seed: Of what is drawn.

    Raises:
        InvalidError: The data has bad lines, or the model is not one that can be trained.
        ConflictError: ``data-changed``: a file is not what it was when the recipe was read.
        UnavailableError: ``no-environment``.
    """
    opened = look_into(source.path, f"model {source.model.name!r}")
    material = _material(settings, seed)
    environment = needed(home, find(ENVIRONMENT))
    return PreparedStep(
        kind="finetune",
        step=FinetuneStep(
            settings,
            material,
            opened,
            base=source.model.name,
            name=name,
            environment=environment,
            engines=engines,
        ),
        forecast=_forecast(settings, source, opened, material),
        told={"settings": _shown(settings), "environment": _versions(environment)},
        libraries=("gguf", "numpy", "xllamacpp"),
        is_continued=True,
    )


def _material(settings: Finetune, seed: int) -> Material:
    digests = (settings.data_digest, settings.validation_digest)
    for path, digest in zip((settings.data, settings.validation), digests, strict=True):
        if path is not None:
            _check_unchanged(path, digest)
    load: Callable[[Path], list[Any]] = load_preferences if settings.method == "dpo" else load_conversations
    lines: list[Lesson] = load(settings.data)
    validation: list[Lesson] | None = load(settings.validation) if settings.validation is not None else None
    rehearse = settings.rehearse
    questions = []
    if rehearse is not None:
        _check_unchanged(rehearse.questions, rehearse.questions_digest)
        questions = draw(load_questions(rehearse.questions), rehearse.count, seed, rehearse.questions)
    elif validation is None:
        split_off(lines, settings.validation_share, seed)  # too few are refused now
    repeat = rehearse.repeat if rehearse is not None else 1
    return Material(lines, validation, settings.validation_share, questions, settings.data, repeat)


def _loss(settings: Finetune, base: Path) -> Loss:
    """What is made small; a model all of whose weights learn is held to a copy of it."""
    if settings.method == "dpo":
        return Preference(settings.beta or 0.1)
    rehearse = settings.rehearse
    if rehearse is None or rehearse.hold == 0:
        return CrossEntropy()
    return Holding(rehearse.hold, base if settings.method == "full" else None)


def _check_unchanged(path: Path, digest: str | None) -> None:
    found = digest_file(path)
    if digest is not None and found != digest:
        raise ConflictError(
            "data-changed",
            f"{path} is not what the recipe was made for: expected {digest}, got {found}",
            hint="put it back, or leave its digest out of the recipe and ask anew",
        )


def _forecast(settings: Finetune, source: Source, opened: Opened, material: Material) -> Forecast:
    """Weights as torch holds them, what learns with its gradients and moments, and one row on its way."""
    config, values = opened.architecture.config, opened.values
    width, layers, inner = config["hidden_size"], config["num_hidden_layers"], config["intermediate_size"]
    outer = [config["num_attention_heads"] * config["head_dim"], config["num_key_value_heads"] * config["head_dim"]]
    columns = 4 * width + 2 * outer[0] + 2 * outer[1] + 3 * (width + inner)
    learnt = values if settings.method == "full" else layers * settings.true_rank * columns
    is_held = settings.rehearse is not None and settings.rehearse.hold > 0
    held = 16 * learnt + (4 * values if is_held or settings.method != "full" else 0)
    longest = max(sum(len(turn.content.encode()) for turn in line.turns) for line in material.lines)
    window = _window(min(longest, opened.context_tokens) * (2 if settings.method == "dpo" else 1))
    row = 4 * window * (layers * (14 * width + 4 * inner) + (6 if is_held else 3) * config["vocab_size"])
    with OpenFile(source.path) as file:
        kind = _KINDS[settings.type] if settings.type is not None else None
        result = result_bytes(file, kind) if settings.makes_model else 4 * learnt
    disk = result + 4 * values + 28 * learnt + (4 * values if settings.method == "full" else 0)
    return Forecast(result_bytes=result, disk_bytes=disk, memory_bytes=_BESIDE_BYTES + held + row)


def _window(longest_tokens: int) -> int:
    """Length of a row: what is longest, or more where that is short."""
    return max(_LEAST_WINDOW, math.ceil(longest_tokens / _ROUND) * _ROUND)


def _kept_in(source: Path, wanted: WeightKind | None, *, is_whole: bool) -> str:
    """The most rounded type that takes part, as `comparing.TOLERANCE_NATS` names it."""
    with OpenFile(source) as file:
        kinds = {one.kind for one in file.tensors}
    if is_whole:
        kinds = {wanted} if wanted is not None else {kind if kind in PLAIN else "F16" for kind in kinds}
    if kinds - set(PLAIN):
        return "q8_0"
    return "bf16" if "BF16" in kinds else "f16" if "F16" in kinds else "f32"


def _with_weights(folder: Path, result: Path) -> Path:
    """The model in torch with what was learnt, beside its settings."""
    for path in (folder / _BASE).iterdir():
        if path.suffix == ".json":
            shutil.copyfile(path, result / path.name)
    return result


def _name_base(result: Path, base: str) -> None:
    """PEFT writes the folder of the job there, which is gone soon."""
    config = json.loads((result / CONFIG).read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = base
    (result / CONFIG).write_text(json.dumps(config, indent=1, sort_keys=True), encoding="utf-8")
    (result / "README.md").unlink(missing_ok=True)


def _found(trained: Trained, lessons: Lessons, agreement: Agreement, opened: Opened) -> dict[str, Any]:
    curve = trained.curve
    return {
        "agreement": agreement.to_dict(),
        "training": {
            "steps": trained.steps,
            "kept_step": trained.kept_step,
            "has_stopped_early": trained.has_stopped_early,
            "learnt_values": trained.learnt_values,
            "learnt_ratio": trained.learnt_values / opened.values,
            "sequences": lessons.sequences,
            "judged_tokens": lessons.judged_tokens,
            "read_tokens": trained.read_tokens,
            "rehearsed": lessons.rehearsed,
            "threads": trained.threads,
            "loss": [curve.training[0].loss, curve.training[-1].loss],
            "validation": [[point.step, point.loss] for point in curve.validation],
        },
    }


def _shown(settings: Finetune) -> dict[str, Any]:
    used: dict[str, Any] = {"rate": settings.true_rate}
    if settings.method != "full":
        used |= {"rank": settings.true_rank, "alpha": settings.true_alpha}
    return {**settings.model_dump(mode="json", exclude_none=True), **used}


def _versions(environment: Environment) -> dict[str, Any]:
    record = environment.record()
    assert record is not None  # `needed` has looked
    packages = {name: record.packages[name] for name in _TOLD_PACKAGES if name in record.packages}
    return {"recipe": record.recipe_digest, "versions": packages}

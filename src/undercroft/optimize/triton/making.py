"""From an encoder in ONNX to a Triton model repository, run here as far as that goes and held against its source."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from undercroft.core.settings import EngineSettings
from undercroft.engines.onnxruntime import network_file
from undercroft.environments.installed import Environment
from undercroft.optimize.conversion.comparing import Agreement
from undercroft.optimize.conversion.programs_run import run_program
from undercroft.optimize.onnx.verifying import answers_of, compare, sample_inputs
from undercroft.optimize.steps import Progress
from undercroft.optimize.triton.configs import Ordered, configs, part
from undercroft.optimize.triton.exporting import add_programs
from undercroft.optimize.triton.plan import build_plan, command_line, find_builder, plan_options
from undercroft.registry.inspection.triton import SETTINGS, read_configs, read_repository
from undercroft.registry.selection import Role, role_of
from undercroft.registry.triton.repository import PLAN_OPTIONS, PLAN_SOURCE
from undercroft.registry.triton.text_format import render

PROGRAMS = Path(__file__).with_name("programs")


@dataclass(frozen=True, slots=True)
class Order:
    """What is wanted.

    Args:
        source: Folder of the encoder in ONNX.
        target: Folder to write to; made here.
        ordered: What the repository is to be.
        version: Number of the version that is made.
        folder: For what is in between; the caller removes it.
        threads: Processors to use; count.
    """

    source: Path
    target: Path
    ordered: Ordered
    version: int
    folder: Path
    threads: int


def make_repository(
    order: Order, runner: Environment, settings: EngineSettings, report: Callable[[Progress], None]
) -> tuple[Agreement, Mapping[str, Any]]:
    """Writes the repository and runs it: our programs as Triton runs them, the network in ONNX Runtime.

    Args:
        order: What is wanted.
        runner: The installed ``onnxruntime``.
        settings: Whether the engine has to be sealed.
        report: Told what it does.

    Returns:
        How well they agree, and what is to be known of the plan; empty where there is none.

    Raises:
        InvalidError: The result is not the same model, or its settings are not what Triton takes.
        UnavailableError: A program failed, memory is short, or the plan cannot be built.
        OSError: The disk is full.
    """
    report(Progress(0, 0, "steps", "writing the repository"))
    _write(order)
    plan = _plan(order, report) if order.ordered.runtime == "tensorrt" else {}
    files = {path.relative_to(order.target).as_posix(): path for path in order.target.rglob("*") if path.is_file()}
    read_repository(files)
    inputs = sample_inputs(order.ordered.encoder)
    report(Progress(0, 0, "steps", "asking the source"))
    before = answers_of(order.source, order.ordered.encoder, inputs, runner, settings, threads=order.threads)
    report(Progress(0, 0, "steps", "comparing with the source, part by part as Triton runs them"))
    after = _answers(order, files, inputs, runner)
    return compare(order.ordered.encoder, before, after, "f32"), plan


def _write(order: Order) -> None:
    name, version = order.ordered.name, str(order.version)
    for model, config in configs(order.ordered).items():
        (order.target / model).mkdir(parents=True)
        (order.target / model / SETTINGS).write_text(render(config), encoding="utf-8")
    for which, file, kept in (
        ("network", network_file(order.source), PLAN_SOURCE),
        ("tokenizer", order.source / "tokenizer.json", "tokenizer.json"),
    ):
        folder = order.target / f"{name}_{which}" / version
        folder.mkdir()
        shutil.copyfile(file, folder / kept)
    for path in sorted(order.source.iterdir()):
        if path.name == "config.json" or role_of(path.name) is Role.DOCUMENT:
            shutil.copyfile(path, order.target / path.name)


def _plan(order: Order, report: Callable[[Progress], None]) -> dict[str, Any]:
    folder = order.target / part(order.ordered.name, "network") / str(order.version)
    options = plan_options(order.ordered)
    (folder / PLAN_OPTIONS).write_text("".join(f"{option}\n" for option in options), encoding="utf-8")
    builder = find_builder()
    if builder is not None:
        report(Progress(0, 0, "steps", "building the plan with trtexec"))
        build_plan(builder, options, folder, order.folder / "trtexec.log")
    return {"plan": {"command": command_line(options), "is_built": builder is not None}}


def _answers(order: Order, files: Mapping[str, Path], inputs: Any, runner: Environment) -> list[list[float]]:
    """What the ensemble says, its programs beside it as they are exported."""
    whole = order.folder / "repository"
    whole.mkdir()
    for name, path in files.items():
        (whole / name).parent.mkdir(parents=True, exist_ok=True)
        (whole / name).symlink_to(path)
    add_programs(whole, files)
    told = {
        "repository": str(whole),
        "ensemble": order.ordered.name,
        "version": order.version,
        "configs": read_configs(files),
        "network": PLAN_SOURCE,
        "inputs": inputs,
        "threads": order.threads,
    }
    said = run_program(runner, "run_ensemble", told, folder=order.folder, programs=PROGRAMS)
    found: list[list[float]] = said["answers"]
    return found

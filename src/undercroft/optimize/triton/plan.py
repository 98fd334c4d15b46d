"""The TensorRT plan of a network: the options that it is built with, and the building where ``trtexec`` is."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from undercroft.core.environment import clean_environment
from undercroft.core.errors import UnavailableError
from undercroft.core.processes import die_with_parent
from undercroft.optimize.conversion.programs_run import failed
from undercroft.optimize.triton.configs import MOST_INPUTS, USUAL_INPUTS, USUAL_TOKENS, Ordered
from undercroft.registry.triton.repository import PLAN, PLAN_SOURCE

BUILDER = "trtexec"
_LOG_LINES = 6


def plan_options(ordered: Ordered) -> list[str]:
    """What ``trtexec`` is told, but where to write: every batch and length that Triton may ask for is in it.

    Args:
        ordered: What is wanted.
    """
    most = ordered.encoder.max_tokens
    shapes = {"min": (1, 1), "opt": (USUAL_INPUTS, min(USUAL_TOKENS, most)), "max": (MOST_INPUTS, most)}
    names = [one.name for one in ordered.signature.inputs]
    return [
        f"--onnx={PLAN_SOURCE}",
        *(
            f"--{which}Shapes={','.join(f'{name}:{inputs}x{tokens}' for name in names)}"
            for which, (inputs, tokens) in shapes.items()
        ),
        *(["--fp16"] if ordered.precision == "f16" else []),
    ]


def command_line(options: Sequence[str]) -> str:
    """The whole command, as it is run in the folder of a version."""
    return " ".join([BUILDER, *options, f"--saveEngine={PLAN}"])


def find_builder() -> str | None:
    """Where ``trtexec`` is; None where TensorRT is not installed."""
    return shutil.which(BUILDER)


def build_plan(builder: str, options: Sequence[str], folder: Path, log: Path) -> None:
    """Builds a plan beside its network. It fits this machine's GPU and TensorRT, and no others.

    The builder never runs longer than this process.

    Args:
        builder: ``trtexec``.
        options: As `plan_options` gives them.
        folder: Of the version.
        log: Gets what it said.

    Raises:
        UnavailableError: ``plan-not-built``.
        OSError: The disk is full.
    """
    with log.open("wb") as told:
        done = subprocess.run(
            [builder, *options, f"--saveEngine={PLAN}"],
            cwd=folder,
            env={**clean_environment(), "HOME": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=told,
            stderr=subprocess.STDOUT,
            preexec_fn=partial(die_with_parent, os.getpid(), signal.SIGKILL),
            check=False,
        )
    if done.returncode == 0 and (folder / PLAN).is_file():
        return
    told_bytes = log.read_bytes()
    problem = failed(BUILDER, done.returncode, told_bytes, free_bytes=shutil.disk_usage(folder).free)
    if isinstance(problem, OSError):
        raise problem
    lines = told_bytes.decode("utf-8", errors="replace").splitlines()
    said = "\n  ".join(line.strip() for line in lines[-_LOG_LINES:]) or "it said nothing"
    raise UnavailableError(
        "plan-not-built",
        f"{builder} ended with status {done.returncode} and built no plan:\n  {said}",
        hint="mend that, or take it off PATH: the repository is then made with the recipe of its plan",
    )

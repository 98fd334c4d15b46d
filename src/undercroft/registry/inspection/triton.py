"""A Triton model repository: settings of several models, the network of one of them, a tokenizer; nothing that runs.

The programs of Triton's Python backend are Undercroft's own and come with exporting, so that a model carries no code.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from undercroft.core.errors import InvalidError
from undercroft.registry.facts import ModelFacts
from undercroft.registry.inspection.formats import refuse_code, refuse_unknown
from undercroft.registry.inspection.hugging_face import folder_facts, stored_facts
from undercroft.registry.inspection.json_files import check_vocabulary, read_json, refuse_auto_map
from undercroft.registry.inspection.onnx import OnnxModel, read_onnx
from undercroft.registry.inspection.texts import read_text
from undercroft.registry.selection import Role, role_of
from undercroft.registry.triton.repository import PLAN, PLAN_OPTIONS, PLAN_SOURCE, Repository, check_repository
from undercroft.registry.triton.text_format import parse

SETTINGS = "config.pbtxt"
_SETTINGS_LIMIT_BYTES = 1024 * 1024
_OPTIONS_LIMIT_BYTES = 16 * 1024
_PLAN_MAGIC = b"ftrt"
# As `trtexec` is given them: nothing that a shell reads, no path that leads out of the folder.
_OPTION = re.compile(r"--[A-Za-z][A-Za-z0-9]*(=[A-Za-z0-9_.,:+-][A-Za-z0-9_.,:+-]*)?")


def is_repository(files: Mapping[str, Path]) -> bool:
    """Whether files are a Triton repository, by their names; what they hold is looked at then."""
    return any(name.endswith(f"/{SETTINGS}") for name in files)


def inspect_repository(files: Mapping[str, Path]) -> tuple[ModelFacts, dict[str, Path]]:
    """Checks every file of a repository by its content.

    Args:
        files: Where each lies, by its path in the repository.

    Returns:
        What is known of the model, and its documents, which are still to be read.

    Raises:
        InvalidError: A file is damaged, not known here, or they do not belong together.
        RefusedError: One can carry code.
    """
    networks: list[OnnxModel] = []
    configs: dict[str, Any] = {}
    documents: dict[str, Path] = {}
    for name, path in sorted(files.items()):
        last = name.rpartition("/")[2]
        if last == SETTINGS:
            continue
        if name == "config.json":
            configs[name] = read_json(path, name)
            refuse_auto_map(configs[name], name)
        elif last == "tokenizer.json":
            check_vocabulary(path, name)
        elif last == PLAN_SOURCE:
            networks.append(read_onnx(path, name))
        elif last == PLAN_OPTIONS:
            read_options(path, name)
        elif last == PLAN:
            _check_plan(path, name)
        elif "/" not in name and role_of(name) is Role.DOCUMENT:
            documents[name] = path
        else:
            refuse_unknown(path, name)
    found = read_repository(files)
    if len(networks) != len(found.versions) or any(network.external for network in networks):
        raise InvalidError(
            "bad-triton-repository",
            f"expected one network in ONNX, whole in its file, for each version, got {len(networks)}",
            hint="make it anew: undercroft optimize convert MODEL --to triton",
        )
    facts = folder_facts(stored_facts(networks[0]), configs, {})
    return replace(facts, task=found.note.task, context_tokens=found.note.max_tokens), documents


def read_repository(files: Mapping[str, Path]) -> Repository:
    """The models of a repository, which belong together.

    Args:
        files: Where each lies, by its path in the repository.

    Raises:
        InvalidError: ``bad-triton-config`` or ``bad-triton-repository``.
    """
    return check_repository(read_configs(files), files)


def read_configs(files: Mapping[str, Path]) -> dict[str, dict[str, Any]]:
    """The settings of every model, by the folder that they lie in.

    Raises:
        InvalidError: ``bad-triton-config``, or a file is too large or no text.
    """
    return {
        name[: -len(SETTINGS) - 1]: parse(read_text(path, name, _SETTINGS_LIMIT_BYTES), name)
        for name, path in files.items()
        if name.endswith(f"/{SETTINGS}")
    }


def read_options(path: Path, name: str) -> list[str]:
    """What ``trtexec`` is told, one option a line.

    Raises:
        InvalidError: ``bad-plan-options``: a line is no option, or one with more in it than a plan needs.
    """
    lines = read_text(path, name, _OPTIONS_LIMIT_BYTES).splitlines()
    wrong = next((line for line in lines if not _OPTION.fullmatch(line)), None)
    if wrong is not None or not lines:
        raise InvalidError(
            "bad-plan-options",
            f"{name[-120:]!r} expected options of trtexec, one a line, got {(wrong or '')[:80]!r}",
            hint="make it anew: undercroft optimize convert MODEL --to tensorrt",
        )
    return lines


def _check_plan(path: Path, name: str) -> None:
    with path.open("rb") as file:
        head = file.read(len(_PLAN_MAGIC))
    if head != _PLAN_MAGIC:
        refuse_code(path, name)
        raise InvalidError(
            "bad-plan",
            f"{name[-120:]!r} begins with {head!r}, expected a plan of TensorRT",
            hint="build it anew: sh build_plan.sh",
        )

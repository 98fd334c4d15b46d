"""What was measured of each model, kept as it comes, so that nothing is measured twice after a kill."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from undercroft.core.errors import UnavailableError
from undercroft.core.files import write_atomically
from undercroft.optimize.evaluation.records import Energy, ItemResult, Peak, Run, Subject, TextRecord


@dataclass(frozen=True, slots=True)
class Trial:
    """How a model ran on this machine.

    Args:
        tokens_per_second: Of one answer; None where no answer had two tokens.
        memory_bytes: Most that its engine took, pages of its file among it; None where it could not be seen.
    """

    tokens_per_second: float | None
    memory_bytes: int | None


@dataclass(frozen=True, slots=True)
class Kept:
    """What is known of one model.

    Args:
        run: Answers and texts so far, in the order of the search.
        trial: How it ran; None before it was tried.
        lost: Why it could not be made or run; empty where it could.
    """

    run: Run
    trial: Trial | None = None
    lost: str = ""


def save(path: Path, kept: Kept) -> None:
    """Writes it in place of what was there, whole or not at all.

    Raises:
        OSError: The disk is full.
    """
    write_atomically(path, json.dumps(asdict(kept), ensure_ascii=False).encode())


def load(path: Path) -> Kept | None:
    """Reads what `save` wrote; None where there is nothing.

    Raises:
        UnavailableError: ``search-damaged``: it is something else.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        data = json.loads(content)
        trial = None if data["trial"] is None else Trial(**data["trial"])
        return Kept(_run(data["run"]), trial, data["lost"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnavailableError(
            "search-damaged",
            f"what was measured before cannot be read: {path.name!r} is damaged",
            hint="undercroft job cancel JOB, then ask for it anew",
        ) from error


def joined(first: Run, second: Run) -> Run:
    """Two parts of a run of the same model as one.

    Args:
        first: With the subject that is kept.
        second: What was asked after it.
    """
    energy = first.energy or second.energy
    if first.energy is not None and second.energy is not None:
        energy = Energy(first.energy.joules + second.energy.joules, second.energy.meter)
    elif first.items and second.items:
        energy = None  # a meter counted only a part of it
    return replace(
        first,
        items=(*first.items, *second.items),
        texts=(*first.texts, *second.texts),
        seconds=first.seconds + second.seconds,
        load_seconds=max(first.load_seconds, second.load_seconds),
        peak=_higher(first.peak, second.peak),
        energy=energy,
    )


def _higher(first: Peak | None, second: Peak | None) -> Peak | None:
    if first is None or second is None:
        return first or second
    indices = {*first.gpu_bytes, *second.gpu_bytes}
    return Peak(
        private_bytes=max(first.private_bytes, second.private_bytes),
        file_bytes=max(first.file_bytes, second.file_bytes),
        gpu_bytes={index: max(first.gpu_bytes.get(index, 0), second.gpu_bytes.get(index, 0)) for index in indices},
        samples=first.samples + second.samples,
    )


def _run(data: Mapping[str, Any]) -> Run:
    peak = data["peak"]
    if peak is not None:
        peak = Peak(**{**peak, "gpu_bytes": {int(index): used for index, used in peak["gpu_bytes"].items()}})
    return Run(
        subject=Subject(**data["subject"]),
        items=tuple(ItemResult(**{**item, "failed": tuple(item["failed"])}) for item in data["items"]),
        texts=tuple(TextRecord(**text) for text in data["texts"]),
        seconds=data["seconds"],
        load_seconds=data["load_seconds"],
        peak=peak,
        energy=None if data["energy"] is None else Energy(**data["energy"]),
    )

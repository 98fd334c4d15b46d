"""What a long import tells of its progress."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class Stage(StrEnum):
    """What is being done to a file."""

    DOWNLOAD = "download"
    COPY = "copy"
    CHECK = "check"


@dataclass(frozen=True, slots=True)
class Step:
    """Some bytes more.

    Args:
        stage: What is being done.
        name: The file, as its source calls it.
        done_bytes: How much of it is done.
        total_bytes: How much there is.
        resumed_bytes: How much of it an earlier, interrupted run had done.
    """

    stage: Stage
    name: str
    done_bytes: int
    total_bytes: int
    resumed_bytes: int = 0


Progress = Callable[[Step], None]


def silent(step: Step) -> None:
    """Tells nobody."""


def counted(progress: Progress, stage: Stage, name: str, total_bytes: int) -> Callable[[int], None]:
    """A receiver of byte counts that tells their sum."""
    done = 0

    def add(count: int) -> None:
        nonlocal done
        done += count
        progress(Step(stage, name, done, total_bytes))

    return add

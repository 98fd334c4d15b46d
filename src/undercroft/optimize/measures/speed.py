"""How fast a model is beside the one that it was made of, on this machine and with the engine that serves."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from undercroft.optimize.llama_library.process import answers
from undercroft.optimize.measures.reading import Reading, Report, order_for

_ROUNDS = 5
_WRITTEN_TOKENS = 64


@dataclass(frozen=True, slots=True)
class Speed:
    """Of one model; medians of several rounds.

    Args:
        read_tokens_per_second: Of a prompt.
        written_tokens_per_second: Of an answer, one after the other.
    """

    read_tokens_per_second: float
    written_tokens_per_second: float


@dataclass(frozen=True, slots=True)
class SpeedPair:
    """Two models, timed in turns.

    Args:
        model: The new one.
        parent: What it was made of.
        written_ratios: The new one's speed of writing over its parent's, round by round.
    """

    model: Speed
    parent: Speed
    written_ratios: tuple[float, ...]

    @property
    def written_ratio(self) -> float:
        """Median of the rounds."""
        return statistics.median(self.written_ratios)


def compare_speed(
    model: Path, parent: Path, texts: Sequence[str], reading: Reading | None = None, *, report: Report | None = None
) -> SpeedPair:
    """Times both in one process, in turns.

    Args:
        model: GGUF file.
        parent: What it was made of.
        texts: What is read, and then written token by token.
        reading: Threads; the usual way where it is not given.
        report: Told rounds, and all of them.

    Raises:
        InvalidError: Texts or a model cannot be used.
        NotFoundError: There is no such file.
        UnavailableError: Memory is short, or the process died.
    """
    order = order_for(
        "time", model, texts, reading or Reading(), parent=parent, rounds=_ROUNDS, most_tokens=_WRITTEN_TOKENS
    )
    read: tuple[list[float], list[float]] = ([], [])
    written: tuple[list[float], list[float]] = ([], [])
    for answer in answers(order):
        if "progress" in answer.header:
            if report is not None:
                report(answer.header["progress"], answer.header["total"])
            continue
        read[answer.header["model"]].append(answer.header["read_per_second"])
        written[answer.header["model"]].append(answer.header["written_per_second"])
    own, parents = (Speed(statistics.median(read[n]), statistics.median(written[n])) for n in (0, 1))
    return SpeedPair(own, parents, tuple(ours / theirs for ours, theirs in zip(*written, strict=True)))

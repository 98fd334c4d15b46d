"""What a pruned file is worth: that it computes what was meant, how good it is, how fast it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from undercroft.core.errors import InvalidError
from undercroft.optimize.evaluation.texts import Text
from undercroft.optimize.measures.divergence import measure_divergence
from undercroft.optimize.measures.reading import Reading
from undercroft.optimize.measures.speed import SpeedPair, compare_speed
from undercroft.optimize.pruning.changes import Changes, Muted, muted_by
from undercroft.optimize.pruning.choosing import Report
from undercroft.optimize.pruning.shapes import Shape

# Sums in another order; where quantized matrices were opened, the engine computes with them in another type, too.
_SAME_NATS, _OPENED_NATS = 1e-3, 1e-2
_EVERY = 5
_MOST_CHARACTERS = 100_000
_CHECKED_CHARACTERS = 4_000


@dataclass(frozen=True, slots=True)
class Quality:
    """A pruned model beside its source.

    Args:
        texts: Name of the file that both read.
        is_held_out: Whether what was cut was chosen without these texts.
        tokens: Judged; count.
        perplexity_before: Of the source.
        perplexity_after: Of the pruned one.
        divergence_nats: Mean Kullback-Leibler divergence from the source; nats a token.
        same_top_ratio: Share of tokens before which both expect the same one most.
    """

    texts: str
    is_held_out: bool
    tokens: int
    perplexity_before: float
    perplexity_after: float
    divergence_nats: float
    same_top_ratio: float


def split_texts(texts: Sequence[Text]) -> tuple[list[str], list[str]]:
    """Texts to choose by, and texts to measure by: every fifth, where there are five; else all are both. Pure.

    Args:
        texts: At least one.
    """
    plain = [text.text for text in texts]
    measured = plain[_EVERY - 1 :: _EVERY]
    if not measured:
        return plain, plain
    return [text for number, text in enumerate(plain, 1) if number % _EVERY], measured


def some_of(texts: Sequence[str], most_characters: int = _MOST_CHARACTERS) -> list[str]:
    """As many texts as have no more characters than that, spread evenly; of a single long one its beginning. Pure."""
    whole = sum(map(len, texts))
    stride = max(1, -(-whole // most_characters))
    picked = list(texts[::stride])
    room = most_characters
    found = []
    for text in picked:
        found.append(text[:room])
        room -= len(found[-1])
        if room <= 0:
            break
    return found


def check_computes(
    made: Path, source: Path, changes: Changes, shape: Shape, texts: Sequence[str], *, is_opened: bool, threads: int
) -> float:
    """Makes sure that a file computes what its source computes without what was cut.

    Args:
        made: The pruned file.
        source: What it was made of.
        changes: What was cut; blocks, channels, heads.
        shape: Of the source.
        texts: Read by both.
        is_opened: Whether quantized matrices became F16.
        threads: Processors to use; count.

    Returns:
        Mean divergence; nats a token.

    Raises:
        InvalidError: ``pruned-wrongly``.
        UnavailableError: Memory is short, or the process died.
    """
    muted: Muted = muted_by(changes, shape)
    reading = Reading(threads=threads, has_marks=True)
    some = some_of(texts, _CHECKED_CHARACTERS)
    found = measure_divergence(made, source, some, reading, parent_muted=muted).mean_nats
    allowed = _OPENED_NATS if is_opened else _SAME_NATS
    if found > allowed:
        raise InvalidError(
            "pruned-wrongly",
            f"the pruned file differs by {found:.2g} nats a token from its source without the same parts, "
            f"{allowed:g} are allowed; it was not kept",
            hint="choose another model to prune; this one has something that is not known here",
        )
    return found


def measure_quality(
    made: Path, source: Path, texts: Sequence[str], name: str, *, is_held_out: bool, threads: int, report: Report
) -> Quality:
    """Reads texts with both.

    Args:
        made: The pruned file.
        source: What it was made of.
        texts: The user's own.
        name: Of their file.
        is_held_out: Whether what was cut was chosen without them.
        threads: Processors to use; count.
        report: Told tokens, and all of them.

    Raises:
        InvalidError: Texts or a model cannot be used.
        UnavailableError: Memory is short, or the process died.
    """
    found = measure_divergence(
        made,
        source,
        some_of(texts),
        Reading(threads=threads, has_marks=True),
        report=lambda done, total: report(done, total, "reading texts with both"),
    )
    return Quality(
        texts=name,
        is_held_out=is_held_out,
        tokens=found.model.tokens,
        perplexity_before=found.parent.value,
        perplexity_after=found.model.value,
        divergence_nats=found.mean_nats,
        same_top_ratio=found.same_top_ratio,
    )


def measure_speed(made: Path, source: Path, texts: Sequence[str], *, threads: int, report: Report) -> dict[str, Any]:
    """Times both in turns, as `undercroft.optimize.measures.speed` does; plain data."""
    found: SpeedPair = compare_speed(
        made,
        source,
        some_of(texts, _CHECKED_CHARACTERS),
        Reading(threads=threads, has_marks=True),
        report=lambda done, total: report(done, total, "timing both"),
    )
    return {
        "engine": "llama.cpp",
        "before": asdict(found.parent),
        "after": asdict(found.model),
        "written_ratios": list(found.written_ratios),
        "written_ratio": found.written_ratio,
    }

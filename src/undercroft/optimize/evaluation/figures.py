"""Figures of one model, each with its interval, from what was measured item by item. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from undercroft.optimize.evaluation.intervals import Estimate, mean, proportion, ratio
from undercroft.optimize.evaluation.records import ItemResult, Run, TextRecord

SEED = 20_261_122


class Measure(StrEnum):
    """What can be measured, by its name in cards and rules."""

    SCORE = "score"
    GRADE = "grade"
    VALID_FORMAT = "valid_format"
    PERPLEXITY = "perplexity"
    BITS_PER_BYTE = "bits_per_byte"
    KL = "kl"
    SAME_TOP = "same_top"
    TOKENS_PER_SECOND = "tokens_per_second"
    ALL_TOKENS_PER_SECOND = "all_tokens_per_second"
    FIRST_TOKEN_SECONDS = "first_token_seconds"  # noqa: S105  (a time)
    LATENCY_SECONDS = "latency_seconds"
    LOAD_SECONDS = "load_seconds"
    SIZE_BYTES = "size_bytes"
    MEMORY_BYTES = "memory_bytes"
    GPU_BYTES = "gpu_bytes"
    JOULES_PER_TOKEN = "joules_per_token"  # noqa: S105  (an energy)


# Measure → what people read.
WORDS: Mapping[Measure, str] = {
    Measure.SCORE: "tasks passed",
    Measure.GRADE: "grade of the answers",
    Measure.VALID_FORMAT: "answers that are valid JSON",
    Measure.PERPLEXITY: "perplexity",
    Measure.BITS_PER_BYTE: "bits per byte of text",
    Measure.KL: "KL from parent, nats/token",
    Measure.SAME_TOP: "same likeliest token",
    Measure.TOKENS_PER_SECOND: "tokens/s of one answer",
    Measure.ALL_TOKENS_PER_SECOND: "tokens/s of all together",
    Measure.FIRST_TOKEN_SECONDS: "time to first token",
    Measure.LATENCY_SECONDS: "time to whole answer",
    Measure.LOAD_SECONDS: "time to load",
    Measure.SIZE_BYTES: "size of its files",
    Measure.MEMORY_BYTES: "most memory of engine",
    Measure.GPU_BYTES: "most memory of GPUs",
    Measure.JOULES_PER_TOKEN: "energy of an answer's token",
}


_SHARES = frozenset({Measure.SCORE, Measure.GRADE, Measure.VALID_FORMAT, Measure.SAME_TOP})


@dataclass(frozen=True, slots=True)
class Figures:
    """What a model reaches.

    Args:
        whole: Measure → figure, of all items and texts; what was not measured is not there.
        languages: Language → measure → figure, of the items and texts of that language.
    """

    whole: Mapping[Measure, Estimate]
    languages: Mapping[str, Mapping[Measure, Estimate]]


def figures_of(run: Run, *, seed: int = SEED) -> Figures:
    """All figures of a model.

    Args:
        run: What was measured.
        seed: Of the bootstrap.
    """
    whole = {**_of_sample(run.items, run.texts, seed), **_of_whole(run)}
    languages = {
        code: _of_sample(
            [item for item in run.items if item.language == code],
            [text for text in run.texts if text.language == code],
            seed,
        )
        for code in languages_of(run)
    }
    return Figures(whole, languages)


def languages_of(run: Run) -> list[str]:
    """Codes of the languages that its items and texts are counted under, sorted."""
    found = {*(item.language for item in run.items), *(text.language for text in run.texts)}
    return sorted(code for code in found if code is not None)


def has_grades(items: Sequence[ItemResult]) -> bool:
    """Whether an answer was partly right; else its grade says no more than whether it passed."""
    return any(item.score != float(item.has_passed) for item in items)


def exact(value: float) -> Estimate:
    """A figure that is counted and not sampled."""
    return Estimate(value, value, value, 1, "counted")


def mapped(estimate: Estimate, function: Callable[[float], float]) -> Estimate:
    """An estimate in another unit.

    Args:
        estimate: In the one.
        function: Rising: from the one to the other.
    """
    return replace(
        estimate, value=function(estimate.value), lower=function(estimate.lower), upper=function(estimate.upper)
    )


def exponential(value: float) -> float:
    """e to a power; what is too large for a number is infinite."""
    return math.exp(value) if value < 700 else math.inf


def _of_sample(items: Sequence[ItemResult], texts: Sequence[TextRecord], seed: int) -> dict[Measure, Estimate]:
    found = {**_of_items(items, seed), **_of_texts(texts, seed)}
    return {measure: _possible(measure, estimate) for measure, estimate in found.items()}


def _possible(measure: Measure, estimate: Estimate) -> Estimate:
    """Bounds that can be: Student's reach of few values may go below no time at all, or beyond all points of a grade.

    An infinite bound, where nothing is known, stays.
    """
    most = 1.0 if measure in _SHARES else math.inf
    lower = max(estimate.lower, 0.0) if math.isfinite(estimate.lower) else estimate.lower
    upper = min(estimate.upper, most) if math.isfinite(estimate.upper) else estimate.upper
    return replace(estimate, lower=lower, upper=upper)


def _of_items(items: Sequence[ItemResult], seed: int) -> dict[Measure, Estimate]:
    if not items:
        return {}
    found = {Measure.SCORE: proportion(sum(item.has_passed for item in items), len(items))}
    if has_grades(items):
        found[Measure.GRADE] = mean([item.score for item in items], seed=seed)
    valid = [item.has_valid_format for item in items if item.has_valid_format is not None]
    if valid:
        found[Measure.VALID_FORMAT] = proportion(sum(valid), len(valid))
    for measure, values in (
        (Measure.FIRST_TOKEN_SECONDS, [item.first_token_seconds for item in items]),
        (Measure.LATENCY_SECONDS, [item.total_seconds for item in items]),
    ):
        known = [value for value in values if value is not None]
        if known:
            found[measure] = mean(known, seed=seed)
    # Of all answers together: the rate of one whose pieces were read late, all at once, means nothing by itself.
    spoken = [item for item in items if item.speaking_seconds]
    if spoken:
        tokens = [float((item.answer_tokens or 0) - 1) for item in spoken]
        found[Measure.TOKENS_PER_SECOND] = ratio(tokens, [item.speaking_seconds for item in spoken], seed=seed)
    return found


def _of_texts(texts: Sequence[TextRecord], seed: int) -> dict[Measure, Estimate]:
    read = [text for text in texts if text.tokens]
    if not read:
        return {}
    tokens, nats = [float(text.tokens) for text in read], [text.nats for text in read]
    sizes = [float(text.bytes) for text in read]
    found = {
        Measure.PERPLEXITY: mapped(ratio(nats, tokens, seed=seed), exponential),
        Measure.BITS_PER_BYTE: mapped(ratio(nats, sizes, seed=seed), lambda value: value / math.log(2)),
    }
    kl = [text.kl_nats for text in read if text.kl_nats is not None]
    if len(kl) == len(read):
        found[Measure.KL] = ratio(kl, tokens, seed=seed)
    same = [float(text.same_top) for text in read if text.same_top is not None]
    if len(same) == len(read):
        found[Measure.SAME_TOP] = ratio(same, tokens, seed=seed)
    return found


def _of_whole(run: Run) -> dict[Measure, Estimate]:
    found = {Measure.SIZE_BYTES: exact(float(run.subject.size_bytes))}
    if run.load_seconds:
        found[Measure.LOAD_SECONDS] = exact(run.load_seconds)
    if run.peak is not None:
        found[Measure.MEMORY_BYTES] = exact(float(run.peak.private_bytes + run.peak.file_bytes))
        if run.peak.gpu_bytes:
            found[Measure.GPU_BYTES] = exact(float(sum(run.peak.gpu_bytes.values())))
    answer_tokens = sum(item.answer_tokens or 0 for item in run.items)
    if run.seconds and answer_tokens:
        found[Measure.ALL_TOKENS_PER_SECOND] = exact(answer_tokens / run.seconds)
        if run.energy is not None:
            found[Measure.JOULES_PER_TOKEN] = exact(run.energy.joules / answer_tokens)
    return found

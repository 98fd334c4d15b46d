"""A candidate beside its parent, on the same tasks and texts. Pure.

Only what the two were given alike is compared with a test: answers and texts. Times and memory come from one run each
on a machine that does other things, too; their figures stand side by side, and no test calls them better or worse.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from undercroft.core.errors import InvalidError
from undercroft.optimize.evaluation.figures import SEED, Measure, has_grades, languages_of
from undercroft.optimize.evaluation.paired import Comparison, compare_amounts, compare_passes, corrected
from undercroft.optimize.evaluation.records import ItemResult, Run, TextRecord


@dataclass(frozen=True, slots=True)
class Comparisons:
    """What tests say of a candidate beside its parent.

    Args:
        whole: Measure → comparison, of all items and texts. That of the perplexity is in nats per token.
        languages: Language → measure → comparison, corrected for the number of languages.
    """

    whole: Mapping[Measure, Comparison]
    languages: Mapping[str, Mapping[Measure, Comparison]]


def compare(candidate: Run, parent: Run, *, seed: int = SEED) -> Comparisons:
    """Compares two models that were given the same tasks and texts.

    Args:
        candidate: The new one.
        parent: What it was made from.
        seed: Of flips and bootstrap.

    Raises:
        InvalidError: ``not-the-same``: they were given other tasks or texts.
    """
    _require_same([item.id for item in candidate.items], [item.id for item in parent.items], "tasks")
    _require_same([text.name for text in candidate.texts], [text.name for text in parent.texts], "texts")
    items = list(zip(parent.items, candidate.items, strict=True))
    texts = list(zip(parent.texts, candidate.texts, strict=True))
    whole = _compared(items, texts, seed)
    codes = languages_of(parent)
    found = {
        code: _compared(
            [pair for pair in items if pair[0].language == code],
            [pair for pair in texts if pair[0].language == code],
            seed,
        )
        for code in codes
    }
    return Comparisons(whole, _all_corrected(found))


def _compared(
    items: Sequence[tuple[ItemResult, ItemResult]], texts: Sequence[tuple[TextRecord, TextRecord]], seed: int
) -> dict[Measure, Comparison]:
    found = {}
    if items:
        found[Measure.SCORE] = compare_passes(
            [parent.has_passed for parent, _ in items], [candidate.has_passed for _, candidate in items]
        )
    if has_grades([item for pair in items for item in pair]):
        found[Measure.GRADE] = compare_amounts(
            [parent.score for parent, _ in items],
            [candidate.score for _, candidate in items],
            seed=seed,
            is_more_better=True,
        )
    formed = [pair for pair in items if pair[0].has_valid_format is not None]
    if formed:
        found[Measure.VALID_FORMAT] = compare_passes(
            [bool(parent.has_valid_format) for parent, _ in formed],
            [bool(candidate.has_valid_format) for _, candidate in formed],
        )
    # With another tokenizer the tokens of a text are not the same ones, and nats per token are not comparable.
    read = [pair for pair in texts if pair[0].tokens and pair[0].tokens == pair[1].tokens]
    if read and len(read) == len([pair for pair in texts if pair[0].tokens or pair[1].tokens]):
        found[Measure.PERPLEXITY] = compare_amounts(
            [parent.nats for parent, _ in read],
            [candidate.nats for _, candidate in read],
            [float(parent.tokens) for parent, _ in read],
            seed=seed,
            is_more_better=False,
        )
    return found


def _all_corrected(found: Mapping[str, Mapping[Measure, Comparison]]) -> dict[str, dict[Measure, Comparison]]:
    """Each measure is a family of its own: the question is in which language it changed."""
    result: dict[str, dict[Measure, Comparison]] = {code: {} for code in found}
    for measure in (Measure.SCORE, Measure.GRADE, Measure.VALID_FORMAT, Measure.PERPLEXITY):
        family = {code: measures[measure] for code, measures in found.items() if measure in measures}
        for code, comparison in corrected(family).items():
            result[code][measure] = comparison
    return result


def _require_same(candidate: Sequence[str], parent: Sequence[str], what: str) -> None:
    if candidate != parent:
        raise InvalidError(
            "not-the-same",
            f"candidate and parent were given other {what}: {len(candidate)} and {len(parent)}, "
            "and a paired test needs the same",
            hint="evaluate both with the same file",
        )

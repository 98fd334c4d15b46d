"""What a quality card says, in rows and sentences that every form of it shows. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Literal

from undercroft.core.units import format_bytes, format_duration
from undercroft.optimize.cards.card import Card
from undercroft.optimize.evaluation.figures import WORDS, Figures, Measure, exponential
from undercroft.optimize.evaluation.gate import spread
from undercroft.optimize.evaluation.intervals import Estimate
from undercroft.optimize.evaluation.paired import Comparison, Verdict
from undercroft.optimize.evaluation.records import SuiteScore
from undercroft.planning.report.words import clean, shortened, significant

_NAME_SHOWN = 60
_SUITE_LIMITS = (("most_items", "items of each at most"), ("shots", "examples before each question"))
_TESTS = {"mcnemar-exact": "McNemar's exact test", "sign-flip": "sign-flip test"}
Tone = Literal["good", "middling", "bad"]


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


_SHOWN: Mapping[Measure, Callable[[float], str]] = {
    Measure.SCORE: _percent,
    Measure.GRADE: _percent,
    Measure.VALID_FORMAT: _percent,
    Measure.SAME_TOP: _percent,
    Measure.FIRST_TOKEN_SECONDS: format_duration,
    Measure.LATENCY_SECONDS: format_duration,
    Measure.LOAD_SECONDS: format_duration,
    Measure.SIZE_BYTES: format_bytes,
    Measure.MEMORY_BYTES: format_bytes,
    Measure.GPU_BYTES: format_bytes,
    Measure.JOULES_PER_TOKEN: lambda joules: f"{significant(joules)} J",
}


def name_of(name: str) -> str:
    """A model's name, short enough for a line."""
    return shortened(name, _NAME_SHOWN)


def shown(measure: Measure, value: float) -> str:
    """A value of a measure with its unit."""
    return _SHOWN.get(measure, significant)(value)


def figure(measure: Measure, estimate: Estimate | None) -> str:
    """A figure with its interval: ``91.7 % (81.9 to 96.4)``; ``-`` where it was not measured."""
    if estimate is None:
        return "-"
    text = shown(measure, estimate.value)
    if estimate.lower == estimate.upper or not (math.isfinite(estimate.lower) and math.isfinite(estimate.upper)):
        return text
    lower, upper = shown(measure, estimate.lower), shown(measure, estimate.upper)
    # The unit stands once where it is the same for all three.
    unit = text.rpartition(" ")[2]
    if text.endswith(f" {unit}") and lower.endswith(f" {unit}") and upper.endswith(f" {unit}"):
        lower, upper = lower.removesuffix(f" {unit}"), upper.removesuffix(f" {unit}")
    return f"{text} ({lower}–{upper})"


def headline(card: Card) -> tuple[Tone, str]:
    """The tone and the sentence that a card begins with."""
    if card.gate is not None:
        count = len(card.gate.findings)
        failed = sum(not finding.has_passed for finding in card.gate.findings)
        if failed:
            verb = "keeps" if failed == 1 else "keep"
            return "bad", f"It does not pass its gate: {failed} of {_counted(count, 'rule')} {verb} it out."
        return "good", f"It passes its gate: {_counted(count, 'rule')}."
    verdicts = _verdicts(card)
    if verdicts:
        worse = [what for what, verdict in verdicts.items() if verdict is Verdict.WORSE]
        better = [what for what, verdict in verdicts.items() if verdict is Verdict.BETTER]
        parts = [
            *([f"worse in {', '.join(worse)}"] if worse else []),
            *([f"better in {', '.join(better)}"] if better else []),
        ]
        if parts:
            return ("middling" if worse else "good"), f"Beside its parent it is {' and '.join(parts)}."
        compared = " and ".join(verdicts)
        return "good", f"No difference from its parent was shown in {compared}."
    score = card.figures.whole.get(Measure.SCORE)
    if score is not None:
        return "good", f"It passed {round(score.value * score.count)} of {_counted(score.count, 'task')}."
    return "good", "What was measured of it."


def _verdicts(card: Card) -> dict[str, Verdict]:
    """What was compared with the parent, in words → what a test says of it."""
    whole = card.comparisons.whole if card.comparisons is not None else {}
    suites = {name_of(one.score.name): one.comparison for one in card.suites if one.comparison is not None}
    found = {**{WORDS[measure]: comparison for measure, comparison in whole.items()}, **suites}
    return {what: comparison.verdict for what, comparison in found.items()}


def figure_rows(card: Card) -> list[tuple[str, str, str]]:
    """Measure, candidate, parent; a measure that neither has is left out."""
    return _rows(card.figures.whole, card.parent_figures.whole if card.parent_figures is not None else {})


def language_rows(card: Card) -> list[tuple[str, str, str, str]]:
    """Language, candidate, parent, verdict: of the tasks passed, or of the perplexity where there were no tasks."""
    measure = quality_measure(card)
    rows = []
    for language, measures in card.figures.languages.items():
        parent = _of_language(card.parent_figures, language).get(measure)
        comparison = card.comparisons.languages.get(language, {}).get(measure) if card.comparisons else None
        verdict = comparison.verdict.value if comparison is not None else "-"
        rows.append((language, figure(measure, measures.get(measure)), figure(measure, parent), verdict))
    return rows


def suite_rows(card: Card) -> list[tuple[str, str, str, str]]:
    """Suite with its figure, candidate, parent, verdict: each value with its interval and standard error."""
    return [
        (
            name_of(one.score.name),
            _suite_value(one.estimate, one.score),
            _suite_value(one.parent_estimate, one.parent),
            one.comparison.verdict.value if one.comparison is not None else "-",
        )
        for one in card.suites
    ]


def _suite_value(estimate: Estimate | None, score: SuiteScore | None) -> str:
    if estimate is None or score is None:
        return "-"
    error = "" if score.standard_error is None else f" ± {significant(score.standard_error)}"
    return f"{significant(score.value)}{error}"


def quality_measure(card: Card) -> Measure:
    """What stands for quality in plots and tables of languages."""
    return Measure.SCORE if Measure.SCORE in card.figures.whole else Measure.PERPLEXITY


def comparison_sentences(card: Card) -> list[str]:
    """What each test says of the whole: difference, interval, verdict, and what would have been seen."""
    if card.comparisons is None:
        return []
    return [_test_sentence(measure, found) for measure, found in card.comparisons.whole.items()]


def gate_rows(card: Card) -> list[tuple[str, str]]:
    """State and sentence of each rule, those that keep the model out first."""
    found = [] if card.gate is None else sorted(card.gate.findings, key=lambda finding: finding.has_passed)
    return [(finding.state.value, finding.sentence) for finding in found]


def error_sentence(card: Card) -> str:
    """How many questions the engine answered with an error, and the first; empty where none."""
    errors = [item for item in card.candidate.items if item.error]
    if not errors:
        return ""
    count = f"{len(errors)} of {len(card.candidate.items)} questions were not answered"
    return clean(f"{count}; the first, {errors[0].id}: {errors[0].error}")


def circumstance_sentences(card: Card) -> list[str]:
    """How the figures came about."""
    around = card.circumstances
    found = []
    for what, kind, given in (("Tasks", "question", around.tasks), ("Texts", "text", around.texts)):
        if given:
            found.append(f"{what}: {given['name']}, {_counted(given['count'], kind)}, {given['digest']}")
    if around.suites:
        more = "".join(f", {words} {around.suites[key]}" for key, words in _SUITE_LIMITS if key in around.suites)
        found.append(f"Suites of lm-eval: {', '.join(around.suites['names'])}{more}, {around.suites['digest']}")
        found.append("Beside a suite's figure stands its standard error, not its interval")
    settings = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in around.settings.items())
    found.append(f"Engine: llama.cpp, {settings}" if settings else "Engine: llama.cpp")
    found.append(f"Machine: {around.machine}")
    for run in (card.candidate, card.parent):
        if run is not None:
            found.append(f"Digest of {name_of(run.subject.name)}: {run.subject.digest or 'not computed'}")
    if card.candidate.items and card.candidate.energy is None:
        found.append("Energy: this machine has no meter that may be read, so there is no figure")
    found.append(
        "Intervals are of 95 %. Times and memory are of one run of each model, so no test calls them better or worse. "
        "Verdicts of languages are corrected for their number"
    )
    return [f"{sentence}." for sentence in found]


def _rows(candidate: Mapping[Measure, Estimate], parent: Mapping[Measure, Estimate]) -> list[tuple[str, str, str]]:
    return [
        (WORDS[measure], figure(measure, candidate.get(measure)), figure(measure, parent.get(measure)))
        for measure in Measure
        if measure in candidate or measure in parent
    ]


def _of_language(figures: Figures | None, language: str) -> Mapping[Measure, Estimate]:
    return {} if figures is None else figures.languages.get(language, {})


def _test_sentence(measure: Measure, found: Comparison) -> str:
    change = _nats_change if measure is Measure.PERPLEXITY else _points_change
    amount = change(found.difference.value)
    lower, upper = sorted((found.difference.lower, found.difference.upper))
    interval = f" ({spread(change(lower), change(upper))})" if math.isfinite(lower) and lower != upper else ""
    text = (
        f"{WORDS[measure]}: {amount}{interval}: {found.verdict.value} "
        f"({_TESTS[found.test]}, p = {found.p_value:.2g}, {_counted(found.difference.count, 'pair')})."
    )
    if found.verdict is not Verdict.NO_DIFFERENCE:
        return text
    if found.detectable is None:
        return f"{text} So few or such equal pairs can show no difference."
    least = change(found.detectable).removeprefix("+")
    return f"{text} A difference of about {least} would have been shown in 4 of 5 cases."


def _points_change(value: float) -> str:
    return f"{100 * value:+.1f} points"


def _nats_change(nats: float) -> str:
    return f"{100 * (exponential(nats) - 1):+.2f} %"


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"

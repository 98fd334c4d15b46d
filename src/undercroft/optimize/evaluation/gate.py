"""The gate: rules over what was measured of a candidate and its parent; passed or failed, and the sentence why. Pure.

"Worse than its parent" counts only where the paired test says so. Three things can be true of a rule:

    kept        the figure keeps the rule; whether the interval does, too, stands in the sentence
    broken      the figure breaks it, and so does the interval, or, for a loss, the paired test says "worse"
    undecided   the figure breaks it, and so few items cannot tell chance from truth

An undecided rule lets nothing pass unless the rules say ``undecided: pass``: a gate that opens where it cannot tell is
opened by giving it too few tasks. The way out is more tasks, or that setting. What was not measured lets nothing pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from undercroft.core.units import format_bytes, format_duration
from undercroft.optimize.evaluation.comparing import Comparisons
from undercroft.optimize.evaluation.figures import Figures, Measure, exponential, mapped
from undercroft.optimize.evaluation.gate_rules import EACH, GateRules, QualityRules, SuiteRules
from undercroft.optimize.evaluation.intervals import Estimate
from undercroft.optimize.evaluation.paired import Comparison, Verdict
from undercroft.optimize.evaluation.suite_figures import SuiteFigure


class State(StrEnum):
    """Of a rule; see the table above."""

    KEPT = "kept"
    BROKEN = "broken"
    UNDECIDED = "undecided"
    MISSING = "not measured"


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of one rule.

    Args:
        rule: Its name.
        language: That it is for; None for all tasks and texts.
        state: What was found.
        has_passed: Whether it lets the model pass.
        limit: As the rule says.
        measured: The figure that is compared with the limit, in its unit; None where nothing was measured.
        sentence: For people, with figure, interval and limit.
    """

    rule: str
    language: str | None
    state: State
    has_passed: bool
    limit: float
    measured: Estimate | None
    sentence: str


@dataclass(frozen=True, slots=True)
class GateResult:
    """What the gate says.

    Args:
        findings: One a rule, in the order of the rules, those of languages last.
    """

    findings: tuple[Finding, ...]

    @property
    def has_passed(self) -> bool:
        """Every rule lets the model pass."""
        return all(finding.has_passed for finding in self.findings)

    @property
    def reasons(self) -> list[str]:
        """Sentences of the rules that do not."""
        return [finding.sentence for finding in self.findings if not finding.has_passed]


def judge_gate(
    rules: GateRules, figures: Figures, comparisons: Comparisons | None, suites: Sequence[SuiteFigure] = ()
) -> GateResult:
    """What the rules say of a candidate.

    Args:
        rules: To judge by.
        figures: Of the candidate.
        comparisons: With its parent; None where there was none to compare with.
        suites: Figures of standard suites.
    """
    against = comparisons or Comparisons({}, {})
    found = [_judge(rules, name, None, figures.whole, against.whole, rules.undecided) for name in _RULES]
    known = sorted({*figures.languages, *against.languages})
    for language, own in sorted(_by_language(rules, known).items()):
        measured, compared = figures.languages.get(language, {}), against.languages.get(language, {})
        found += [_judge(own, name, language, measured, compared, rules.undecided) for name in _RULES]
    if EACH in rules.languages and not known:
        found.append(_without_languages())
    of_suites = [
        finding for name, own in (rules.suites or {}).items() for finding in _judge_suite(rules, name, own, suites)
    ]
    return GateResult((*(finding for finding in found if finding is not None), *of_suites))


def not_measurable(
    rules: GateRules,
    *,
    task_languages: Collection[str] | None,
    text_languages: Collection[str] | None,
    has_parent: bool,
    has_suites: bool = False,
) -> list[str]:
    """Rules that cannot be kept, for nothing that they ask for will be measured; a sentence each.

    Args:
        rules: To judge by.
        task_languages: Of the tasks; None where there are none.
        text_languages: Of the texts; None where there are none.
        has_parent: Whether there is something to compare with.
        has_suites: Whether standard suites are asked.
    """
    suites = rules.suites or {}
    found = [] if has_suites else [f"suites.{name}: give --suite {name} and --suite-data" for name in suites]
    found += [
        f"suites.{name}.max_loss_percent: give --against its parent"
        for name, own in suites.items()
        if has_suites and own.max_loss_percent is not None and not has_parent
    ]
    groups: list[tuple[str | None, QualityRules]] = [(None, rules), *rules.languages.items()]
    for language, group in groups:
        for name, kind in _RULES.items():
            if getattr(group, name, None) is None or kind.measure is Measure.SIZE_BYTES:
                continue
            known = text_languages if kind.measure in _OF_TEXTS else task_languages
            is_there = known is not None and (
                language is None or language in known or (language == EACH and len(known) > 0)
            )
            needs_parent = kind.of_parent is not None or kind.measure is Measure.KL
            if not is_there or (needs_parent and not has_parent):
                found.append(f"{_place(name, language)}: {_needs(kind, language)}")
    return found


@dataclass(frozen=True, slots=True)
class _Kind:
    """How a rule is judged.

    Args:
        measure: What it is about.
        is_most: The limit is the most; else the least.
        shown: A value in words.
        needs: What to do where it was not measured.
        of_parent: From the comparison to the loss in the unit of the limit; None for a rule without a parent.
    """

    measure: Measure
    is_most: bool
    shown: Callable[[float], str]
    needs: str
    of_parent: Callable[[Comparison], Estimate] | None = None


def _judge(
    rules: QualityRules,
    name: str,
    language: str | None,
    measured: Mapping[Measure, Estimate],
    compared: Mapping[Measure, Comparison],
    undecided: str,
) -> Finding | None:
    limit = getattr(rules, name, None)
    if limit is None:
        return None
    kind = _RULES[name]
    comparison = compared.get(kind.measure) if kind.of_parent else None
    found = measured.get(kind.measure)
    if kind.of_parent is not None:
        found = kind.of_parent(comparison) if comparison is not None else None
    place = _place(name, language)
    if found is None:
        sentence = f"{place}: was not measured; {_needs(kind, language)}"
        return Finding(name, language, State.MISSING, False, limit, None, sentence)
    return _judged(place, name, language, found, limit, kind, comparison, undecided)


def _judged(
    place: str,
    name: str,
    language: str | None,
    found: Estimate,
    limit: float,
    kind: _Kind,
    comparison: Comparison | None,
    undecided: str,
) -> Finding:
    """What comes of a rule whose figure was measured."""
    state = _state(found, limit, kind.is_most, comparison)
    has_passed = state is State.KEPT or (state is State.UNDECIDED and undecided == "pass")
    sentence = f"{place}: {_sentence(found, limit, kind, comparison, state)}"
    return Finding(name, language, state, has_passed, limit, found, sentence)


def _judge_suite(rules: GateRules, suite: str, own: SuiteRules, figures: Sequence[SuiteFigure]) -> Iterator[Finding]:
    """What comes of the rules for a suite: of the figure that they name, or of its first."""
    of_suite = [one for one in figures if one.score.suite == suite]
    figure = next((one for one in of_suite if own.metric in (None, one.score.metric)), None)
    for rule, limit in (
        ("min_value", own.min_value),
        ("max_value", own.max_value),
        ("max_loss_percent", own.max_loss_percent),
    ):
        if limit is None:
            continue
        name = f"suites.{suite}.{rule}"
        if figure is None:
            has = ", ".join(dict.fromkeys(one.score.metric for one in of_suite))
            why = f"it has {has}, and no {own.metric!r}" if has else "was not measured; give --suite and --suite-data"
            yield Finding(name, None, State.MISSING, False, limit, None, f"{name}: {why}")
            continue
        place = f"{name}, {figure.score.metric}"
        if rule != "max_loss_percent":
            kind = _Kind(Measure.SCORE, rule == "max_value", lambda value: f"{value:.4g}", "")
            yield _judged(place, name, None, figure.estimate, limit, kind, None, rules.undecided)
        elif figure.comparison is None or not figure.score.is_more_better:
            why = "cannot be told: it needs --against its parent, and a figure of which more is better, a mean of items"
            yield Finding(name, None, State.MISSING, False, limit, None, f"{place}: {why}")
        else:
            kind = _RULES["max_score_loss_percent"]
            lost = _score_loss(figure.comparison)
            yield _judged(place, name, None, lost, limit, kind, figure.comparison, rules.undecided)


def _place(name: str, language: str | None) -> str:
    return f"{name} of {language}" if language else name


def _needs(kind: _Kind, language: str | None) -> str:
    if language is None:
        return kind.needs
    return f"{kind.needs}, with lines that say their language" + (f", {language!r}" if language != EACH else "")


def _is_in(language: str | None, known: Collection[str] | None) -> bool:
    """Whether there is anything of a language; None asks for anything at all, 'each' for any language."""
    if known is None or language is None:
        return known is not None
    return language in known or (language == EACH and len(known) > 0)


def _state(found: Estimate, limit: float, is_most: bool, comparison: Comparison | None) -> State:
    if _keeps(found.value, limit, is_most):
        return State.KEPT
    if comparison is not None:
        return State.BROKEN if comparison.verdict is Verdict.WORSE else State.UNDECIDED
    best = found.lower if is_most else found.upper
    return State.UNDECIDED if _keeps(best, limit, is_most) else State.BROKEN


def _keeps(value: float, limit: float, is_most: bool) -> bool:
    # 1 point of 100 is 0.01 of 1, which binary fractions do not know.
    slack = 1e-9 * max(1.0, abs(limit))
    return value <= limit + slack if is_most else value >= limit - slack


def _sentence(found: Estimate, limit: float, kind: _Kind, comparison: Comparison | None, state: State) -> str:
    bound = f"at {'most' if kind.is_most else 'least'} {kind.shown(limit)} wanted"
    text = f"{kind.shown(found.value)}{_interval(found, kind.shown)}, {bound}"
    if comparison is not None:
        text += f"; {comparison.verdict.value} (p = {comparison.p_value:.2g}, {_items(found.count)})"
    worst = found.upper if kind.is_most else found.lower
    if state is State.KEPT and not _keeps(worst, limit, kind.is_most):
        text += "; kept, though so few items do not prove it"
    elif state is State.UNDECIDED:
        text += "; so few items cannot tell it from chance: give more, or set undecided: pass"
    return text


def _interval(found: Estimate, shown: Callable[[float], str]) -> str:
    if found.lower == found.upper:
        return ""
    if not (math.isfinite(found.lower) and math.isfinite(found.upper)):
        return " (one value has no interval)"
    return f" ({spread(shown(found.lower), shown(found.upper))} at 95 %)"


def spread(lower: str, upper: str) -> str:
    """``1.2 to 3.4 points``: the unit once, where both have the same."""
    amount, _, unit = lower.partition(" ")
    return f"{amount if unit and upper.endswith(f' {unit}') else lower} to {upper}"


def _items(count: int) -> str:
    return f"{count:,} {'item' if count == 1 else 'items'}"


def _by_language(rules: GateRules, known: list[str]) -> dict[str, QualityRules]:
    """Rules of each language; its own word counts before that for each."""
    each = rules.languages.get(EACH)
    found = {} if each is None else dict.fromkeys(known, each)
    for language, own in rules.languages.items():
        if language != EACH:
            common = each.model_dump(exclude_none=True) if each is not None else {}
            found[language] = QualityRules(**{**common, **own.model_dump(exclude_none=True)})
    return found


def _without_languages() -> Finding:
    sentence = 'languages.each: no task or text says its language; write "language": "th" into each line of the tasks'
    return Finding("languages.each", None, State.MISSING, False, 0.0, None, sentence)


def _points(value: float) -> str:
    return f"{value:.1f} points"


def _percent(value: float) -> str:
    return f"{value:,.2f} %"


def _share(value: float) -> str:
    return f"{100 * value:.1f} %"


def _score_loss(comparison: Comparison) -> Estimate:
    found = comparison.difference
    return Estimate(-100 * found.value + 0.0, -100 * found.upper, -100 * found.lower, found.count, found.method)


def _perplexity_increase(comparison: Comparison) -> Estimate:
    return mapped(comparison.difference, lambda nats: 100 * (exponential(nats) - 1))


_TASKS = "give --tasks"
_BOTH = "give --tasks and --against its parent"
_TEXTS = "give --texts and --against its parent, with the same tokenizer"
_OF_TEXTS = frozenset((Measure.PERPLEXITY, Measure.KL))
_RULES: Mapping[str, _Kind] = {
    "max_score_loss_percent": _Kind(Measure.SCORE, True, _points, _BOTH, _score_loss),
    "min_score": _Kind(Measure.SCORE, False, _share, _TASKS),
    "min_valid_format": _Kind(Measure.VALID_FORMAT, False, _share, f"{_TASKS} whose checks ask for JSON"),
    "max_perplexity_increase_percent": _Kind(Measure.PERPLEXITY, True, _percent, _TEXTS, _perplexity_increase),
    "max_kl": _Kind(Measure.KL, True, lambda nats: f"{nats:.4g} nats", _TEXTS),
    "max_first_token_seconds": _Kind(Measure.FIRST_TOKEN_SECONDS, True, format_duration, _TASKS),
    "max_latency_seconds": _Kind(Measure.LATENCY_SECONDS, True, format_duration, _TASKS),
    "min_tokens_per_second": _Kind(Measure.TOKENS_PER_SECOND, False, lambda rate: f"{rate:,.1f} tokens/s", _TASKS),
    "max_size_bytes": _Kind(Measure.SIZE_BYTES, True, format_bytes, "its file was not found"),
    "max_memory_bytes": _Kind(Measure.MEMORY_BYTES, True, format_bytes, _TASKS),
    "max_joules_per_token": _Kind(
        Measure.JOULES_PER_TOKEN,
        True,
        lambda joules: f"{joules:.3g} J",
        "this machine has no meter that may be read; measure on one that has, or leave the rule out",
    ),
}

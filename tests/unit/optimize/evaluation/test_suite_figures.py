"""Figures of standard suites: their intervals, tests beside the parent, rules and rows of the card."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.optimize.cards.test_cards import AROUND
from tests.unit.optimize.evaluation.test_gate import run_of
from undercroft.core.errors import InvalidError
from undercroft.optimize.cards.card import Card, make_card
from undercroft.optimize.cards.markdown import markdown_of
from undercroft.optimize.cards.page import page_of
from undercroft.optimize.evaluation.gate import State, not_measurable
from undercroft.optimize.evaluation.gate_rules import check_gate
from undercroft.optimize.evaluation.paired import Verdict
from undercroft.optimize.evaluation.records import SuiteScore
from undercroft.optimize.evaluation.suite_figures import estimate_of, suite_figures


def score(values: list[float], **fields: Any) -> SuiteScore:
    """A figure that is the mean of these values."""
    value = sum(values) / len(values)
    made = SuiteScore("arc", "acc", "none", value, 0.05, len(values), True, 0, "1.0", tuple(values))
    return replace(made, **fields)


def passed(count: int) -> SuiteScore:
    """A suite of 100 items of which so many were right."""
    return score([1.0] * count + [0.0] * (100 - count))


PERPLEXITY = SuiteScore("wiki", "word_perplexity", "none", 31.0, None, 9, False, 0, "2")


def card(own: tuple[SuiteScore, ...], other: tuple[SuiteScore, ...] | None, rules: dict[str, Any]) -> Card:
    """A card of nothing but suites."""
    candidate = replace(run_of([]), texts=(), suites=own)
    parent = None if other is None else replace(candidate, suites=other)
    return make_card(
        candidate,
        parent,
        check_gate(rules) if rules else None,
        replace(AROUND, tasks={}, suites={"names": ["arc"], "digest": "d"}),
    )


def test_an_interval_comes_from_the_items_and_else_from_the_standard_error() -> None:
    """Of shares Wilson's; of a figure without either, nothing is known."""
    assert estimate_of(passed(100)).method == "wilson"
    assert estimate_of(passed(100)).lower < 1.0
    assert estimate_of(score([0.5, 0.25, 1.0] * 9)).method in {"bca", "student"}
    known = estimate_of(replace(passed(50), values=(), standard_error=0.1))
    assert (known.lower, known.upper) == (pytest.approx(0.304, abs=1e-3), pytest.approx(0.696, abs=1e-3))
    assert (estimate_of(PERPLEXITY).value, estimate_of(PERPLEXITY).upper) == (31.0, math.inf)


def test_a_paired_test_looks_at_the_items() -> None:
    """Twenty items lost are worse; and where less is better, fewer are better."""
    (worse,) = suite_figures([passed(70)], [passed(90)])
    assert worse.comparison is not None
    assert (worse.comparison.verdict, worse.comparison.test) == (Verdict.WORSE, "mcnemar-exact")
    own, other = score([1.0 + n / 99 for n in range(40)]), score([2.0 + n / 99 for n in range(40)])
    (better,) = suite_figures([replace(own, is_more_better=False)], [replace(other, is_more_better=False)])
    assert better.comparison is not None
    assert better.comparison.verdict is Verdict.BETTER


def test_without_items_there_is_no_test() -> None:
    """The values stand side by side."""
    (found,) = suite_figures([PERPLEXITY], [replace(PERPLEXITY, value=30.0)])
    assert found.comparison is None
    assert found.parent_estimate is not None


def test_other_suites_are_not_compared() -> None:
    """Nor other items of one."""
    with pytest.raises(InvalidError, match="other suites"):
        suite_figures([passed(70)], [score([1.0] * 99)])


@pytest.mark.parametrize(
    ("rules", "state", "words"),
    [
        ({"arc": {"min_value": 0.5}}, State.KEPT, "suites.arc.min_value, acc: 0.7"),
        ({"arc": {"min_value": 0.9}}, State.BROKEN, "at least 0.9 wanted"),
        ({"arc": {"min_value": 0.72}}, State.UNDECIDED, "so few items"),
        ({"arc": {"max_loss_percent": 1}}, State.BROKEN, "20.0 points"),
        ({"arc": {"metric": "acc_norm", "min_value": 0.1}}, State.MISSING, "it has acc, and no 'acc_norm'"),
        ({"arcs": {"min_value": 0.1}}, State.MISSING, "was not measured"),
        ({"wiki": {"max_value": 40}}, State.KEPT, "word_perplexity: 31"),
        ({"wiki": {"max_loss_percent": 1}}, State.MISSING, "of which more is better"),
    ],
)
def test_rules_name_suites(rules: dict[str, Any], state: State, words: str) -> None:
    """The first figure of a suite counts where none is named."""
    made = card((passed(70), PERPLEXITY), (passed(90), PERPLEXITY), {"suites": rules})
    assert made.gate is not None
    (finding,) = made.gate.findings
    assert finding.state is state
    assert words in finding.sentence
    assert finding.has_passed is (state is State.KEPT)


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ({"arc": {"min_vale": 0.5}}, "suites.arc.min_vale: there is no such rule; nearest is 'min_value'"),
        ({"arc": {"metric": "acc"}}, "suites.arc: expected min_value, max_value or max_loss_percent"),
    ],
)
def test_wrong_rules_are_refused(rules: dict[str, Any], words: str) -> None:
    """With the nearest right word."""
    with pytest.raises(InvalidError) as caught:
        check_gate({"suites": rules})
    assert words in caught.value.message


def test_rules_for_suites_that_are_not_asked_are_refused_beforehand() -> None:
    """And such as need a parent, without one."""
    rules = check_gate({"suites": {"arc": {"max_loss_percent": 1}}})
    assert not_measurable(rules, task_languages=[], text_languages=None, has_parent=True) == [
        "suites.arc: give --suite arc and --suite-data"
    ]
    assert not_measurable(rules, task_languages=None, text_languages=None, has_parent=False, has_suites=True) == [
        "suites.arc.max_loss_percent: give --against its parent"
    ]


def test_the_card_shows_suites_with_their_standard_errors() -> None:
    """In every form, beside the parent, and says what a test says; JSON keeps every number."""
    made = card((passed(70), PERPLEXITY), (passed(90), PERPLEXITY), {})
    text = markdown_of(made)
    assert "| arc acc" in text
    assert "0.700 ± 0.0500" in text
    assert "worse" in text
    assert max(len(line) for line in text.splitlines() if not line.startswith("|")) <= 80
    assert "0.700 ± 0.0500" in page_of(made)
    (first, second) = json.loads(json.dumps(made.to_dict(), allow_nan=False))["suites"]
    assert (first["candidate"]["standard_error"], first["comparison"]["verdict"]) == (0.05, "worse")
    assert (second["candidate"]["upper"], second["comparison"]) == (None, None)

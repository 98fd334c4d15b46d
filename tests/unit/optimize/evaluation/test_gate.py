"""The gate: what passes, what does not, and the sentence why."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from undercroft.core.errors import InvalidError
from undercroft.optimize.evaluation.comparing import compare
from undercroft.optimize.evaluation.figures import Measure, figures_of
from undercroft.optimize.evaluation.gate import Finding, GateResult, State, judge_gate, not_measurable
from undercroft.optimize.evaluation.gate_rules import check_gate
from undercroft.optimize.evaluation.paired import Verdict
from undercroft.optimize.evaluation.records import Energy, ItemResult, Peak, Run, Subject, TextRecord

PARENT = Subject("parent", "", 4_000_000, "F16", 1_000_000)


def run_of(passed: list[bool], *, languages: str = "", nats: float = 2.0, name: str = "parent") -> Run:
    """A model that passed these tasks, and thought so much of each token of twelve texts."""
    items = tuple(
        ItemResult(
            id=f"item-{number}",
            language=languages.split()[number % len(languages.split())] if languages else None,
            has_passed=has_passed,
            score=float(has_passed),
            total_seconds=0.5 + number / 1000,
            first_token_seconds=0.1,
            prompt_tokens=20,
            answer_tokens=41,
        )
        for number, has_passed in enumerate(passed)
    )
    texts = tuple(
        TextRecord(f"text-{number}", None, 100, 100 * nats + number % 3, 400, 2.0 * number, 90) for number in range(12)
    )
    return Run(
        subject=replace(PARENT, name=name),
        items=items,
        texts=texts,
        seconds=10.0,
        load_seconds=0.5,
        peak=Peak(5_000_000, 4_000_000, {}, 3),
        energy=Energy(82.0, "a meter"),
    )


def judged(rules: dict[str, Any], candidate: Run, parent: Run | None = None) -> GateResult:
    """What rules say of a candidate."""
    against = compare(candidate, parent) if parent is not None else None
    return judge_gate(check_gate(rules), figures_of(candidate), against)


def only(result: GateResult) -> Finding:
    """The one finding of a gate with one rule."""
    (found,) = result.findings
    return found


def test_a_model_passes_beside_itself() -> None:
    """No rule that compares calls a model worse than itself, however strict it is."""
    same = run_of([True] * 30 + [False] * 10)
    result = judged({"max_score_loss_percent": 0, "max_perplexity_increase_percent": 0}, same, same)
    assert result.has_passed
    assert [finding.state for finding in result.findings] == [State.KEPT, State.KEPT]
    assert "no difference shown (p = 1, 40 items)" in result.findings[0].sentence


def test_a_proven_loss_does_not_pass_and_says_why() -> None:
    """Figure, interval, limit and test are in the sentence."""
    parent, candidate = run_of([True] * 100), run_of([True] * 88 + [False] * 12)
    result = judged({"max_score_loss_percent": 1}, candidate, parent)
    assert not result.has_passed
    assert only(result).state is State.BROKEN
    assert result.reasons[0].startswith("max_score_loss_percent: 12.0 points (")
    assert "at most 1.0 points wanted; worse (p = 0.00049, 100 items)" in result.reasons[0]


def test_a_loss_that_may_be_chance_is_not_called_worse_and_does_not_pass_unless_told() -> None:
    """Three of a hundred: nobody is called worse; the gate stays closed, or opens where the rules say so."""
    parent, candidate = run_of([True] * 100), run_of([True] * 97 + [False] * 3)
    closed = only(judged({"max_score_loss_percent": 1}, candidate, parent))
    opened = only(judged({"max_score_loss_percent": 1, "undecided": "pass"}, candidate, parent))
    assert (closed.state, closed.has_passed, opened.has_passed) == (State.UNDECIDED, False, True)
    assert "no difference shown" in closed.sentence
    assert "give more, or set undecided: pass" in closed.sentence


def test_a_loss_within_the_rule_passes_even_if_it_is_proven() -> None:
    """Worse, and not by more than was allowed."""
    parent, candidate = run_of([True] * 100), run_of([True] * 90 + [False] * 10)
    found = only(judged({"max_score_loss_percent": 10}, candidate, parent))
    assert (found.state, found.has_passed) == (State.KEPT, True)
    assert "worse (p" in found.sentence
    assert "do not prove it" in found.sentence


def test_what_was_not_measured_lets_nothing_pass() -> None:
    """No parent, no texts, no meter: each says what to do."""
    bare = replace(run_of([True] * 10), texts=(), energy=None, peak=None)
    rules = {"max_score_loss_percent": 1, "max_kl": 1, "max_joules_per_token": 1, "max_memory_bytes": 1}
    result = judged(rules, bare)
    assert [finding.state for finding in result.findings] == [State.MISSING] * 4
    assert result.reasons[0] == "max_score_loss_percent: was not measured; give --tasks and --against its parent"
    assert "--texts" in result.reasons[1]
    assert "meter" in result.reasons[3]


@pytest.mark.parametrize(
    ("rules", "state"),
    [
        ({"min_score": 0.9}, State.KEPT),
        ({"min_score": 0.96}, State.UNDECIDED),
        ({"min_score": 0.995}, State.BROKEN),
        ({"max_size_bytes": 4_000_000}, State.KEPT),
        ({"max_size_bytes": 3_999_999}, State.BROKEN),
        ({"max_memory_bytes": 9_000_000}, State.KEPT),
        ({"min_tokens_per_second": 50}, State.KEPT),
        ({"min_tokens_per_second": 500}, State.BROKEN),
        ({"max_first_token_seconds": 0.1}, State.KEPT),
        ({"max_latency_seconds": 0.2}, State.BROKEN),
        ({"max_kl": 0.2}, State.KEPT),
        ({"max_kl": 0.01}, State.BROKEN),
        ({"max_joules_per_token": 0.02}, State.KEPT),
    ],
)
def test_figures_are_held_against_their_limits(rules: dict[str, Any], state: State) -> None:
    """By figure and interval: kept, undecided where the interval reaches the limit, broken where it does not."""
    assert only(judged(rules, run_of([True] * 95 + [False] * 5))).state is state


def test_perplexity_is_compared_in_percent() -> None:
    """0.1 nats a token more are 10.5 % more perplexity, and worse."""
    parent, candidate = run_of([True], nats=2.0), run_of([True], nats=2.1)
    found = only(judged({"max_perplexity_increase_percent": 5}, candidate, parent))
    assert found.measured is not None
    assert found.measured.value == pytest.approx(100 * (math.exp(0.1) - 1))
    assert found.state is State.BROKEN


def test_each_language_has_rules_of_its_own() -> None:
    """One language falls behind while the whole keeps its rule; a language's own rule counts before that for each."""
    parent = run_of([True] * 120, languages="en th")
    candidate = run_of([number % 2 == 0 or number > 20 for number in range(120)], languages="en th")
    rules = {"languages": {"each": {"min_score": 0.99}, "th": {"max_score_loss_percent": 5}, "ms": {"min_score": 0.5}}}
    result = judged(rules, candidate, parent)
    found = {(finding.rule, finding.language): finding for finding in result.findings}
    assert found["min_score", "en"].state is State.KEPT
    assert found["max_score_loss_percent", "th"].state is State.BROKEN
    assert found["min_score", "th"].state is State.BROKEN
    assert found["min_score", "ms"].state is State.MISSING
    assert "max_score_loss_percent of th: 16.7 points" in found["max_score_loss_percent", "th"].sentence


def test_rules_that_cannot_be_kept_are_known_beforehand() -> None:
    """Without a parent, without texts, in a language that nothing is in; size is always known."""
    rules = check_gate(
        {
            "max_score_loss_percent": 1,
            "min_score": 0.5,
            "max_kl": 1,
            "max_size_bytes": 1,
            "languages": {"each": {"min_score": 0.1}, "th": {"min_score": 0.2}, "ms": {"max_first_token_seconds": 1}},
        }
    )
    assert not_measurable(rules, task_languages=["ms", "th"], text_languages=[], has_parent=True) == []
    assert not_measurable(rules, task_languages=["th"], text_languages=None, has_parent=False) == [
        "max_score_loss_percent: give --tasks and --against its parent",
        "max_kl: give --texts and --against its parent, with the same tokenizer",
        "max_first_token_seconds of ms: give --tasks, with lines that say their language, 'ms'",
    ]
    found = not_measurable(rules, task_languages=[], text_languages=[], has_parent=True)
    assert [sentence.partition(":")[0] for sentence in found] == [
        "min_score of each",
        "min_score of th",
        "max_first_token_seconds of ms",
    ]


def test_rules_for_each_language_need_one() -> None:
    """Tasks without a language cannot keep them."""
    result = judged({"languages": {"each": {"min_score": 0.5}}}, run_of([True] * 10))
    assert only(result).state is State.MISSING


def test_a_gate_with_mistakes_is_refused_with_the_nearest_word() -> None:
    """All of them at once."""
    rules = {"min_scor": 1, "max_kl": -1, "languages": {"th": {"min_scores": 1}, "Thai": {}}, "undecided": "maybe"}
    with pytest.raises(InvalidError) as caught:
        check_gate(rules)
    assert "min_scor: there is no such rule; nearest is 'min_score'" in caught.value.message
    assert "languages.th.min_scores: there is no such rule; nearest is 'min_score'" in caught.value.message
    assert "max_kl: expected at least 0" in caught.value.message
    assert "Thai" in caught.value.message
    assert "undecided" in caught.value.message


@pytest.mark.parametrize("rules", [None, {}, {"undecided": "pass"}, {"languages": {"th": {}}, "suites": {}}])
def test_a_gate_without_a_rule_is_refused(rules: Any) -> None:
    """It would let everything pass, and say so."""
    with pytest.raises(InvalidError, match="expected at least one rule"):
        check_gate(rules)


def test_bounds_are_what_can_be() -> None:
    """Student's reach of three values is wide, and no answer takes less than no time, nor has more than all points."""
    items = [
        replace(item, first_token_seconds=seconds, total_seconds=seconds + 0.5, score=seconds)
        for item, seconds in zip(run_of([True, False, False]).items, (1.0, 0.5, 0.01), strict=True)
    ]
    found = figures_of(replace(run_of([True]), items=tuple(items))).whole
    assert (found[Measure.GRADE].method, found[Measure.FIRST_TOKEN_SECONDS].method) == ("student", "student")
    assert (found[Measure.GRADE].lower, found[Measure.GRADE].upper) == (0.0, 1.0)
    assert found[Measure.FIRST_TOKEN_SECONDS].lower == 0.0
    assert found[Measure.FIRST_TOKEN_SECONDS].upper > 1.0


def test_figures_are_those_of_items_and_texts() -> None:
    """Shares, means and sums by hand."""
    run = run_of([True] * 3 + [False], languages="en th")
    figures = figures_of(run)
    assert figures.whole[Measure.SCORE].value == 0.75
    assert figures.whole[Measure.PERPLEXITY].value == pytest.approx(math.exp(2.01))
    assert figures.whole[Measure.BITS_PER_BYTE].value == pytest.approx(2.01 / 4 / math.log(2))
    assert figures.whole[Measure.KL].value == pytest.approx(0.11)
    assert figures.whole[Measure.SAME_TOP].value == pytest.approx(0.9)
    assert figures.whole[Measure.ALL_TOKENS_PER_SECOND].value == pytest.approx(16.4)
    assert figures.whole[Measure.JOULES_PER_TOKEN].value == pytest.approx(0.5)
    assert figures.whole[Measure.MEMORY_BYTES].value == 9_000_000
    assert figures.languages["en"][Measure.SCORE].value == 1.0
    assert figures.languages["th"][Measure.SCORE].value == 0.5


def test_an_answer_that_was_read_late_does_not_make_the_model_fast() -> None:
    """Forty tokens that came in a microsecond beside three answers of a second each: the rate is that of all."""
    run = run_of([True] * 4)
    items = [replace(item, first_token_seconds=0.0, total_seconds=1.0) for item in run.items]
    items[0] = replace(items[0], first_token_seconds=0.999999)
    found = figures_of(replace(run, items=tuple(items))).whole[Measure.TOKENS_PER_SECOND]
    assert found.value == pytest.approx(160 / 3, rel=1e-3)


def test_models_that_were_asked_other_things_are_not_compared() -> None:
    """A paired test of different items would be nonsense."""
    with pytest.raises(InvalidError, match="other tasks"):
        compare(run_of([True] * 3), run_of([True] * 4))


def test_another_tokenizer_leaves_perplexity_uncompared() -> None:
    """Nats a token are of other tokens then."""
    parent = run_of([True])
    other = replace(parent, texts=tuple(replace(text, tokens=text.tokens + 1) for text in parent.texts))
    assert Measure.PERPLEXITY not in compare(other, parent).whole
    assert compare(parent, parent).whole[Measure.PERPLEXITY].verdict is Verdict.NO_DIFFERENCE

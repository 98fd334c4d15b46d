"""What a promotion does next."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.watch.test_judging import row
from undercroft.serving.promotions import Plan, State
from undercroft.watch.promotion.evidence import make_arm
from undercroft.watch.promotion.judging import Rules, Share, judge
from undercroft.watch.promotion.promotion_steps import (
    Candidate,
    Scores,
    Step,
    after_checking,
    after_loading,
    after_trying,
    before_checking,
)

RULES = Rules.model_validate({})
PLAN = Plan.model_validate({"canary_ratio": 0.1, "hold_seconds": 60})


def candidate(
    state: str = "ready", *, lacks: bool = False, waited: float = 100.0, never_fits: bool = False
) -> Candidate:
    """A candidate after some time in its state."""
    return Candidate(state, "out of luck", lacks, waited, never_fits)


@pytest.mark.parametrize(
    ("state", "seen", "may_replace", "expected"),
    [
        (State.LOADING, candidate("ready"), True, Step.CHECK),
        (State.LOADING, candidate("loading"), True, Step.WAIT),
        (State.LOADING, candidate("failed"), True, Step.FAIL),
        (State.LOADING, candidate("loading", lacks=True, waited=1), True, Step.WAIT),
        (State.LOADING, candidate("failed", lacks=True, waited=1), True, Step.WAIT),
        (State.LOADING, candidate("loading", lacks=True), True, Step.REPLACE),
        (State.LOADING, candidate("failed", lacks=True), True, Step.REPLACE),
        (State.LOADING, candidate("loading", lacks=True), False, Step.WAIT),
        (State.LOADING, candidate("failed", lacks=True), False, Step.FAIL),
        (State.LOADING, candidate("failed", lacks=True, never_fits=True), True, Step.FAIL),
        (State.LOADING, candidate("loading", lacks=True, never_fits=True, waited=1), True, Step.FAIL),
        (State.REPLACING, candidate("ready"), True, Step.CHECK),
        (State.REPLACING, candidate("loading", lacks=True), True, Step.WAIT),
        (State.REPLACING, candidate("failed", lacks=True), True, Step.FAIL),
    ],
)
def test_loading(state: State, seen: Candidate, may_replace: bool, expected: Step) -> None:
    """Ready goes on, failure ends it, and want of memory replaces production where that is allowed and would help."""
    plan = Plan.model_validate({"may_replace": may_replace})
    assert after_loading(state, plan, seen, has_production=True, patience_seconds=5).step is expected


def test_all_replicas_of_a_candidate_are_waited_for() -> None:
    """One of three would have to answer what three did; those for which there is no memory come later."""
    for lacks, expected in ((False, Step.WAIT), (True, Step.CHECK)):
        seen = Candidate("ready", "", lacks, 100.0, missing_replicas=2)
        found = after_loading(State.LOADING, PLAN, seen, has_production=True, patience_seconds=5)
        assert found.step is expected


def test_nothing_is_replaced_where_nothing_serves() -> None:
    """The first release of a name that lacks memory fails rather than replace anything."""
    found = after_loading(
        State.LOADING, PLAN, candidate("failed", lacks=True), has_production=False, patience_seconds=5
    )
    assert found.step is Step.FAIL


@pytest.mark.parametrize(
    ("state", "production", "waits"),
    [
        ("ready", "ready", False),
        ("ready", None, False),
        ("ready", "unloaded", False),
        ("ready", "failed", False),
        ("failed", "loading", False),
        ("ready", "loading", True),
        ("loading", "ready", True),
        ("unloaded", None, True),
    ],
)
def test_nobody_is_asked_while_one_of_both_is_loaded_again(state: str, production: str | None, waits: bool) -> None:
    """After a restart the candidate alone would be asked, and pass for want of a comparison."""
    assert bool(before_checking(candidate(state), production)) is waits


@pytest.mark.parametrize(
    ("scores", "plan", "expected"),
    [
        (Scores(None, None), PLAN, Step.CANARY),
        (Scores(None, None), Plan.model_validate({}), Step.FINISH),
        (Scores(1.0, 1.0), PLAN, Step.CANARY),
        (Scores(0.8, 1.0, ("q2",)), PLAN, Step.REVERT),
        (Scores(0.8, None), PLAN, Step.CANARY),
        (Scores(None, None, problem="nobody answers"), PLAN, Step.REVERT),
    ],
)
def test_checking(scores: Scores, plan: Plan, expected: Step) -> None:
    """As good as production goes on; worse, or not to be asked, goes back."""
    assert after_checking(plan, RULES, candidate(), scores).step is expected


def test_the_questions_that_fail_are_named() -> None:
    """The note says what the candidate fails that production does not."""
    assert "it fails q2" in after_checking(PLAN, RULES, candidate(), Scores(0.8, 1.0, ("q2",))).note


def test_a_candidate_that_failed_while_it_was_asked_goes_back() -> None:
    """However well it answered before."""
    assert after_checking(PLAN, RULES, candidate("failed"), Scores(1.0, 1.0)).step is Step.REVERT


def trying(waited: float, count: int, rules: Rules = RULES, state: str = "ready", **bad: Any) -> Step:
    """The step after a time and a number of requests, of which the candidate's are as given."""
    mine, other = make_arm([row(**bad)] * count), make_arm([row()] * count)
    seen = candidate(state, waited=waited)
    return after_trying(PLAN, rules, seen, mine, other, judge(rules, mine, other)).step


def test_a_hold_is_kept_and_enough_requests_are_waited_for() -> None:
    """Before the hold is over nothing is finished, nor with too few requests after it."""
    assert trying(59, 500) is Step.WAIT
    assert trying(61, 5) is Step.WAIT
    assert trying(61, 500) is Step.FINISH


def test_a_candidate_whose_engine_starts_again_is_not_finished() -> None:
    """It is waited for."""
    assert trying(61, 500, state="loading") is Step.WAIT


def test_what_is_proven_worse_goes_back_at_once() -> None:
    """During the hold already."""
    assert trying(2, 60, first_token_seconds=2.0) is Step.REVERT
    assert trying(2, 3, status=500, signs=None) is Step.REVERT
    assert trying(2, 3, state="failed") is Step.REVERT


def test_undecided_is_as_the_rules_say() -> None:
    """Promoted after the hold, or waited for and sent back at the end of patience."""
    careful = Rules.model_validate({"undecided": "revert", "give_up_seconds": 300})
    assert trying(61, 100) is Step.FINISH
    assert trying(61, 100, careful) is Step.WAIT
    assert trying(301, 100, careful) is Step.REVERT


def test_what_nobody_asked_for_or_rated_is_no_doubt() -> None:
    """Where no JSON was asked for and nobody rated, the other rules decide; ratings of one side are a question."""
    careful = Rules.model_validate({"undecided": "revert"})
    seen, plain = candidate(waited=61), make_arm([row()] * 3000)
    for production, expected in ((plain, Step.FINISH), (make_arm([row()] * 3000, Share(0, 5)), Step.WAIT)):
        found = after_trying(PLAN, careful, seen, plain, production, judge(careful, plain, production))
        assert found.step is expected
    nothing = Rules.model_validate({"undecided": "revert", "min_requests": 0})
    empty = make_arm([])
    assert after_trying(PLAN, nothing, seen, empty, empty, judge(nothing, empty, empty)).step is Step.WAIT


def test_too_few_requests_for_too_long_send_it_back() -> None:
    """Nobody knows whether it is good."""
    assert trying(100_000, 3) is Step.REVERT


def test_what_a_load_takes_is_said_once_and_when_production_has_to_go() -> None:
    """The figures of the first moment stay; a reason that comes later takes their place."""
    seen = Candidate("loading", "", False, 1.0, outlook="it needs 5 GiB, 2 GiB are free")
    plan = Plan.model_validate({})
    known: dict[str, Any] = {"has_production": True, "patience_seconds": 5.0}
    assert after_loading(State.LOADING, plan, seen, **known).note == "it needs 5 GiB, 2 GiB are free"
    assert after_loading(State.LOADING, plan, seen, **known, told="as before").note == "as before"
    waits = Candidate("loading", "it waits", True, 100.0, outlook="it needs 5 GiB, 2 GiB are free")
    found = after_loading(State.LOADING, plan, waits, **known)
    assert found.step is Step.REPLACE
    assert found.note == (
        "there is no memory for both: it needs 5 GiB, 2 GiB are free. Requests wait until it is there"
    )

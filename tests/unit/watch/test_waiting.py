"""What a trial waits for, in figures and in words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from undercroft.serving.promotions import Plan, Promotion, State
from undercroft.watch.promotion.waiting import plain_promotion, waiting_of

BEGAN = datetime(2026, 11, 21, 7, 0, tzinfo=UTC)
AT = "2026-11-21T07:00:00.000Z"


def promotion(state: State = State.CANARY, requests: int | None = 5, **plan: Any) -> Promotion:
    """A promotion whose candidate was tried by so many requests since ``BEGAN``; None is none counted yet."""
    evidence = {} if requests is None else {"requests": {"candidate": requests, "production": 50}}
    made = Plan.model_validate({"canary_ratio": 0.1, "hold_seconds": 7200, **plan})
    return Promotion(1, "bot", 7, 8, state, made, evidence, "", AT, AT, None, "cli:anna", None)


def test_too_few_requests_are_told_with_how_many_and_until_when() -> None:
    """And that it is sent back then; nothing is judged yet where nothing was counted."""
    waiting = waiting_of(promotion())
    assert waiting is not None
    assert waiting.to_dict() == {
        "requests": 5,
        "requests_needed": 20,
        "hold_until": "2026-11-21T09:00:00.000Z",
        "waits_until": "2026-11-22T07:00:00.000Z",
        "undecided": "promote",
        "then": "reverted",
    }
    none = waiting_of(promotion(requests=None))
    assert none is not None
    assert none.requests == 0


@pytest.mark.parametrize(
    ("requests", "hours", "rules", "said"),
    [
        (
            5,
            1,
            {},
            "5 requests were judged, 20 are needed; the hold lasts until 2026-11-21 09:00 UTC; without enough by "
            "2026-11-22 07:00 UTC it is sent back",
        ),
        (5, 3, {}, "5 requests were judged, 20 are needed; without enough by 2026-11-22 07:00 UTC it is sent back"),
        (
            25,
            1,
            {},
            "25 requests were judged, 20 are needed; the hold lasts until 2026-11-21 09:00 UTC; then it comes into "
            "production unless it is found to be worse",
        ),
        (
            25,
            3,
            {},
            "25 requests were judged, 20 are needed; as soon as its engine is ready it comes into production unless it "
            "is found to be worse",
        ),
        (
            25,
            3,
            {"undecided": "revert", "give_up_seconds": 14_400},
            "25 requests were judged, 20 are needed; where the rules are not decided by 2026-11-21 11:00 UTC it is "
            "sent back",
        ),
    ],
)
def test_what_happens_next_is_a_sentence(requests: int, hours: int, rules: dict[str, Any], said: str) -> None:
    """By how many requests came, whether the hold is over, and what the rules say of the undecided."""
    waiting = waiting_of(promotion(requests=requests, rules=rules))
    assert waiting is not None
    assert waiting.sentence(BEGAN + timedelta(hours=hours)) == said


def test_a_hold_that_is_longer_than_the_patience_is_kept() -> None:
    """It is sent back at its end and not before, as the steps do."""
    waiting = waiting_of(promotion(hold_seconds=172_800))
    assert waiting is not None
    assert waiting.hold_until == waiting.waits_until == "2026-11-23T07:00:00.000Z"


@pytest.mark.parametrize("state", [state for state in State if state is not State.CANARY])
def test_only_a_trial_waits_for_requests(state: State) -> None:
    """In every other state nothing is told, and programs find null."""
    assert waiting_of(promotion(state)) is None
    assert plain_promotion(promotion(state))["waiting"] is None

"""What a promotion makes of its trial's process."""

from __future__ import annotations

import json
from typing import Any

import pytest

from undercroft.watch.promoting import scores_of, why_it_ended
from undercroft.watch.promotion_steps import Scores

MODELS = ["bot@2", "bot@1"]


def line(model: str, score: float, *failed: str, problem: str = "") -> str:
    """What a trial prints of a release."""
    plain: dict[str, Any] = {"model": model, "score": score, "failed": list(failed), "problem": problem}
    return json.dumps(plain) + "\n"


def test_the_questions_that_only_the_candidate_fails_are_kept() -> None:
    """Those that production fails, too, say nothing of the candidate."""
    printed = line("bot@2", 0.4, "a", "b") + line("bot@1", 0.7, "b")
    assert scores_of((printed, ""), MODELS) == Scores(0.4, 0.7, ("a",))


@pytest.mark.parametrize(
    ("printed", "problem", "expected"),
    [
        (line("bot@2", 1.0) + '{"model": "bo', "was ended", "was ended"),
        (line("bot@2", 1.0), "", "nothing of bot@1"),
        ("", "", "nothing of bot@2, bot@1"),
        (line("bot@2", 0.0, problem="nobody answers") + line("bot@1", 1.0), "", "nobody answers"),
    ],
)
def test_a_trial_that_is_not_whole_proves_nothing(printed: str, problem: str, expected: str) -> None:
    """Killed in the middle of a line, ended without a word, or unable to ask: the questions count as not asked."""
    assert expected in scores_of((printed, problem), MODELS).problem


@pytest.mark.parametrize(
    ("status", "said", "expected"),
    [
        (0, "a warning", ""),
        (1, "no such probe\n", "no such probe"),
        (-9, "", "their process was ended by signal 9"),
        (3, "  ", "their process ended with status 3"),
    ],
)
def test_a_process_that_is_killed_has_a_reason(status: int, said: str, expected: str) -> None:
    """Also where it said nothing, so that its silence is not taken for success."""
    assert why_it_ended(status, said) == expected

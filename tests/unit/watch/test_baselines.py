"""Baselines: which checks waver, and what that does to later runs."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from undercroft.checks.judging import NO_OPINIONS
from undercroft.checks.questions import Question
from undercroft.core.errors import InvalidError
from undercroft.core.home import Home
from undercroft.engines.chat_stream import Answer
from undercroft.watch.probes.baselines import baseline_file, load_baseline, save_baseline
from undercroft.watch.probes.baselining import baseline_of
from undercroft.watch.probes.outcomes import Outcome, judged, mean_score

_AT = datetime(2026, 11, 21, tzinfo=UTC)
_QUESTION = Question.model_validate(
    {
        "id": "colour",
        "text": "Which colour?",
        "total_seconds": 2,
        "checks": [{"kind": "contains", "text": "red"}, {"kind": "length", "at_most": 5}],
    }
)


def answered(*texts: str, seconds: float = 1.0) -> list[Outcome]:
    return [judged(_QUESTION, Answer(t, 0.1, seconds, 3, 2), NO_OPINIONS, None, _AT, "bot@1") for t in texts]


def test_a_check_that_wavers_is_noisy_and_one_that_always_fails_is_not() -> None:
    """Noise is what changes by itself; what never passed is a fault."""
    seen = baseline_of(_QUESTION, answered("red", "red red", "red", "too long a red"))
    assert seen.noisy_checks() == {"length"}
    assert (seen.checks["contains"].passed, seen.checks["length"].passed, seen.runs) == (4, 2, 4)
    assert seen.checks["length"].lowest < seen.checks["length"].highest == 1.0
    never = baseline_of(_QUESTION, answered("blue", "blue"))
    assert never.noisy_checks() == frozenset()


def test_a_noisy_check_neither_fails_nor_scores() -> None:
    """And a steady one that fails does, whatever the noisy one says."""
    seen = baseline_of(_QUESTION, answered("red", "red red"))
    noisy = judged(_QUESTION, Answer("red red red", 0.1, 1.0, 3, 2), NO_OPINIONS, seen, _AT, "bot@1")
    assert noisy.has_passed
    assert noisy.score == 1.0
    failed = judged(_QUESTION, Answer("blue", 0.1, 1.0, 3, 2), NO_OPINIONS, seen, _AT, "bot@1")
    assert [result.name for result in failed.failed] == ["contains"]
    assert failed.score == pytest.approx(0.5)  # of contains and total-time; length does not count


def test_likeness_is_to_the_nearest_answer_of_the_baseline() -> None:
    """One of its answers is like it altogether, another one less."""
    seen = baseline_of(_QUESTION, answered("red is the colour", "the colour is red"))

    def likeness(text: str) -> float:
        found = judged(_QUESTION, Answer(text, 0.1, 1.0, 3, 2), NO_OPINIONS, seen, _AT, "bot@1").likeness
        assert found is not None
        return found

    assert likeness("the colour is red") == 1.0
    assert likeness("xyzzy 12345") < 0.4 < likeness("the colour is green") < 1.0


def test_a_late_answer_fails_by_its_time() -> None:
    """The limit of the question is a check like the others."""
    late = answered("red", seconds=4.0)[0]
    assert [result.name for result in late.failed] == ["total-time"]
    assert mean_score([late]) == pytest.approx((1 + 1 + 0.5) / 3)


def test_no_text_of_an_answer_is_kept(tmp_path: Path) -> None:
    """Neither in the file, nor in what is read from it; and a changed question has no baseline."""
    home = Home(tmp_path)
    home.reports.mkdir()
    seen = baseline_of(_QUESTION, answered("extraordinarily red"))
    path = save_baseline(home, "bot", {"colour": seen}, "bot@1", _AT)
    assert "extraordinarily" not in path.read_text(encoding="utf-8")
    loaded = load_baseline(home, "bot")
    assert loaded is not None
    assert loaded.of("colour", _QUESTION.digest()) == seen
    assert loaded.of("colour", "another") is None
    assert loaded.of("other", _QUESTION.digest()) is None


def test_a_damaged_baseline_is_said_and_a_missing_one_is_none(tmp_path: Path) -> None:
    """With what to do."""
    home = Home(tmp_path)
    home.reports.mkdir()
    assert load_baseline(home, "bot") is None
    baseline_file(home, "bot").write_text('{"taken_at": 5}', encoding="utf-8")
    with pytest.raises(InvalidError, match="undercroft probe baseline bot"):
        load_baseline(home, "bot")

"""Answers in other words: found by the words alone, and only where they were steady before."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise

import pytest

from undercroft.watch.blame.answers import Asked, Switch, combined_chance, find_switches

QUESTIONS = ("a", "b", "c", "d", "e")
DAY = 86_400.0


def asked(runs: int, answer: Callable[[int, str], tuple[str, float]]) -> list[Asked]:
    """Five questions a day; ``answer`` is given the day and the question, and gives its words and its score."""
    return [
        Asked(day * DAY + 10 * place, question, *answer(day, question))
        for day in range(runs)
        for place, question in enumerate(QUESTIONS)
    ]


def steady(
    begin: int, questions: str, score: float = 0.99, end: int = 10_000
) -> Callable[[int, str], tuple[str, float]]:
    """The same words each day, but others of some questions from one day to another."""
    return lambda day, question: ("new", score) if begin <= day < end and question in questions else ("old", 1.0)


@pytest.mark.parametrize(("runs_after", "questions"), [(4, "a"), (2, "abcd"), (9, "c")])
def test_a_question_that_is_answered_otherwise_is_found(runs_after: int, questions: str) -> None:
    """One of five after four days, four of them after two: the day of the first other answer, and which they are."""
    (switch,) = find_switches(asked(40 + runs_after, steady(40, questions)), 0.0)
    assert switch.questions == tuple(questions)
    assert (switch.asked, switch.runs_before, switch.runs_after) == (5, 40, runs_after)
    assert 40 * DAY <= switch.change.at <= 40 * DAY + 40
    assert switch.change.earliest == 39 * DAY + 40
    assert switch.scores == (1.0, 0.99)


def test_one_other_answer_is_chance() -> None:
    """An engine may answer otherwise once."""
    assert find_switches(asked(60, steady(40, "a", end=41)), 0.0) == []


def test_words_that_come_and_go_change_nothing() -> None:
    """Of fifty names that choose their words anew each time none is said to have changed."""
    rng = random.Random(4)
    several = [asked(120, lambda _day, _question: (rng.choice("xyz"), rng.random())) for _ in range(50)]
    assert [find_switches(one, 0.0) for one in several] == [[]] * 50


def test_flickering_words_of_some_questions_hide_no_change_of_others() -> None:
    """What was never steady says nothing."""
    rng = random.Random(5)
    switch = find_switches(
        asked(60, lambda day, question: (rng.choice("xy") if question in "bc" else "new" if day >= 50 else "old", 0.9)),
        0,
    )
    assert [one.questions for one in switch] == [("a", "d", "e")]


def test_better_answers_are_no_matter_of_blame() -> None:
    """Nor is the way back to what was usual."""
    assert find_switches(asked(60, lambda day, _: ("new", 1.0) if day >= 40 else ("old", 0.8)), 0.0) == []
    (switch,) = find_switches(asked(80, steady(40, "ab", end=60)), 0.0)
    assert switch.change.at == 40 * DAY


def test_other_words_of_the_same_score_are_told() -> None:
    """No check noticed, and still something else answers."""
    (switch,) = find_switches(asked(60, steady(40, "ab", score=1.0)), 0.0)
    assert switch.scores == (1.0, 1.0)


def test_what_was_usual_is_known_from_before_the_time_that_is_asked_for() -> None:
    """A week is enough to ask for, and an older change is not told again."""
    answers = asked(46, steady(42, "a"))
    assert len(find_switches(answers, 41 * DAY)) == 1
    assert find_switches(answers, 43 * DAY) == []


def test_two_changes_are_told_apart() -> None:
    """Each with its own day and its own questions."""

    def answer(day: int, question: str) -> tuple[str, float]:
        return ("new" if (day >= 40 and question in "ab") or (day >= 60 and question == "c") else "old", 0.9)

    switches = find_switches(asked(80, answer), 0.0)
    assert [(one.change.at // DAY, one.questions) for one in switches] == [(40, ("a", "b")), (60, ("c",))]


def test_questions_without_an_answer_shift_nothing() -> None:
    """A day on which the first question was not answered is a day all the same."""

    def answer(day: int, question: str) -> tuple[str, float]:
        return ("", 0.0) if day == 20 and question == "a" else steady(40, "a")(day, question)

    (switch,) = find_switches(asked(50, answer), 0.0)
    assert switch.change.at == 40 * DAY
    assert isinstance(switch, Switch)


def test_together_chances_say_more_and_never_less_than_nothing() -> None:
    """Many small ones are as good as a very small one; one alone is paid for by all that were tried."""
    assert combined_chance([], 5) == 1.0
    assert combined_chance([0.01], 1) == 0.02
    assert combined_chance([0.05] * 5, 5) < 0.01 < combined_chance([0.05], 5)
    falling = [combined_chance([chance], 5) for chance in (0.5, 0.1, 0.01, 1e-4, 1e-9)]
    assert all(one >= other for one, other in pairwise(falling))


def test_nothing_comes_of_nothing() -> None:
    """No answers, one run, or hardly any."""
    assert find_switches([], 0.0) == []
    assert find_switches(asked(1, steady(0, "a")), 0.0) == []
    assert find_switches(asked(6, steady(5, "abcde")), 0.0) == []

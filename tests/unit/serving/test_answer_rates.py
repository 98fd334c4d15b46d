"""Rates of answers out of their times."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from undercroft.serving.answer_rates import Answer, answer_rates


def made(began: float, seconds: float, tokens: int = 100, context: float = 300.0) -> Answer:
    return Answer(began, began + seconds, tokens, context)


def test_one_after_the_other_is_one_at_a_time() -> None:
    """Five answers without a gap between them: one sequence, and the fastest of them."""
    (found,) = answer_rates([made(number * 10.0, 10.0 if number else 8.0) for number in range(5)])
    assert (found.sequences, found.context_tokens) == (1, 300.0)
    assert found.tokens_per_second == pytest.approx(12.5)


def test_answers_beside_each_other_count_each_other() -> None:
    """Two rows of five answers at the same time: two sequences."""
    (found,) = answer_rates([made(number * 10.0, 10.0) for number in range(5)] * 2)
    assert found.sequences == 2


def test_who_is_beside_another_for_a_part_of_the_time_counts_for_that_part() -> None:
    """Each is accompanied for nine tenths of its time by both neighbours together: nearly two at once."""
    (found,) = answer_rates([made(number * 5.5, 10.0) for number in range(7)])
    assert found.sequences == 2


def test_groups_are_told_apart_by_company_and_by_context() -> None:
    """Five alone over a short context, five alone over a long one, five at once: three rates."""
    short = [made(number * 10.0, 5.0) for number in range(5)]
    long = [made(100 + number * 10.0, 8.0, context=3000.0) for number in range(5)]
    together = [made(200.0, 20.0)] * 5
    found = answer_rates([*short, *long, *together])
    assert [(one.sequences, one.context_tokens) for one in found] == [(1, 300.0), (1, 3000.0), (5, 300.0)]
    assert [one.tokens_per_second for one in found] == [pytest.approx(rate) for rate in (20.0, 12.5, 5.0)]


def test_too_few_alike_say_nothing() -> None:
    """Four alone and four at once are no measurement of either."""
    assert answer_rates([made(number * 10.0, 5.0) for number in range(4)] + [made(100.0, 20.0)] * 4) == []
    assert answer_rates([]) == []


TIMES = st.lists(st.tuples(st.floats(0, 100), st.floats(0.1, 50)), min_size=5, max_size=40)


@given(TIMES)
def test_a_rate_is_one_that_was_seen_and_never_with_more_than_there_were(times: list[tuple[float, float]]) -> None:
    """Whatever the times, a rate is that of one of the answers, with between one and all of them at once."""
    answers = [made(began, seconds) for began, seconds in times]
    seen = [one.tokens / (one.ended - one.began) for one in answers]
    for found in answer_rates(answers):
        assert found.tokens_per_second in seen
        assert 1 <= found.sequences <= len(answers)

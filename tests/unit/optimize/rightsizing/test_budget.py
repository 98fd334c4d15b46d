"""What an interval shows of a loss, and what it does not."""

from __future__ import annotations

import pytest

from undercroft.core.errors import InvalidError
from undercroft.optimize.rightsizing.advice import check_count
from undercroft.optimize.rightsizing.budget import (
    Budget,
    Judgement,
    Standing,
    judge_passes,
    judge_texts,
    tasks_needed,
    tasks_needed_at_least,
)


def passes(count: int, failed: int) -> list[bool]:
    """So many tasks, the last of which failed."""
    return [index < count - failed for index in range(count)]


def test_equal_answers_hold_where_there_are_enough_of_them() -> None:
    """The same answers to 300 tasks rule out a loss of more than a point; those to 200 do not."""
    many = judge_passes([True] * 300, [True] * 300, Budget(1.0))
    few = judge_passes([True] * 200, [True] * 200, Budget(1.0))
    assert (many.standing, few.standing) == (Standing.HOLDS, Standing.UNPROVEN)
    assert many.loss.upper < 1.0 < few.loss.upper


def test_the_number_of_tasks_that_is_needed_is_the_least_that_proves() -> None:
    """One fewer does not, for budgets of every size."""
    for percent in (0.3, 1.0, 2.5, 10.0):
        budget = Budget(percent)
        needed = tasks_needed_at_least(budget)
        same = [judge_passes([True] * n, [True] * n, budget).standing for n in (needed - 1, needed)]
        assert same == [Standing.UNPROVEN, Standing.HOLDS]


def test_too_few_tasks_are_refused_with_the_number_that_is_needed() -> None:
    """Before anything is measured."""
    check_count(276, 1.0)
    with pytest.raises(InvalidError, match=r"36 tasks cannot show a loss of at most 1 point, .*expected 276 tasks"):
        check_count(36, 1.0)


def test_a_large_loss_is_shown_after_a_part_of_the_tasks() -> None:
    """The favourable end of its interval is beyond the budget, at a level that counts every test of the search."""
    parent = [True] * 800
    lost = judge_passes(parent, passes(100, 30), Budget(1.0, tests=60))
    assert lost.standing is Standing.LOSES
    assert lost.loss.lower > 1.0
    assert (lost.looked, lost.of, lost.is_whole) == (100, 800, False)


def test_a_loss_that_may_be_chance_goes_on() -> None:
    """Two of a hundred are more than one point, and show nothing yet."""
    assert judge_passes([True] * 800, passes(100, 2), Budget(1.0, tests=60)).standing is Standing.OPEN


def test_what_cannot_catch_up_is_out_without_a_test() -> None:
    """Where passing all that is left would still leave too large a loss, nothing has to be shown by chance."""
    parent = [True] * 400
    found = judge_passes(parent, passes(200, 5), Budget(1.0, tests=1_000_000_000))
    assert found.standing is Standing.OUT_OF_REACH
    hoping = [True] * 200 + [False] * 200  # the parent fails what is left, so much can still be gained
    assert judge_passes(hoping, passes(200, 5), Budget(1.0, tests=1_000_000_000)).standing is Standing.OPEN


def test_at_the_end_a_loss_is_shown_or_not_proven() -> None:
    """Never anything between."""
    parent = [True] * 400
    assert judge_passes(parent, passes(400, 40), Budget(1.0)).standing is Standing.LOSES
    assert judge_passes(parent, passes(400, 4), Budget(1.0)).standing is Standing.UNPROVEN


@pytest.mark.parametrize(("lost", "gained"), [(3, 0), (6, 4), (10, 10), (0, 0)])
def test_the_tasks_that_would_prove_it_do(lost: int, gained: int) -> None:
    """With as many disagreements in proportion; and half of them do not."""
    budget, trials = Budget(1.0), 400

    def judged(count: int) -> Judgement:
        apart = [round(count * share / trials) for share in (lost, gained)]
        parent = [index >= apart[1] for index in range(count)]
        candidate = [index < count - apart[0] for index in range(count)]
        return judge_passes(parent, candidate, budget)

    needed = tasks_needed(judged(trials), budget, only_parent=lost, only_candidate=gained)
    assert needed is not None
    assert judged(needed).standing is Standing.HOLDS
    assert judged(needed // 2).standing is not Standing.HOLDS


def test_no_number_of_tasks_proves_what_is_beyond_the_budget() -> None:
    """A loss of two points goes on being one."""
    judgement = judge_passes([True] * 400, passes(400, 8), Budget(1.0))
    assert tasks_needed(judgement, Budget(1.0), only_parent=8, only_candidate=0) is None


def test_texts_are_judged_by_how_far_perplexity_rises() -> None:
    """In percent, pair by pair: a rise of half a percent on every text is within 1 %, one of two percent is shown."""
    tokens = [100 + index for index in range(40)]
    parent = [2.0 * count + index % 7 for index, count in enumerate(tokens)]

    def judged(share: float, upto: int = 40) -> Judgement:
        nats = [before + share * count for before, count in zip(parent, tokens, strict=True)]
        return judge_texts(
            parent[:upto], nats[:upto], tokens[:upto], 40, Budget(1.0, tests=10), seed=1, is_whole=upto == 40
        )

    assert judged(0.005).standing is Standing.HOLDS
    assert judged(0.005).loss.value == pytest.approx(0.501, abs=0.001)
    assert judged(0.02).standing is Standing.LOSES
    assert judged(0.02, upto=20).standing is Standing.LOSES
    assert judged(0.005, upto=20).standing is Standing.OPEN


def test_one_text_proves_nothing() -> None:
    """It has no interval."""
    found = judge_texts([200.0], [200.0], [100], 1, Budget(1.0), seed=1, is_whole=True)
    assert found.standing is Standing.UNPROVEN

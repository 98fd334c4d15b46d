"""When a converted model counts as its source."""

from __future__ import annotations

import pytest

from undercroft.optimize.conversion.comparing import (
    Answer,
    Continuation,
    compare_continuations,
    compare_embeddings,
)

SOURCE = [Continuation((1, 5), (7, 8, 9), (-0.5, -1.0, -2.0), (1.5, 0.9, 0.4))]


def test_the_same_tokens_and_nearly_the_same_numbers_hold() -> None:
    """Rounding in the last digits is no difference."""
    answer = Answer((1, 5), (7, 8, 9), (-0.501, -1.0, -1.998))
    found = compare_continuations(SOURCE, [answer], "f32")
    assert found.holds
    assert (found.compared, found.same) == (3, 3)
    assert found.largest_difference == pytest.approx(0.002)


def test_another_token_where_the_source_was_sure_does_not_hold() -> None:
    """One token that the source did not nearly choose is another model."""
    answer = Answer((1, 5), (7, 3, 9), (-0.5, -1.001, -2.0))
    found = compare_continuations(SOURCE, [answer], "f16")
    assert not found.holds
    assert (found.compared, found.same) == (2, 1)


def test_a_tie_may_fall_either_way() -> None:
    """Two tokens that the source thinks equally likely are both right."""
    tied = [Continuation((1,), (7,), (-0.7,), (0.00001,))]
    assert compare_continuations(tied, [Answer((1,), (8,), (-0.7,))], "f32").holds


def test_right_tokens_with_wrong_probabilities_do_not_hold() -> None:
    """A file whose numbers are off counts as silently wrong even where its first choices survive."""
    answer = Answer((1, 5), (7, 8, 9), (-0.9, -1.9, -3.5))
    found = compare_continuations(SOURCE, [answer], "f16")
    assert found.same == found.compared
    assert not found.holds


def test_another_split_of_the_prompt_does_not_hold() -> None:
    """A tokenizer that cuts the text otherwise makes another model, whatever it answers."""
    assert not compare_continuations(SOURCE, [Answer((1, 4, 5), (7, 8, 9), (-0.5, -1.0, -2.0))], "f32").holds


def test_an_answer_that_ends_too_early_does_not_hold() -> None:
    """Ending where the source goes on is a difference; ending where it ends is none."""
    early = compare_continuations(SOURCE, [Answer((1, 5), (7,), (-0.5,), ending=2)], "f32")
    assert (early.compared, early.same, early.holds) == (2, 1, False)
    assert not compare_continuations(SOURCE, [Answer((1, 5), (), (), ending=2)], "f32").holds
    assert compare_continuations(SOURCE, [Answer((1, 5), (7, 8), (-0.5, -1.0), ending=9)], "f32").holds


def test_nothing_compared_proves_nothing() -> None:
    """No text is no agreement."""
    assert not compare_continuations([], [], "f32").holds
    assert not compare_embeddings([], [], "f32").holds


@pytest.mark.parametrize(("turned", "holds"), [(0.0, True), (0.001, True), (0.3, False)])
def test_embeddings_hold_by_their_angle(turned: float, holds: bool) -> None:
    """Length does not matter, direction does."""
    found = compare_embeddings([[1.0, 0.0], [0.0, 1.0]], [[3.0, 3.0 * turned], [0.0, 0.2]], "f32")
    assert found.holds is holds

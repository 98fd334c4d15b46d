"""With how many threads a search asks its models."""

from __future__ import annotations

import pytest

from undercroft.optimize.rightsizing.threads import quickest, threads_to_try


@pytest.mark.parametrize(
    ("size_bytes", "threads", "tried"),
    [(3_500_000, 8, (8, 1)), (3_500_000, 1, (1,)), (4_000_000_000, 8, (8,))],
)
def test_one_thread_is_tried_of_small_models(size_bytes: int, threads: int, tried: tuple[int, ...]) -> None:
    """Not where there is no other, nor where trying would take long."""
    assert threads_to_try(size_bytes, threads) == tried


def test_the_quickest_is_taken() -> None:
    """Several have to be well ahead of one; of one number alone nothing is measured."""
    assert quickest((2, 1), {2: 9.2, 1: 3.5}.__getitem__) == 1
    assert quickest((2, 1), {2: 2.0, 1: 3.5}.__getitem__) == 2
    assert quickest((2, 1), {2: 3.0, 1: 3.5}.__getitem__) == 1
    assert quickest((4,), {}.__getitem__) == 4

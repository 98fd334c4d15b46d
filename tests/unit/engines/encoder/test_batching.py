"""Which inputs are computed together: like with like, everybody in turn, never more than allowed."""

from __future__ import annotations

import random

from undercroft.engines.encoder.batching import Limits, Place, Waiting, choose

LIMITS = Limits(tokens=512, padding_ratio=0.25)


def places(*lengths: int) -> list[Place]:
    return [Place(0, index, length) for index, length in enumerate(sorted(lengths))]


def lengths_of(batch: list[Place]) -> list[int]:
    return [place.length for place in batch]


def test_like_goes_with_like() -> None:
    """Around a short input short ones are taken, around a long one long ones."""
    found = places(10, 11, 12, 100, 101, 104)
    assert lengths_of(choose(found, 1, LIMITS)) == [10, 11, 12]
    assert lengths_of(choose(found, 4, LIMITS)) == [100, 101, 104]


def test_a_batch_is_not_larger_than_allowed() -> None:
    """Tokens are counted with their padding, and the first input is always in, however long."""
    assert lengths_of(choose(places(200, 200, 200, 200), 0, LIMITS)) == [200, 200]
    assert lengths_of(choose(places(5, 600), 1, LIMITS)) == [600]


def test_padding_keeps_within_its_share() -> None:
    """Whatever waits, no input gets more padding than its limit says, and no batch is too large."""
    chance = random.Random(3)
    for _ in range(200):
        found = places(*(chance.randint(1, 300) for _ in range(chance.randint(1, 60))))
        first = chance.randrange(len(found))
        batch = choose(found, first, LIMITS)
        padded = max(lengths_of(batch)) * len(batch)
        assert found[first] in batch
        assert len(batch) == 1 or padded <= LIMITS.tokens
        assert max(lengths_of(batch)) - min(lengths_of(batch)) <= LIMITS.padding_ratio * max(lengths_of(batch))


def test_everything_is_taken_once() -> None:
    """Inputs of several requests all come out, each once, the batches shared between requests."""
    waiting, chance = Waiting(LIMITS), random.Random(5)
    for request in range(20):
        waiting.add(request, [chance.randint(3, 200) for _ in range(chance.randint(1, 30))])
    wanted, taken, shared = len(waiting), [], 0
    while batch := waiting.take():
        taken += [(place.request, place.index) for place in batch]
        shared += len({place.request for place in batch}) > 1
    assert len(taken) == len(set(taken)) == wanted
    assert shared > 0
    assert len(waiting) == 0


def test_a_small_request_does_not_wait_for_a_large_one() -> None:
    """One input that came after two hundred longer ones is in the second batch."""
    waiting = Waiting(LIMITS)
    waiting.add(1, [256] * 200)
    waiting.add(2, [8])
    waiting.take()
    assert [place.request for place in waiting.take()] == [2]


def test_what_is_dropped_is_not_computed() -> None:
    """A request that was taken back leaves nothing behind; dropping it again does nothing."""
    waiting = Waiting(LIMITS)
    waiting.add(1, [10, 400, 500])
    waiting.take()
    waiting.drop(1)
    waiting.drop(1)
    assert (len(waiting), waiting.take()) == (0, [])

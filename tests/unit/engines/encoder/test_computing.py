"""The thread that computes: whose row is whose, what is taken back, what fails."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future

import numpy as np
import pytest

from undercroft.engines.encoder.batching import Limits
from undercroft.engines.encoder.computing import Computer, Floats
from undercroft.engines.encoder.inputs import Tokens

LIMITS = Limits(tokens=64, padding_ratio=0.5)


def inputs(*firsts: int) -> list[Tokens]:
    """Inputs of different lengths, known by their first token."""
    return [Tokens([first] + [0] * (first % 5), [0] * (1 + first % 5)) for first in firsts]


def first_tokens(batch: Sequence[Tokens]) -> Floats:
    return np.array([[one.ids[0]] for one in batch], np.float32)


def test_each_gets_its_own_rows() -> None:
    """Requests of several threads each get the rows of their inputs, in their order, and all is counted."""
    computer = Computer(first_tokens, LIMITS)
    wanted = [[request * 50 + index for index in range(1 + request * 3)] for request in range(8)]
    found: list[Future[Floats]] = [computer.submit(inputs(*firsts)) for firsts in wanted]
    assert [[int(row[0]) for row in one.result(timeout=30)] for one in found] == wanted
    assert computer.counts.inputs == sum(map(len, wanted))
    assert computer.counts.padded_tokens >= computer.counts.tokens
    assert computer.waiting() == (0, 0)
    computer.close()
    assert not computer.is_alive


def test_what_fails_fails_its_own_request() -> None:
    """A batch that cannot be computed is an error of those in it; the next one is computed."""

    def run(batch: Sequence[Tokens]) -> Floats:
        if any(one.ids[0] == 13 for one in batch):
            raise RuntimeError("no")
        return first_tokens(batch)

    computer = Computer(run, LIMITS)
    with pytest.raises(RuntimeError, match="no"):
        computer.submit(inputs(13, 13)).result(timeout=30)
    assert computer.submit(inputs(4)).result(timeout=30).tolist() == [[4.0]]
    computer.close()


def test_what_is_taken_back_is_not_computed() -> None:
    """A request that is cancelled while another is computed leaves nothing, and nothing of it is computed."""
    begun, go_on, seen = threading.Event(), threading.Event(), list[int]()

    def run(batch: Sequence[Tokens]) -> Floats:
        seen.extend(one.ids[0] for one in batch)
        begun.set()
        go_on.wait(30)
        return first_tokens(batch)

    computer = Computer(run, LIMITS)
    first = computer.submit(inputs(1))
    begun.wait(30)
    second = computer.submit(inputs(2, 3))
    assert second.cancel()
    go_on.set()
    assert first.result(timeout=30).tolist() == [[1.0]]
    assert computer.submit(inputs(4)).result(timeout=30).tolist() == [[4.0]]
    assert seen == [1, 4]
    computer.close()


def test_closing_cancels_what_waits() -> None:
    """What waits when it is closed is cancelled; what is under way ends."""
    begun, go_on = threading.Event(), threading.Event()

    def run(batch: Sequence[Tokens]) -> Floats:
        begun.set()
        go_on.wait(30)
        return first_tokens(batch)

    computer = Computer(run, LIMITS)
    computer.submit(inputs(1))
    begun.wait(30)
    waits, is_cancelled = computer.submit(inputs(2)), threading.Event()
    waits.add_done_callback(lambda done: is_cancelled.set())
    closing = threading.Thread(target=computer.close)
    closing.start()
    assert is_cancelled.wait(30)
    assert waits.cancelled()
    go_on.set()
    closing.join(30)
    assert not computer.is_alive

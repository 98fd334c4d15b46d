"""The thread that computes: it takes inputs of all requests that wait and gives each request its rows."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np

from undercroft.engines.encoder.batching import Limits, Place, Waiting
from undercroft.engines.encoder.inputs import Tokens
from undercroft.engines.encoder.pooling import Floats


@dataclass(frozen=True, slots=True)
class Counts:
    """What was computed since the start; counts.

    Args:
        batches: Runs of the network.
        inputs: In all of them.
        tokens: Of these inputs.
        padded_tokens: That were computed, padding among them.
    """

    batches: int = 0
    inputs: int = 0
    tokens: int = 0
    padded_tokens: int = 0


@dataclass(slots=True)
class _Request:
    inputs: Sequence[Tokens]
    future: Future[Floats]
    rows: Floats | None = None
    left: int = 0


@dataclass(slots=True)
class _State:
    waiting: Waiting
    requests: dict[int, _Request] = field(default_factory=dict)
    counts: Counts = Counts()
    is_over: bool = False


class Computer:
    """Computes what it is given, in a thread of its own, until it is closed.

    Args:
        run: Computes inputs as one batch: a row each, float32 of shape ``(inputs, width)``.
        limits: Of a batch.
    """

    def __init__(self, run: Callable[[Sequence[Tokens]], Floats], limits: Limits) -> None:
        self._run = run
        self._state = _State(Waiting(limits))
        self._changed = threading.Condition()
        self._numbers = itertools.count()
        self._thread = threading.Thread(target=self._work, name="computing", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether somebody computes."""
        return self._thread.is_alive()

    @property
    def counts(self) -> Counts:
        """What was computed so far."""
        return self._state.counts

    def waiting(self) -> tuple[int, int]:
        """Requests that are not done, and inputs of them that wait."""
        with self._changed:
            return len(self._state.requests), len(self._state.waiting)

    def submit(self, inputs: Sequence[Tokens]) -> Future[Floats]:
        """Puts a request behind the others.

        Args:
            inputs: At least one.

        Returns:
            Gets a row for each input, in their order. Cancelling it takes back what was not computed yet.
        """
        future: Future[Floats] = Future()
        with self._changed:
            number = next(self._numbers)
            self._state.requests[number] = _Request(inputs, future, left=len(inputs))
            self._state.waiting.add(number, [len(one.ids) for one in inputs])
            self._changed.notify()
        future.add_done_callback(lambda done: self._forget(number) if done.cancelled() else None)
        return future

    def close(self) -> None:
        """Computes nothing more than what is under way; requests that wait are cancelled."""
        with self._changed:
            self._state.is_over = True
            futures = [request.future for request in self._state.requests.values()]
            self._changed.notify()
        for future in futures:
            future.cancel()
        self._thread.join()

    def _forget(self, number: int) -> None:
        with self._changed:
            self._state.requests.pop(number, None)
            self._state.waiting.drop(number)

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._state.waiting and not self._state.is_over:
                    self._changed.wait()
                if self._state.is_over:
                    return
                batch = self._state.waiting.take()
                inputs = [self._state.requests[place.request].inputs[place.index] for place in batch]
            try:
                rows = self._run(inputs)
            except Exception as error:  # noqa: BLE001  (the boundary of a request)
                self._fail(batch, error)
            else:
                self._give(batch, rows)

    def _give(self, batch: Sequence[Place], rows: Floats) -> None:
        done = []
        with self._changed:
            self._count(batch)
            for place, row in zip(batch, rows, strict=True):
                request = self._state.requests.get(place.request)
                if request is None:
                    continue  # cancelled meanwhile
                if request.rows is None:
                    request.rows = np.empty((len(request.inputs), len(row)), np.float32)
                request.rows[place.index] = row
                request.left -= 1
                if request.left == 0:
                    done.append(self._state.requests.pop(place.request))
        for request in done:
            if request.rows is not None and request.future.set_running_or_notify_cancel():
                request.future.set_result(request.rows)

    def _fail(self, batch: Sequence[Place], error: Exception) -> None:
        for number in {place.request for place in batch}:
            with self._changed:
                request = self._state.requests.pop(number, None)
                self._state.waiting.drop(number)
            if request is not None and request.future.set_running_or_notify_cancel():
                request.future.set_exception(error)

    def _count(self, batch: Sequence[Place]) -> None:
        before, longest = self._state.counts, max(place.length for place in batch)
        self._state.counts = Counts(
            before.batches + 1,
            before.inputs + len(batch),
            before.tokens + sum(place.length for place in batch),
            before.padded_tokens + longest * len(batch),
        )

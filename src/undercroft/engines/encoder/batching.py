"""Which of the inputs that wait are computed together. Pure.

A batch costs as much as its longest input times their number, so that inputs of like length go together; each request
has its turn, so that a large one does not hold up small ones.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What one batch may be.

    Args:
        tokens: Most tokens, padding among them; one input alone may have more.
        padding_ratio: Largest share of padding that an input may get, 0 to 1.
    """

    tokens: int
    padding_ratio: float


@dataclass(frozen=True, slots=True)
class Place:
    """An input that waits.

    Args:
        request: Number of its request.
        index: Which of the request's inputs, from 0.
        length: Tokens; count.
    """

    request: int
    index: int
    length: int


class Waiting:
    """The inputs that wait.

    Args:
        limits: Of a batch.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._requests: OrderedDict[int, list[Place]] = OrderedDict()

    def __len__(self) -> int:
        return sum(len(places) for places in self._requests.values())

    def add(self, request: int, lengths: Sequence[int]) -> None:
        """Puts a request's inputs behind the others.

        Args:
            request: Its number, of no other that waits.
            lengths: Tokens of each input; at least one.
        """
        self._requests[request] = [Place(request, index, length) for index, length in enumerate(lengths)]

    def drop(self, request: int) -> None:
        """Forgets what still waits of a request."""
        self._requests.pop(request, None)

    def take(self) -> list[Place]:
        """The next batch: the first input of the request whose turn it is, and those that go well with it.

        Returns:
            Empty where nothing waits.
        """
        if not self._requests:
            return []
        request, own = next(iter(self._requests.items()))
        self._requests.move_to_end(request)
        places = sorted((place for each in self._requests.values() for place in each), key=_order)
        batch = choose(places, places.index(own[0]), self._limits)
        taken = set(batch)
        for number in {place.request for place in batch}:
            left = [place for place in self._requests[number] if place not in taken]
            if left:
                self._requests[number] = left
            else:
                del self._requests[number]
        return batch


def choose(places: Sequence[Place], first: int, limits: Limits) -> list[Place]:
    """A run of neighbours in length around one input, as long as the limits allow.

    Args:
        places: By length, the shortest first.
        first: Which of them has to be among it.
        limits: Of a batch.
    """
    low = high = first
    while True:
        sides = [(low - 1, high)] if low > 0 else []
        sides += [(low, high + 1)] if high + 1 < len(places) else []
        allowed = [(_spread(places, *side), side) for side in sides if _is_allowed(places, *side, limits)]
        if not allowed:
            return list(places[low : high + 1])
        low, high = min(allowed)[1]


def _spread(places: Sequence[Place], low: int, high: int) -> int:
    return places[high].length - places[low].length


def _is_allowed(places: Sequence[Place], low: int, high: int, limits: Limits) -> bool:
    longest = places[high].length
    is_alike = _spread(places, low, high) <= limits.padding_ratio * longest
    return is_alike and longest * (high - low + 1) <= limits.tokens


def _order(place: Place) -> tuple[int, int, int]:
    return place.length, place.request, place.index

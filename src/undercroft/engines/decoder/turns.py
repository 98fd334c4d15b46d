"""Who computes next: requests wait for a slot, those in slots take turns, piece by piece. Pure.

Each slot keeps the keys and values of what it read last, so that a request that begins alike goes on from there.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class Slot:
    """Room for one request.

    Args:
        number: Which, from 0.
        kept: Token ids whose keys and values it holds.
        request: Who has it; None where it is free.
        used: When it was taken last; grows.
    """

    number: int
    kept: list[int] = field(default_factory=list)
    request: int | None = None
    used: int = 0


class Turns:
    """Requests in their slots.

    Args:
        slots: Requests that are computed at the same time; count.
    """

    def __init__(self, slots: int) -> None:
        self.slots = [Slot(number) for number in range(slots)]
        self._waiting: OrderedDict[int, Sequence[int]] = OrderedDict()
        self._order: list[Slot] = []
        self._takes = 0

    @property
    def running(self) -> int:
        """Requests in slots."""
        return len(self._order)

    @property
    def waiting(self) -> int:
        """Requests without one."""
        return len(self._waiting)

    def add(self, request: int, prompt: Sequence[int]) -> None:
        """Puts a request behind the others."""
        self._waiting[request] = prompt

    def drop(self, request: int) -> None:
        """Takes a request away, wherever it is; what its slot holds stays there."""
        self._waiting.pop(request, None)
        for slot in [one for one in self._order if one.request == request]:
            slot.request = None
            self._order.remove(slot)

    def admit(self) -> tuple[Slot, int] | None:
        """The first that waits gets the free slot that holds most of its beginning, else the one unused the longest.

        Returns:
            The slot, whose request is set now, and how many tokens of it can be gone on from; None where nobody waits
            or no slot is free.
        """
        free = [slot for slot in self.slots if slot.request is None]
        if not self._waiting or not free:
            return None
        request, prompt = self._waiting.popitem(last=False)
        slot = max(free, key=lambda one: (common(one.kept, prompt), -one.used))
        self._takes += 1
        slot.request, slot.used = request, self._takes
        self._order.append(slot)
        # The last token of a prompt is always computed: what comes after it is asked.
        return slot, min(common(slot.kept, prompt), len(prompt) - 1)

    def next(self) -> Slot | None:
        """The slot whose turn it is; None where nobody computes."""
        if not self._order:
            return None
        slot = self._order.pop(0)
        self._order.append(slot)
        return slot


def common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two sequences begin with alike."""
    for place, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return place
    return min(len(one), len(other))

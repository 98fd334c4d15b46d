"""The Pareto front: what nothing else that was measured beats. Pure.

Quality counts as it was shown: by the unfavourable end of the interval of the loss. By its middle a small candidate
that differs from its parent both ways, and so is sure of nothing, would seem as good as one that answers all alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Point:
    """One that was asked everything.

    Args:
        name: Unlike those of the others.
        size_bytes: Of its file; less is better.
        most_loss_percent: That the interval of its loss does not rule out; less is better.
        tokens_per_second: More is better; None where it is not known.
        memory_bytes: Less is better; None where it is not known.
    """

    name: str
    size_bytes: int
    most_loss_percent: float
    tokens_per_second: float | None = None
    memory_bytes: int | None = None


def front_of(points: Iterable[Point]) -> list[Point]:
    """Those that no other one beats, the smallest first."""
    found = list(points)
    kept = [point for point in found if not any(beats(other, point) for other in found)]
    return sorted(kept, key=lambda point: (point.size_bytes, point.most_loss_percent, point.name))


def beats(one: Point, other: Point) -> bool:
    """Whether the one is as good in everything, and better in something.

    Something that is not known of the one beats nothing; what is not known of the other is beaten by anything.
    """
    pairs = _pairs(one, other)
    return all(left <= right for left, right in pairs) and any(left < right for left, right in pairs)


def _pairs(one: Point, other: Point) -> Sequence[tuple[float, float]]:
    unknown = float("inf")

    def less(value: float | None, sign: float = 1.0) -> float:
        return unknown if value is None else sign * value

    return (
        (one.size_bytes, other.size_bytes),
        (one.most_loss_percent, other.most_loss_percent),
        (less(one.tokens_per_second, -1.0), less(other.tokens_per_second, -1.0)),
        (less(one.memory_bytes), less(other.memory_bytes)),
    )

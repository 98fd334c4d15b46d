"""What users say of answers: good or bad, in the usage row of the request, which knows who answered. No text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, case, func, select, update

from undercroft.core.clock import to_iso, utc_now
from undercroft.storage.tables import usage


class Rating(StrEnum):
    """Of an answer, by whoever got it."""

    GOOD = "good"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Feedback:
    """What somebody says of an answer.

    Args:
        request_id: As ``X-Request-Id`` said it.
        key_id: Of the key that rates, which has to be the one that asked.
        rating: Good or bad.
    """

    request_id: str
    key_id: str
    rating: Rating


@dataclass(frozen=True, slots=True)
class Rated:
    """The answer that a rating is of.

    Args:
        deployment: Name that was asked for.
        release: Number of the release that answered; None where the name has none.
    """

    deployment: str
    release: int | None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Ratings:
    """How the answers of a release were rated.

    Args:
        name: ``support@7``, or ``support`` where the name has no releases.
        bad: Count.
        rated: Good and bad together; count.
    """

    name: str
    bad: int
    rated: int

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def keep(connection: Connection, feedback: Feedback, *, since: str) -> Rated | None:
    """Writes a rating into the row of its request; one that was there is replaced.

    Where a client gave several requests the same id, the newest is meant.

    Args:
        feedback: What is said.
        since: ISO 8601, UTC; a request before that counts as forgotten.

    Returns:
        Whose answer it was; None where the key has no such request.
    """
    query = (
        select(usage.c.id, usage.c.deployment, usage.c.release)
        .where(
            usage.c.request_id == feedback.request_id,
            usage.c.key_id == feedback.key_id,
            usage.c.at >= since,
        )
        .order_by(usage.c.id.desc())
        .limit(1)
    )
    row = connection.execute(query).first()
    if row is None:
        return None
    values = {"rating": feedback.rating.value, "rated_at": to_iso(utc_now())}
    connection.execute(update(usage).where(usage.c.id == row.id).values(values))
    return Rated(row.deployment, row.release)


def ratings_since(connection: Connection, since: str) -> Sequence[Ratings]:
    """Ratings of requests since a moment, by release, in the order of names.

    Args:
        since: ISO 8601, UTC.
    """
    whose = (usage.c.deployment, usage.c.release)
    bad = func.sum(case((usage.c.rating == Rating.BAD.value, 1), else_=0))
    query = (
        select(*whose, bad, func.count())
        .where(usage.c.rating.is_not(None), usage.c.at >= since)
        .group_by(*whose)
        .order_by(*whose)
    )
    return [
        Ratings(name if release is None else f"{name}@{release}", hits, rated)
        for name, release, hits, rated in connection.execute(query)
    ]

"""Which backups stay. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from undercroft.core.errors import InvalidError


@dataclass(frozen=True, slots=True)
class Candidate:
    """A backup, as far as it matters here.

    Args:
        id: Of the backup.
        at: When it was made, UTC.
        origin: Machine and home; each origin keeps its own.
        counts: Whether it is complete and a trial restore of it compared every digest.
    """

    id: str
    at: datetime
    origin: str
    counts: bool


@dataclass(frozen=True, slots=True)
class Policy:
    """How many are kept; what one rule keeps stays, whatever the others say.

    Args:
        last: The newest ones.
        daily: The newest one of each of the last days that have one, UTC.
        weekly: The same of weeks, ISO 8601.
        monthly: The same of months.
    """

    last: int
    daily: int
    weekly: int
    monthly: int


def keep(candidates: Sequence[Candidate], policy: Policy) -> dict[str, str]:
    """The backups that stay, each with the reason.

    The newest one that counts stays always: what is newer may turn out not to be one.

    Raises:
        InvalidError: ``keeps-nothing``: the rules would remove every backup.
    """
    if not any((policy.last, policy.daily, policy.weekly, policy.monthly)):
        raise InvalidError(
            "keeps-nothing",
            "by these rules no backup would stay: expected one of --keep-last, --keep-daily, --keep-weekly, "
            "--keep-monthly above 0",
            hint="undercroft backup prune --keep-last 3 --keep-daily 7 --dry-run",
        )
    kept: dict[str, str] = {}
    for origin in sorted({candidate.origin for candidate in candidates}):
        own = [candidate for candidate in candidates if candidate.origin == origin]
        newest_first = sorted(own, key=lambda candidate: (candidate.at, candidate.id), reverse=True)
        for candidate in newest_first[: policy.last]:
            kept.setdefault(candidate.id, "one of the newest")
        for count, period, why in _periods(policy):
            for candidate in _newest_of_each(newest_first, count, period):
                kept.setdefault(candidate.id, why)
        counting = next((candidate for candidate in newest_first if candidate.counts), None)
        if counting is not None:
            kept.setdefault(counting.id, "the newest that counts")
    return kept


def _periods(policy: Policy) -> tuple[tuple[int, Callable[[datetime], object], str], ...]:
    return (
        (policy.daily, lambda at: at.date(), "the newest of its day"),
        (policy.weekly, lambda at: at.isocalendar()[:2], "the newest of its week"),
        (policy.monthly, lambda at: (at.year, at.month), "the newest of its month"),
    )


def _newest_of_each(
    newest_first: Sequence[Candidate], count: int, period: Callable[[datetime], object]
) -> list[Candidate]:
    newest: dict[object, Candidate] = {}
    for candidate in newest_first:
        newest.setdefault(period(candidate.at), candidate)
    return list(newest.values())[:count]

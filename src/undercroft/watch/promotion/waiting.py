"""What a candidate that is tried waits for: how many requests, until when, and what happens then. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from undercroft.core.clock import from_iso, to_iso
from undercroft.serving.promotions import Promotion, State
from undercroft.watch.promotion.judging import check_rules


@dataclass(frozen=True, slots=True)
class Waiting:
    """What a trial waits for.

    Args:
        requests: That were judged so far; count.
        requests_needed: Without so many it never comes into production; count.
        hold_until: ISO 8601, UTC; nothing is finished before.
        waits_until: ISO 8601, UTC; where nothing is decided by then it is sent back.
        undecided: What happens after the hold, with enough requests, where nothing was proven.
    """

    requests: int
    requests_needed: int
    hold_until: str
    waits_until: str
    undecided: Literal["promote", "revert"]

    @property
    def has_enough(self) -> bool:
        """Whether requests are not what it waits for."""
        return self.requests >= self.requests_needed

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {**asdict(self), "then": State.REVERTED.value}

    def sentence(self, now: datetime) -> str:
        """For people."""
        counted = f"{self.requests:,} requests were judged, {self.requests_needed:,} are needed"
        is_held = now < from_iso(self.hold_until)
        hold = f"; the hold lasts until {_minute(self.hold_until)}" if is_held else ""
        end = _minute(self.waits_until)
        if not self.has_enough:
            return f"{counted}{hold}; without enough by {end} it is sent back"
        if self.undecided == "promote":
            when = "then" if is_held else "as soon as its engine is ready"
            return f"{counted}{hold}; {when} it comes into production unless it is found to be worse"
        return f"{counted}{hold}; where the rules are not decided by {end} it is sent back"


def waiting_of(promotion: Promotion) -> Waiting | None:
    """What a promotion's trial waits for; None where none goes on.

    Args:
        promotion: Any.
    """
    if promotion.state is not State.CANARY:
        return None
    rules, began = check_rules(promotion.plan.rules), from_iso(promotion.changed_at)
    hold_seconds = promotion.plan.hold_seconds
    return Waiting(
        requests=int((promotion.evidence.get("requests") or {}).get("candidate", 0)),
        requests_needed=rules.min_requests,
        hold_until=to_iso(began + timedelta(seconds=hold_seconds)),
        waits_until=to_iso(began + timedelta(seconds=max(rules.give_up_seconds, hold_seconds))),
        undecided=rules.undecided,
    )


def plain_promotion(promotion: Promotion) -> dict[str, Any]:
    """A promotion for programs, with ``waiting`` while it is tried."""
    waiting = waiting_of(promotion)
    return {**promotion.to_dict(), "waiting": waiting.to_dict() if waiting is not None else None}


def _minute(moment: str) -> str:
    return f"{moment[:16].replace('T', ' ')} UTC"

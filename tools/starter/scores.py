"""Figures from answers: shares of right fields, overall and by language."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tools.starter.answers import read
from tools.starter.tickets import Ticket


@dataclass
class Scores:
    """Counts of right answers; every share is of the tickets asked, an unreadable answer counts as wrong."""

    tickets: int = 0
    right: Counter[str] = field(default_factory=Counter)
    with_id: int = 0
    confusions: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, ticket: Ticket, reply: str, summary: str | None = None) -> None:
        """Count one answer; ``summary`` is the one expected, None where the ticket has none to compare with."""
        fields = read(reply)
        self.tickets += 1
        self.with_id += ticket.order_id is not None
        if fields is None:
            return
        self.right["json"] += 1
        for key in ("language", "intent", "urgency", "order_id"):
            self.right[key] += fields[key] == getattr(ticket, key)
        if fields["order_id"] == ticket.order_id:
            self.right["id_present" if ticket.order_id is not None else "id_null"] += 1
        self.right["summary"] += summary is not None and fields["summary"] == summary
        if fields["intent"] != ticket.intent:
            self.confusions[ticket.intent, str(fields["intent"])] += 1

    def report(self) -> dict[str, Any]:
        """Shares in per cent, with the number of tickets."""
        without_id = self.tickets - self.with_id
        shares = {
            key: percent(self.right[key], self.tickets)
            for key in ("json", "language", "intent", "urgency", "order_id", "summary")
        }
        shares["id_present"] = percent(self.right["id_present"], self.with_id)
        shares["id_null"] = percent(self.right["id_null"], without_id)
        return {"tickets": self.tickets, **shares}


def percent(part: int, whole: int) -> float | None:
    """A share in per cent with one decimal; None of nothing."""
    return round(100 * part / whole, 1) if whole else None


def half_interval(share_percent: float, tickets: int) -> float:
    """Half width of the 95 % interval of a share, in points (normal approximation)."""
    share = share_percent / 100
    return round(196 * math.sqrt(share * (1 - share) / tickets), 1)


def table(rows: Sequence[tuple[Ticket, str, str | None]]) -> dict[str, Any]:
    """Scores of a test set, overall and by language, with the most frequent confusions of intents."""
    total = Scores()
    by_language: dict[str, Scores] = {}
    for ticket, reply, summary in rows:
        total.add(ticket, reply, summary)
        by_language.setdefault(ticket.language, Scores()).add(ticket, reply, summary)
    confusions = [f"{right} as {given}: {count}" for (right, given), count in total.confusions.most_common(8)]
    return {
        "overall": total.report(),
        "by_language": {code: scores.report() for code, scores in by_language.items()},
        "confusions": confusions,
    }

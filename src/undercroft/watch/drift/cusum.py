"""Cumulative sums of evidence that something has changed, and what one value says. Pure.

All evidence is the natural logarithm of how much likelier the values are after a change than without one, so that one
sum may hold the values of many questions. How often the limits are reached without a change: `benchmarks.drift`.

Source:
    E. S. Page, Continuous Inspection Schemes, Biometrika 41 (1954). Limits by simulation, for what is usual is learnt.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

# Evidence that all is as it was again: odds of e² to 1.
RECOVERY_LIMIT = 2.0
# One value counts at most as so many standard deviations for a change, and against it.
_MOST_FOR = 4.0
_MOST_AGAINST = 3.0
# What was lost in 5 of 100 cases and is lost in 15 has so much higher odds.
_ODDS_RATIO = 3.35


@dataclass(frozen=True, slots=True)
class Cusum:
    """How far a sum has come.

    Args:
        evidence: For a change; natural logarithm of the odds, from 0 up.
        recovery: Against it, since the alarm; the same unit.
        count: Values that were judged.
        since: When the evidence last rose from 0, which is when the change seems to have come; ISO 8601. Empty at 0.
        alarmed_at: When the limit was reached; ISO 8601. Empty without an alarm.
        values: Since then; count.
        seen: Sum of the values since then.
        expected: Sum of what they would have been as usual.
    """

    evidence: float = 0.0
    recovery: float = 0.0
    count: int = 0
    since: str = ""
    alarmed_at: str = ""
    values: int = 0
    seen: float = 0.0
    expected: float = 0.0

    @property
    def is_alarmed(self) -> bool:
        """Whether the limit was reached, and the values since do not say that all is well again."""
        return bool(self.alarmed_at)

    @property
    def mean_seen(self) -> float:
        """Mean of the values since the evidence rose from 0; 0.0 where there is none."""
        return self.seen / self.values if self.values else 0.0

    @property
    def mean_expected(self) -> float:
        """What that mean would have been as usual; 0.0 where there is none."""
        return self.expected / self.values if self.values else 0.0

    def added(self, evidence: float, at: str, limit: float, *, value: float, expected: float) -> Cusum:
        """The sum with one more value.

        Args:
            evidence: What the value says.
            at: When it was seen; ISO 8601.
            limit: Evidence that makes an alarm.
            value: Itself.
            expected: What it would have been as usual.
        """
        count = self.count + 1
        total = max(0.0, self.evidence + evidence)
        recovery = max(0.0, self.recovery - evidence) if self.is_alarmed else 0.0
        if recovery >= RECOVERY_LIMIT or (total <= 0 and not self.is_alarmed):
            return Cusum(count=count)
        return replace(
            self,
            evidence=min(total, limit) if self.is_alarmed else total,
            recovery=recovery,
            count=count,
            since=self.since or at,
            alarmed_at=self.alarmed_at or (at if total >= limit else ""),
            values=self.values + 1,
            seen=self.seen + value,
            expected=self.expected + expected,
        )

    def forgiven(self) -> Cusum:
        """The sum after what made the alarm is gone, for something else answers now."""
        return Cusum(count=self.count) if self.is_alarmed else self

    def to_plain(self) -> list[Any]:
        """For JSON."""
        sums = [round(number, 6) for number in (self.evidence, self.recovery, self.seen, self.expected)]
        return [*sums, self.count, self.values, self.since, self.alarmed_at]

    @classmethod
    def from_plain(cls, plain: Sequence[Any]) -> Cusum:
        """Reads what `to_plain` made."""
        evidence, recovery, seen, expected, count, values, since, alarmed_at = plain
        return cls(evidence, recovery, count, since, alarmed_at, values, seen, expected)


def loss_evidence(is_lost: bool, *, usual_share: float, lost_share: float = 0.0) -> float:
    """What one case says for more being lost: as when 5 of 100 become 15, whatever is usual.

    Args:
        is_lost: A question failed, an answer was a refusal …
        usual_share: Of the cases that are lost when all is well; above 0.0 and below 1.0.
        lost_share: That is looked for, where it is more than that; below 1.0.

    Returns:
        Natural logarithm of the likelihood ratio.
    """
    odds = _ODDS_RATIO * usual_share / (1 - usual_share)
    more = max(odds / (1 + odds), lost_share)
    return math.log(more / usual_share) if is_lost else math.log((1 - more) / (1 - usual_share))


def shift_evidence(deviations: float, *, shift: float) -> float:
    """What one value says for a mean that has risen.

    One value, however far, says little: a machine that was busy for a moment has not changed.

    Args:
        deviations: Distance from what is usual, in standard deviations; above 0 is what is looked for.
        shift: The rise that is to be found soonest, in standard deviations.

    Returns:
        Natural logarithm of the likelihood ratio of two normal distributions.
    """
    return shift * (min(max(deviations, -_MOST_AGAINST), _MOST_FOR) - shift / 2)

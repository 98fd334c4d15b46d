"""Detectors: each learns what is usual, judges one value after the other, and says when something has changed. Pure.

A detector that judges questions compares each only with itself: a question that always failed says nothing when it
fails again, and one that never failed says much, on whichever release it is asked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from undercroft.watch.drift.cusum import Cusum, loss_evidence, shift_evidence
from undercroft.watch.drift.references import Span, Together, Usual, span_of, together, usual_share

# The first values of a question are only learnt from, later ones judged first, and learnt from if all was well.
LEARNT_FIRST = 10
LEARNT_LAST = 60
# Quarter hours of use that are learnt from: a day, for one that is used all day.
LEARNT_SPANS = 96
SPAN_LIMIT = 9.5
_MOST_RECOVERED = 0.3
_SCORE_SHIFT = 0.6
_RUN_SHIFT = 1.0
_SCORE_PRIOR = 0.05
_LEAST_SCORE_SCALE = 0.02


@dataclass(frozen=True, slots=True)
class Rule:
    """How a detector judges.

    Args:
        limit: Evidence that makes an alarm; natural logarithm of odds, but chosen by simulation.
        directions: 1 looks for a rise, -1 for a fall; one or both.
        evidence: (usual of the question, of all questions, value, direction) → what the value says.
        after: The same during an alarm, with the mean seen since then in place of the direction; None is as before.
    """

    limit: float
    directions: tuple[int, ...]
    evidence: Callable[[Usual, Together, float, int], float]
    after: Callable[[Usual, Together, float, float], float] | None = None


def losses(*, lost_share: float = 0.0, limit: float = 8.0) -> Rule:
    """For cases that are lost (1.0) or not (0.0): finds that more are.

    Args:
        lost_share: Of all questions together, that is to be found soonest, where it is more than what is usual.
        limit: Evidence that makes an alarm.
    """

    def evidence(own: Usual, everything: Together, value: float, _: int) -> float:
        usual = usual_share(own, everything)
        return loss_evidence(value > 0.5, usual_share=usual, lost_share=lost_share)

    return Rule(limit, (1,), evidence, _loss_after)


def scores() -> Rule:
    """For values between 0.0 and 1.0: finds that they have fallen against the same question before."""
    return Rule(11.0, (-1,), _score)


def run_levels(*directions: int, margin: float, prior: float) -> Rule:
    """For one value a run, such as the logarithm of how much longer its answers took than usual.

    Args:
        directions: 1, -1 or both.
        margin: A distance that nobody minds; the unit of the values.
        prior: Standard deviation before anything was seen.
    """

    def evidence(own: Usual, _: Together, value: float, direction: int) -> float:
        away = direction * (value - own.mean) - margin
        return shift_evidence(away / own.scale(prior=prior) - 1 / math.sqrt(own.count), shift=_RUN_SHIFT)

    return Rule(8.5 if len(directions) == 1 else 9.2, directions, evidence)


@dataclass(slots=True)
class Detector:
    """What one detector remembers.

    Args:
        usual: Question → what is usual of it.
        sums: One a direction of its rule.
        pending: Question and value since the sums rose from 0: learnt from when they are 0 again, dropped at an alarm.
    """

    usual: dict[str, Usual] = field(default_factory=dict)
    sums: list[Cusum] = field(default_factory=list)
    pending: list[tuple[str, float]] = field(default_factory=list)
    _everything: Together | None = None

    def take(self, rule: Rule, question: str, value: float, at: str) -> None:
        """Judges a value, and learns from it.

        Args:
            rule: Always the same for one detector.
            question: What the value is compared with: those of the same question.
            value: As the rule wants it.
            at: When it was seen; ISO 8601.
        """
        if len(self.sums) != len(rule.directions):
            self.sums = [Cusum() for _ in rule.directions]
        own = self.usual.get(question, Usual())
        if own.count < LEARNT_FIRST:
            self._learn([(question, value)])
            return
        if self._everything is None:
            self._everything = together(usual for usual in self.usual.values() if usual.count >= LEARNT_FIRST)
        for position, direction in enumerate(rule.directions):
            known = self.sums[position]
            if rule.after is not None and known.is_alarmed:
                said = rule.after(own, self._everything, value, known.mean_seen)
            else:
                said = rule.evidence(own, self._everything, value, direction)
            self.sums[position] = known.added(said, at, rule.limit, value=value, expected=own.mean)
        if any(one.is_alarmed for one in self.sums):
            self.pending.clear()
            return
        if own.count < LEARNT_LAST:
            self.pending.append((question, value))
        if self.pending and all(one.evidence == 0 for one in self.sums):
            self._learn(self.pending)
            self.pending.clear()

    @property
    def has_learnt(self) -> bool:
        """Whether there is a question that is judged."""
        return any(usual.count >= LEARNT_FIRST for usual in self.usual.values())

    def forgive(self) -> None:
        """Ends an alarm, for something else answers now; what is usual stays."""
        self.sums = [one.forgiven() for one in self.sums]

    def to_plain(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "usual": {question: usual.to_plain() for question, usual in self.usual.items()},
            "sums": [one.to_plain() for one in self.sums],
            "pending": [[question, round(value, 6)] for question, value in self.pending],
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Detector:
        """Reads what `to_plain` made."""
        return cls(
            {question: Usual(*usual) for question, usual in plain["usual"].items()},
            [Cusum.from_plain(one) for one in plain["sums"]],
            [(question, value) for question, value in plain["pending"]],
        )

    def _learn(self, values: Sequence[tuple[str, float]]) -> None:
        for question, value in values:
            own = self.usual.get(question, Usual())
            if own.count < LEARNT_LAST:
                self.usual[question] = own.with_value(value)
        self._everything = None


@dataclass(slots=True)
class SpanDetector:
    """Judges a series with hours of its own, such as the times of all requests: against the worst of what was learnt.

    Args:
        directions: 1 looks for a rise, -1 for a fall; one or both.
        learnt: The first `LEARNT_SPANS` values.
        sums: One a direction.
    """

    directions: tuple[int, ...]
    learnt: list[float] = field(default_factory=list)
    sums: list[Cusum] = field(default_factory=list)
    _span: Span | None = None

    def take(self, value: float, at: str, *, margin: float, prior: float) -> None:
        """Learns from a value, or judges it.

        Args:
            value: Of a quarter of an hour, or longer.
            at: When that ended; ISO 8601.
            margin: A distance from the worst of what was learnt that nobody minds; the unit of the values.
            prior: Standard deviation, at least.
        """
        span = self.span()
        if span is None:
            self.learnt.append(value)
            return
        if not self.sums:
            self.sums = [Cusum() for _ in self.directions]
        scale = span.scale(prior=prior)
        for position, direction in enumerate(self.directions):
            away = (value - span.high if direction > 0 else span.low - value) - margin
            said = shift_evidence(away / scale, shift=_RUN_SHIFT)
            self.sums[position] = self.sums[position].added(said, at, SPAN_LIMIT, value=value, expected=span.middle)

    def span(self) -> Span | None:
        """What was learnt; None while it still learns."""
        if self._span is None and len(self.learnt) >= LEARNT_SPANS:
            self._span = span_of(self.learnt)
        return self._span

    def forgive(self) -> None:
        """Ends an alarm, for something else answers now; what is usual stays."""
        self.sums = [one.forgiven() for one in self.sums]

    def to_plain(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "directions": list(self.directions),
            "learnt": [round(value, 6) for value in self.learnt],
            "sums": [one.to_plain() for one in self.sums],
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> SpanDetector:
        """Reads what `to_plain` made."""
        return cls(tuple(plain["directions"]), list(plain["learnt"]), [Cusum.from_plain(one) for one in plain["sums"]])


def _loss_after(own: Usual, everything: Together, value: float, seen: float) -> float:
    """What was seen to be lost since the change is what a recovery is from; of much, it is soon plain."""
    return loss_evidence(value > 0.5, usual_share=usual_share(own, everything), lost_share=min(seen, _MOST_RECOVERED))


def _score(own: Usual, everything: Together, value: float, direction: int) -> float:
    scale = max(_LEAST_SCORE_SCALE, own.scale(prior=everything.scale(prior=_SCORE_PRIOR)))
    # What is usual is itself known only so well.
    doubt = 1 / math.sqrt(everything.count)
    return shift_evidence(direction * (value - own.mean) / scale - doubt, shift=_SCORE_SHIFT)

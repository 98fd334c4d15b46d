"""What a team does without detectors: fixed thresholds, a plain CUSUM of passes, and the last change for a cause."""

from __future__ import annotations

import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from undercroft.storage.journal import Entry
from undercroft.watch.drift.cusum import loss_evidence
from undercroft.watch.probes.outcomes import Outcome

# Days from which a team takes what is usual.
_LEARNT_DAYS = 30
# Half as much more than usual, or five in a hundred more errors, or one question in five more that fails.
_RATIO, _ERRORS, _PASSES = 1.5, 0.05, 0.2
_USUAL_SHARE = 0.05
_SIMULATED, _PROBES, _FALSE_ALARMS = 400, 2000, 0.05
_WEEK_SECONDS = 7 * 86_400


@dataclass(frozen=True, slots=True)
class Day:
    """What a dashboard shows of a day.

    Args:
        passed: Of each standard question, whether it did.
        levels: Measure → median, of the users' requests.
        errors: Share of the users' requests.
    """

    passed: tuple[bool, ...]
    levels: Mapping[str, float]
    errors: float


def day_of(outcomes: Sequence[Outcome], requests: Sequence[tuple[datetime, Mapping[str, Any]]]) -> Day:
    """The figures of a day."""
    rows = [row for _, row in requests]
    good = [row for row in rows if row["status"] < 400]
    return Day(
        passed=tuple(outcome.has_passed for outcome in outcomes),
        levels={
            column: statistics.median(row[column] for row in good) if good else 0.0
            for column in ("first_token_seconds", "total_seconds", "prompt_tokens")
        },
        errors=sum(row["status"] >= 500 for row in rows) / max(1, len(rows)),
    )


def threshold_days(days: Sequence[Day]) -> list[int]:
    """Days on which a fixed threshold is crossed that was not the day before."""
    learnt = days[:_LEARNT_DAYS]
    usual = {name: statistics.fmean(day.levels[name] for day in learnt) for name in learnt[0].levels}
    passed = statistics.fmean(statistics.fmean(day.passed) for day in learnt)
    errors = statistics.fmean(day.errors for day in learnt)
    is_bad = [
        any(day.levels[name] > _RATIO * usual[name] for name in usual)
        or day.errors > errors + _ERRORS
        or statistics.fmean(day.passed) < passed - _PASSES + 1e-9
        for day in days
    ]
    return [number for number in range(_LEARNT_DAYS, len(days)) if is_bad[number] and not is_bad[number - 1]]


def cusum_limit() -> float:
    """What the plain sum reaches in 5 of 100 simulations of 2,000 answers of which 5 in 100 fail."""
    peaks = []
    for seed in range(_SIMULATED):
        chance, total, peak = random.Random(seed), 0.0, 0.0
        for _ in range(_PROBES):
            total = max(0.0, total + loss_evidence(chance.random() < _USUAL_SHARE, usual_share=_USUAL_SHARE))
            peak = max(peak, total)
        peaks.append(peak)
    return sorted(peaks)[round((1 - _FALSE_ALARMS) * _SIMULATED) - 1]


def cusum_days(days: Sequence[Day], limit: float) -> list[int]:
    """Days on which the plain CUSUM of passed and failed questions alarms; it begins anew after each alarm."""
    total, found = 0.0, []
    for number, day in enumerate(days):
        for has_passed in day.passed:
            total = max(0.0, total + loss_evidence(not has_passed, usual_share=_USUAL_SHARE))
        if total >= limit:
            found.append(number)
            total = 0.0
    return found


def last_change(entries: Sequence[Entry], noticed: datetime, seconds_of: Mapping[int, float]) -> Entry | None:
    """The newest entry of the diary within the week before something was noticed; None where there is none.

    Args:
        entries: In order.
        noticed: When.
        seconds_of: Number of an entry → when it was written; unix seconds.
    """
    recent = [entry for entry in entries if 0 <= noticed.timestamp() - seconds_of[entry.seq] <= _WEEK_SECONDS]
    return recent[-1] if recent else None
